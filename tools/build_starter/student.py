"""The text tower: a small CLIP text transformer that learns the teacher's vectors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import torch
from open_clip import CLIP
from torch import Tensor, nn
from torch.nn import functional

from build_starter.lessons import Lessons

BATCH = 512
BATCHES_PER_POOL = 32
WARM_UP_STEPS = 100
PEAK_RATE = 1.5e-3
LAST_RATE_SHARE = 0.01
TEMPERATURE = 0.05


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training stands: steps done, and the mean cosine of the last batch to the teacher."""

    step: int
    cosine: float


def train(model: CLIP, lessons: Lessons, steps: int) -> Iterator[Progress]:
    """Train the text tower in place, yielding after every step."""
    _start_from_words(model, lessons.vocabulary)
    parameters = _text_parameters(model)
    optimizer = _new_optimizer(parameters, model.token_embedding.weight)
    batches = _endless_batches(lessons.tokens)
    model.train()
    for step in range(steps):
        chosen = next(batches)
        student = _encode(model, lessons.tokens[chosen].long())[:, : lessons.vectors.shape[1]]
        teacher = lessons.vectors[chosen]
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(step, steps)
        optimizer.zero_grad()
        _loss(student, teacher, lessons.anchors).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        yield Progress(step + 1, _mean_cosine(student, teacher).item())


@torch.no_grad()
def _start_from_words(model: CLIP, word_vectors: Tensor) -> None:
    """Start the token embeddings as principal components of the teacher's vectors of the tokens, (V, D).

    The projection starts as the way back, so that an untrained tower already adds up its words' meanings.
    """
    embeddings: Tensor = model.token_embedding.weight
    centred = word_vectors - word_vectors.mean(0)
    components = torch.linalg.svd(centred, full_matrices=False)[2][: embeddings.shape[1]].T
    reduced = centred @ components
    embeddings[: len(reduced)] = reduced * (0.5 / reduced.norm(dim=1).mean())
    model.text_projection.zero_()
    model.text_projection[:, : word_vectors.shape[1]] = 0.1 * components.T


def _text_parameters(model: CLIP) -> list[nn.Parameter]:
    return [
        parameter
        for name, parameter in model.named_parameters()
        if not name.startswith("visual") and name != "logit_scale"
    ]


def _new_optimizer(parameters: list[nn.Parameter], embeddings: nn.Parameter) -> torch.optim.AdamW:
    """Decay matrices only: neither biases and norms nor the token embeddings, most of which a batch never sees."""
    matrices = [parameter for parameter in parameters if parameter.ndim > 1 and parameter is not embeddings]
    others = [parameter for parameter in parameters if parameter.ndim <= 1 or parameter is embeddings]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def _learning_rate(step: int, steps: int) -> float:
    """Return a linear warm-up times a cosine that ends at one hundredth of the peak."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    return PEAK_RATE * min(1.0, (step + 1) / WARM_UP_STEPS) * (cosine + LAST_RATE_SHARE)


def _endless_batches(tokens: Tensor, seed: int = 0) -> Iterator[Tensor]:
    """Yield indices of random batches, (512,) int64, each of texts of like length so that few tokens are padding."""
    shuffler = Random(seed)
    lengths = _last_positions(tokens)
    while True:
        for pool in torch.split(torch.randperm(len(tokens)), BATCH * BATCHES_PER_POOL):
            batches = list(torch.split(pool[lengths[pool].argsort()], BATCH))
            shuffler.shuffle(batches)
            yield from batches


def _encode(model: CLIP, tokens: Tensor) -> Tensor:
    """Return unit text vectors, (B, 512): what `CLIP.encode_text` gives, computed on the longest text's length only.

    Attention is causal, so tokens behind a text's end change nothing.
    """
    ends = _last_positions(tokens)
    length = int(ends.max()) + 1
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
        hidden = model.ln_final(model.transformer(hidden, attn_mask=model.attn_mask[:length, :length]))
        vectors: Tensor = hidden[torch.arange(len(hidden)), ends] @ model.text_projection
    return functional.normalize(vectors.float(), dim=-1)


def _last_positions(tokens: Tensor) -> Tensor:
    """Return where each text ends, (N,): its end-of-text token has the highest id."""
    return tokens.argmax(-1)


def _loss(student: Tensor, teacher: Tensor, anchors: Tensor) -> Tensor:
    """Weigh three distances of (B, D) vectors: their angle, and two of their similarities to the anchors, (C, D)."""
    seen, wanted = student @ anchors.T, teacher @ anchors.T
    ranking = functional.kl_div(
        (seen / TEMPERATURE).log_softmax(1), (wanted / TEMPERATURE).softmax(1), reduction="batchmean"
    )
    return 5 * (1 - _mean_cosine(student, teacher)) + ranking + 50 * functional.mse_loss(seen, wanted)


def _mean_cosine(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum(1).mean()
