"""The text tower of a loaded OpenCLIP model, written to files that encode texts without torch.

What is exported has been compared with the model's own answers; a model for which they differ, or whose tower or
tokenizer is of a kind that is not known here, is refused with the reason.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from open_clip.tokenizer import SimpleTokenizer, _clean_lower
from open_clip.transformer import ResidualAttentionBlock, text_global_pool
from torch.nn import functional

from image_index.models.tokens import ClipTokenizer, pack_merges
from image_index.models.tower import INPUT, OUTPUT, TextTower, optimise_graph, read_tokenizer, run_graph
from image_index.models.tower_files import (
    GRAPH,
    MERGES,
    USUAL_LOGIT_SCALE,
    WEIGHTS,
    Manifest,
    Vocabulary,
    describe_files,
    write_manifest,
)
from image_index.records import ModelFacts, Vectors

AGREEMENT = 0.9999
"""The least cosine between an exported tower's vector and the model's own."""

OPSET = 17
"""The newest that torch's exporter by tracing writes; LayerNormalization is one node from here on."""

PROBES = (
    "a dog",
    "a dog on the beach",
    "It's 3 o'clock &amp; they've <b>caf\u00e9</b> au lait \U0001f382, don\u2019t they?",
    "two children in red coats feed the pigeons on a snowy square in front of an old cathedral at dusk",
    "\u6771\u4eac\u306e\u591c\u666f " * 40,
)
"""From short to longer than any context."""


class ExportRefused(Exception):
    """Why a text tower cannot be exported."""


class _WholeText(torch.nn.Module):
    """The tower as open_clip runs it: (1, context length) tokens to (1, D) unit vectors."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.model.encode_text(tokens)  # type: ignore[operator]
        return functional.normalize(features, dim=-1)


class _OwnLength(torch.nn.Module):
    """CLIP's tower for a text of any length: a token attends to those before it, so the padding can be left out.

    Attention is written out: `MultiheadAttention` is traced to a graph that knows one length only.
    """

    def __init__(self, tower: torch.nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tower: Any = self.tower
        length = tokens.shape[1]
        mask = tower.attn_mask[:length, :length]
        x = tower.token_embedding(tokens) + tower.positional_embedding[:length]
        for block in tower.transformer.resblocks:
            x = x + block.ls_1(_attend(block.attn, block.ln_1(x), mask))
            x = x + block.ls_2(block.mlp(block.ln_2(x)))
        kind, end = _pooling(tower)
        pooled = text_global_pool(tower.ln_final(x), tokens, kind, eos_token_id=end)
        projection = tower.text_projection
        features = projection(pooled) if isinstance(projection, torch.nn.Linear) else pooled @ projection
        return functional.normalize(features, dim=-1)


def _attend(layer: Any, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return what an `nn.MultiheadAttention` makes of one text (1, L, W)."""
    parts = functional.linear(x, layer.in_proj_weight, layer.in_proj_bias).chunk(3, -1)
    query, key, value = (part.reshape(1, -1, layer.num_heads, layer.head_dim).transpose(1, 2) for part in parts)
    weights = torch.softmax(query @ key.transpose(2, 3) * layer.head_dim**-0.5 + mask, -1)
    together = (weights @ value).transpose(1, 2).reshape(1, -1, layer.embed_dim)
    attended: torch.Tensor = layer.out_proj(together)
    return attended


def _pooling(tower: Any) -> tuple[str, int | None]:
    """Return which token's vector a tower takes; `CLIP` and `TextTransformer` have different names for it."""
    kind = getattr(tower, "text_pool_type", None) or tower.pool_type
    return kind, getattr(tower, "text_eos_id", None) or getattr(tower, "eos_id", None)


def _may_be_short(tower: Any) -> bool:
    """Tell whether a tower is of a kind whose vector does not depend on the padding behind the text."""
    try:
        return (
            tower.attn_mask is not None
            and getattr(tower, "cls_emb", None) is None
            and _pooling(tower)[0] in {"argmax", "eos"}
            and tower.text_projection is not None
            and all(type(block) is ResidualAttentionBlock for block in tower.transformer.resblocks)
        )
    except AttributeError:
        return False


def export_text_tower(model: torch.nn.Module, tokenizer: Any, facts: ModelFacts, directory: Path) -> None:
    """Write the text tower of `model` with its tokenizer and manifest to the new `directory`.

    Raises `ExportRefused` for a model whose texts only torch can encode.
    """
    tokens, vocabulary = portable_tokenizer(tokenizer)
    if any(tokens.encode(probe) != _ids(tokenizer, tokens, probe) for probe in PROBES):
        raise ExportRefused("its tokenizer gives other tokens")
    directory.mkdir(mode=0o700)
    (directory / MERGES).write_bytes(tokens.merges.astype("<i8").tobytes())
    manifest = Manifest(
        facts.fingerprint,
        dim=facts.dim,
        context_length=tokens.context_length,
        vocabulary=vocabulary,
        logit_scale=_logit_scale(model),
    )
    with torch.inference_mode(mode=False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every shape it meets
        manifest = _export(_on_cpu(model), tokenizer, directory, manifest)
    write_manifest(directory, replace(manifest, files=describe_files(directory)))
    for path in directory.iterdir():
        path.chmod(0o600)


def _logit_scale(model: Any) -> float:
    """Return what a model multiplies cosines with, of which it stores the logarithm."""
    kept = getattr(model, "logit_scale", None)
    return USUAL_LOGIT_SCALE if kept is None else float(kept.detach().float().exp())


def _export(model: torch.nn.Module, tokenizer: Any, directory: Path, manifest: Manifest) -> Manifest:
    """Export the tower in the first form that agrees with the model; return the manifest that says which.

    The first form encodes a short text at its own length, not at that of the full context. It is a rewrite for towers
    of a known kind. Whether its vectors are the model's own is not assumed but measured; where they are not, the tower
    is exported as open_clip runs it.
    """
    tower: Any = getattr(model, "text", model)
    forms = [(_OwnLength(tower), True)] if _may_be_short(tower) else []
    reason = ""
    for form, own_length in (*forms, (_WholeText(model), False)):
        tried = replace(manifest, own_length=own_length)
        try:
            _write_graph(form, tokenizer([PROBES[0]]), directory, own_length=own_length)
            worst = min(_cosines(model, tokenizer, directory, tried))
        except Exception as error:  # whatever the exporter meets in a tower that it does not know
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            continue
        if worst >= AGREEMENT:
            return tried
        reason = f"its vectors agree to a cosine of {worst:.4f} only"
    raise ExportRefused(reason)


def _write_graph(form: torch.nn.Module, example: torch.Tensor, directory: Path, *, own_length: bool) -> None:
    """Trace a tower to an ONNX graph, optimise it, and keep it with its weights beside it."""
    for name in (GRAPH, WEIGHTS):
        (directory / name).unlink(missing_ok=True)
    draft = directory / "raw"
    was_fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # no graph has the fused operator of attention without a mask
    draft.mkdir()  # a tower beyond 2 GB becomes many files
    try:
        torch.onnx.export(
            form.eval(),
            (example,),
            str(draft / GRAPH),
            dynamo=False,  # the other exporter needs onnxscript, and takes four times as long
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {1: "length"}} if own_length else None,
        )
        optimise_graph(draft / GRAPH, directory)
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fast)
        for path in draft.iterdir():
            path.unlink()
        draft.rmdir()


def _cosines(model: torch.nn.Module, tokenizer: Any, directory: Path, manifest: Manifest) -> list[float]:
    """Return how well each probe's exported vector agrees with the model's own."""
    tower = TextTower(directory, manifest, read_tokenizer(directory, manifest))
    found = []
    for probe in PROBES:
        expected: Vectors = _WholeText(model)(tokenizer([probe])).numpy()[0]
        vector = run_graph(directory / GRAPH, tower.padded(tower.tokenizer.encode(probe)))[0]
        found.append(float(vector @ expected))
    return found


def _on_cpu(model: torch.nn.Module) -> torch.nn.Module:
    """Return the model where its text tower is on the CPU, else a copy of all but the visual tower that is."""
    weight = next(parameter for name, parameter in model.named_parameters() if not name.startswith("visual."))
    if weight.device.type == "cpu" and weight.dtype == torch.float32:
        return model
    visual = model._modules.pop("visual")
    try:
        return copy.deepcopy(model).cpu().float()
    finally:
        model._modules["visual"] = visual


def portable_tokenizer(tokenizer: Any) -> tuple[ClipTokenizer, Vocabulary]:
    """Return open_clip's byte-pair tokenizer without torch; raises `ExportRefused` for any other."""
    if type(tokenizer) is not SimpleTokenizer:
        raise ExportRefused(f"its tokenizer is a {type(tokenizer).__name__}")
    ids = tokenizer.encoder
    merges = [(ids[left], ids[right], ids[left + right]) for left, right in tokenizer.bpe_ranks]
    in_order = all(one[2] < other[2] for one, other in pairwise(merges))
    is_plain = tokenizer.clean_fn is _clean_lower and tokenizer.reduction_fn is None
    if not in_order or not is_plain or len(tokenizer.all_special_ids) != 2:
        raise ExportRefused("its tokenizer has settings of its own")
    symbols = [tokenizer.byte_encoder[byte] for byte in range(256)]
    vocabulary = Vocabulary(
        tuple(ids[symbol] for symbol in symbols),
        tuple(ids[symbol + "</w>"] for symbol in symbols),
        tokenizer.sot_token_id,
        tokenizer.eot_token_id,
    )
    inside, at_end = vocabulary.bytes_inside, vocabulary.bytes_at_end
    start, end, length = vocabulary.start, vocabulary.end, tokenizer.context_length
    return ClipTokenizer(inside, at_end, pack_merges(merges), start, end, length), vocabulary


def _ids(tokenizer: Any, tokens: ClipTokenizer, text: str) -> list[int]:
    """Return open_clip's ids of a text, without the padding."""
    ids: list[int] = tokenizer([text])[0].tolist()
    return ids[: ids.index(tokens.end) + 1]
