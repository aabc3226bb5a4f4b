"""The towers of a loaded OpenCLIP model, written to files that encode texts and pictures without torch.

What is exported has been compared with the model's own answers; a tower for which they differ, or that is of a kind
that is not known here, is refused with the reason.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from open_clip.tokenizer import SimpleTokenizer, _clean_lower
from torch.nn import functional

from image_index.models import clip_graph, image_tower, text_tower
from image_index.models.graph import Graph, optimise, runtime_name
from image_index.models.graph_weights import StoredTensors, place_weights
from image_index.models.hub_tokenizer import FRAME, WORDS, HubTokenizer, export_tokenizer
from image_index.models.image_tower import ImageTower
from image_index.models.mapped_weights import keep_visual
from image_index.models.text_tower import TextTower, run_graph
from image_index.models.tokens import ClipTokenizer, pack_merges
from image_index.models.tower_files import (
    IMAGE_GRAPH,
    MERGES,
    TEXT_GRAPH,
    USUAL_LOGIT_SCALE,
    Framing,
    ImagePart,
    Manifest,
    TextPart,
    Vocabulary,
    describe_files,
    describe_model_file,
    own_weights,
    write_manifest,
)
from image_index.models.word_table import UnknownModel
from image_index.records import ModelFacts, Pixels, Vectors

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
    """Why a tower cannot be exported."""


@dataclass(frozen=True, slots=True)
class Original:
    """A loaded model, on the CPU in float32, whose towers are exported.

    `weights` is the file that it was loaded from. On `pictures` (N, H, W, 3) uint8, as unlike as possible, the exported
    tower is compared with it; `expected` are the model's vectors (N, D) of them, if they are known already.
    """

    model: Any
    tokenizer: Any
    facts: ModelFacts
    weights: Path
    pictures: Pixels
    expected: Vectors | None = None
    is_spent: bool = False
    """Whether nothing else is asked of the model: then its text tower goes before the image tower comes into memory."""


@dataclass(frozen=True, slots=True)
class Form:
    """A way to write a tower: its graph with the weights of `module` as inputs, and what encodes the probes with it.

    `draw` raises whatever it raises where the tower is of a kind that it does not know.
    """

    module: torch.nn.Module
    draw: Callable[[], onnx.ModelProto]
    encode: Callable[[Graph], Vectors]


class _Pictures(torch.nn.Module):
    """The image tower with all that comes before it: (N, H, W, 3) uint8 to (N, D) unit vectors."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: torch.nn.Module, facts: ModelFacts) -> None:
        super().__init__()
        self.model = model
        for name, values in (("mean", facts.preprocess.mean), ("std", facts.preprocess.std)):
            self.register_buffer(name, torch.tensor(values).view(1, 1, 1, 3))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        pictures = ((pixels.float() / 255 - self.mean) / self.std).permute(0, 3, 1, 2)
        features: torch.Tensor = self.model.encode_image(pictures)  # type: ignore[operator]
        return functional.normalize(features, dim=-1, eps=image_tower.LEAST_LENGTH)


class _WholeText(torch.nn.Module):
    """The tower as open_clip runs it: (1, context length) tokens to (1, D) unit vectors."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.model.encode_text(tokens)  # type: ignore[operator]
        return functional.normalize(features, dim=-1)


def export_towers(original: Original, directory: Path) -> None:
    """Write both towers of a model with a manifest to the new `directory`; it says why one of them is not there.

    Raises `OSError` and `MemoryError` where the disk or the memory does not suffice.
    """
    directory.mkdir(mode=0o700)
    stored = StoredTensors.of(original.weights)
    manifest = Manifest(original.facts.fingerprint, dim=original.facts.dim)
    with torch.inference_mode(mode=False), torch.no_grad(), _traceable(), ThreadPoolExecutor(1) as thread:
        described = thread.submit(describe_model_file, stored.path) if stored.places else None
        try:
            manifest = replace(manifest, text=_export_text(original, directory, stored))
        except ExportRefused as refusal:
            manifest = replace(manifest, text_refusal=str(refusal))
            for name in (MERGES, FRAME, WORDS):
                (directory / name).unlink(missing_ok=True)
        if original.is_spent:
            keep_visual(original.model)
        try:
            manifest = replace(manifest, image=_export_image(original, directory, stored))
        except ExportRefused as refusal:
            manifest = replace(manifest, image_refusal=str(refusal))
        if described and any(not path.with_name(own_weights(path.name)).exists() for path in directory.glob("*.onnx")):
            manifest = replace(manifest, weights=described.result())
    write_manifest(directory, replace(manifest, files=describe_files(directory)))
    for path in directory.iterdir():
        path.chmod(0o600)


@contextmanager
def _traceable() -> Iterator[None]:
    """Keep torch from the fused operator of attention, which no graph has, and from warning of every shape it meets."""
    was_fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fast)


def _export_text(original: Original, directory: Path, stored: StoredTensors) -> TextPart:
    """Export the text tower; raises `ExportRefused`. In a plain one a short text is encoded at its own length."""
    model, tokenizer = original.model, original.tokenizer
    tokens, vocabulary = _write_tokenizer(tokenizer, directory)
    ids = torch.as_tensor(tokenizer(list(PROBES)))
    if [tokens.padded(tokens.encode(probe)) for probe in PROBES] != ids.tolist():
        raise ExportRefused("its tokenizer gives other tokens")
    part = TextPart(ids.shape[1], True, _logit_scale(model), vocabulary)
    padded = replace(part, own_length=False)

    def encode(part: TextPart, graph: Graph) -> Vectors:
        tower = TextTower(graph, original.facts.dim, part, tokens)
        return run_graph(graph, *(tower.padded(tokens.encode(probe)) for probe in PROBES))

    whole, path = _WholeText(model), directory / TEXT_GRAPH
    trace = partial(_trace, whole, text_tower.INPUT, ids[:1], {}, path)
    forms = (
        Form(whole, partial(clip_graph.text_graph, model, original.facts), partial(encode, part)),
        Form(whole, trace, partial(encode, padded)),
    )
    written = _write_first(forms, path, stored, whole(ids).numpy())
    return part if written is forms[0] else padded


def _export_image(original: Original, directory: Path, stored: StoredTensors) -> ImagePart:
    """Export the image tower; raises `ExportRefused`."""
    pictures, path = original.pictures, directory / IMAGE_GRAPH
    convolutional = sum(isinstance(module, torch.nn.Conv2d) for module in original.model.visual.modules()) > 1
    seconds = 0.0

    def encode(graph: Graph) -> Vectors:
        nonlocal seconds
        tower = ImageTower(graph.load(optimised=convolutional))
        first = tower.encode(pictures[:1])  # of another size than what was traced, and than those that follow
        start = time.perf_counter()
        others = tower.encode(pictures[1:])
        seconds = time.perf_counter() - start
        return np.concatenate([first, others])

    whole, example = _Pictures(original.model, original.facts), torch.from_numpy(pictures)
    trace = partial(_trace, whole, image_tower.INPUT, example, {0: "pictures"}, path)
    plain = partial(clip_graph.image_graph, original.model, original.facts)
    expected: Vectors = whole(example).numpy() if original.expected is None else original.expected
    _write_first([Form(whole, draw, encode) for draw in (plain, trace)], path, stored, expected)
    self_test = tuple(tuple(round(float(value), 6) for value in vector) for vector in expected)
    return ImagePart(self_test, runtime_name(), seconds / (len(pictures) - 1), convolutional)


def _logit_scale(model: Any) -> float:
    """Return what a model multiplies cosines with, of which it stores the logarithm."""
    kept = getattr(model, "logit_scale", None)
    return USUAL_LOGIT_SCALE if kept is None else float(kept.detach().float().exp())


def _write_first(forms: Sequence[Form], path: Path, stored: StoredTensors, expected: Vectors) -> Form:
    """Write the first form of a tower that agrees with the model; raises `ExportRefused` where none does.

    Whether a graph is that of the model is not assumed but measured.
    """
    refusal = ExportRefused()
    for form in forms:
        try:
            _write_checked(form, path, stored, expected)
        except ExportRefused as error:
            refusal = error
        else:
            return form
    raise refusal


def _write_checked(form: Form, path: Path, stored: StoredTensors, expected: Vectors) -> None:
    """Write a graph; raise `ExportRefused`, leaving nothing, unless it gives the `expected` vectors (N, D)."""
    own = path.with_name(own_weights(path.name))
    try:
        weights = {name: tensor.numpy() for name, tensor in form.module.state_dict().items()}
        place_weights(form.draw(), path, weights, stored)
        vectors = form.encode(Graph(path, own.parent if own.exists() else stored.path.parent))
        worst = float((vectors * expected).sum(axis=1).min())
        reason = "" if worst >= AGREEMENT else f"its vectors agree to a cosine of {worst:.4f} only"
    except (OSError, MemoryError):  # no fault of the tower: a later run may have a disk and memory that are not full
        raise
    except Exception as error:  # whatever the exporter meets in a tower that it does not know
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    if reason:
        for written in (path, own):
            written.unlink(missing_ok=True)
        raise ExportRefused(reason)


def _trace(
    module: torch.nn.Module, name: str, example: torch.Tensor, axes: dict[int, str], path: Path
) -> onnx.ModelProto:
    """Return the optimised graph that torch traces of a tower of any kind, for inputs like `example` of free `axes`."""
    draft = path.with_suffix(".draft")
    try:
        torch.onnx.export(
            module.eval(),
            (example,),
            str(draft),
            dynamo=False,  # the other exporter needs onnxscript, and takes four times as long
            opset_version=OPSET,
            input_names=[name],
            output_names=["vectors"],
            dynamic_axes={name: axes},
            # The weights become inputs: nothing is copied, and no optimiser can change them.
            export_params=False,
            do_constant_folding=False,
        )
        optimise(draft.read_bytes(), draft)
        return onnx.load(str(draft))
    finally:
        draft.unlink(missing_ok=True)


def _write_tokenizer(tokenizer: Any, directory: Path) -> tuple[text_tower.Tokenizer, Vocabulary | Framing]:
    """Write a tokenizer of open_clip, or one of ours in its place, to `directory`; raises `ExportRefused`."""
    if isinstance(tokenizer, HubTokenizer):
        try:
            return export_tokenizer(tokenizer, directory), tokenizer.framing
        except UnknownModel as error:
            raise ExportRefused(str(error)) from error
    tokens, vocabulary = portable_tokenizer(tokenizer)
    (directory / MERGES).write_bytes(tokens.merges.astype("<i8").tobytes())
    return tokens, vocabulary


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
