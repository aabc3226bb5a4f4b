"""Zero-shot labels: the user's words as vectors, and how probable each is for a picture.

A label is put into several sentences whose vectors are averaged (see `prompts`), and the probabilities are the softmax
over the labels of cosine times the model's own scale, both as in the CLIP paper (Radford et al. 2021, 3.1.4).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from image_index.errors import UsageError
from image_index.records import ImageFacts, Vectors
from image_index.search.prompts import check_prompts

PROMPTS = (
    "a photo of a {}.",
    "a photo of the {}.",
    "a drawing of a {}.",
    "a close-up photo of a {}.",
    "a photo of one {}.",
    "a photo of many {}.",
    "a good photo of a {}.",
    "a picture of a {}.",
)

CELLS = 1 << 22
"""How many probabilities are held in memory at a time: 16 MB of them."""


class Label(NamedTuple):
    """A label of a picture and its probability, in [0, 1]."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class TaggedImage:
    """A picture and its labels, the most probable first."""

    image: ImageFacts
    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class TagOptions:
    """How many labels a picture gets at most, how probable each must be, and the prompts that they are put into.

    Raises `UsageError` for values that make no sense.
    """

    top: int = 1
    min_prob: float = 0.0
    prompts: tuple[str, ...] = PROMPTS

    def __post_init__(self) -> None:
        if self.top < 1:
            raise UsageError(f"a picture gets at least 1 label, not {self.top}")
        if not 0 <= self.min_prob <= 1:
            raise UsageError(f"a probability lies between 0 and 1, not at {self.min_prob:g}")
        check_prompts(self.prompts)


def read_labels(words: str, stdin: BinaryIO) -> tuple[str, ...]:
    """Return the labels that `words` mean: the lines of the file of that name, of `stdin` for `-`, else a comma list.

    Raises `UsageError` where they cannot be labels, see `check_labels`.
    """
    if words != "-" and (not os.path.exists(words) or os.path.isdir(words)):
        found = tuple(label.strip() for label in words.split(","))
        if len(found) == 1 and found[0]:
            raise UsageError(f"--labels takes two labels or more, as a,b,c or in a file, and there is no file {words}")
    else:
        lines = _content(words, stdin).splitlines()
        found = tuple(line.strip() for line in lines if line.strip())
    check_labels(found)
    return found


def _content(name: str, stdin: BinaryIO) -> str:
    """Return the text of a file, or of `stdin` for `-`."""
    try:
        if name == "-":
            return stdin.read().decode("utf-8-sig")
        with open(name, "rb") as file:
            return file.read().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read the labels in {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read the labels in {name}: they are not UTF-8", "save the file as UTF-8") from error


def check_labels(labels: Sequence[str]) -> None:
    """Raise `UsageError` for fewer than two labels, an empty one, or one that is there twice."""
    if not all(label.strip() for label in labels):
        raise UsageError("one of the labels is empty", "give them as a,b,c, or one a line in a file")
    for label, count in Counter(labels).items():
        if count > 1:
            raise UsageError(f"the label {label!r} is there {count} times; its probability would be divided")
    if len(labels) < 2:
        raise UsageError(
            f"two labels are needed at least, not {len(labels)}: a probability compares them",
            "add one for all the rest, for example: --labels cat,something else",
        )


def average(vectors: Vectors, count: int) -> Vectors:
    """Return the mean of each `count` vectors of (L * count, D), at unit length (L, D)."""
    means = vectors.reshape(-1, count, vectors.shape[1]).mean(axis=1, dtype=np.float32)
    unit: Vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
    return unit


def probabilities(pictures: Vectors, labels: Vectors, scale: float) -> NDArray[np.float32]:
    """Return the probability (n, L) of each of `labels` (L, D) for each of `pictures` (n, D); each row adds up to 1."""
    # Without the largest logit taken off, exp() of a scale of 100 times a cosine of 0.9 is out of float32's range.
    logits = np.float32(scale) * (pictures @ labels.T)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return found


def best_labels(
    pictures: Vectors, vectors: Vectors, scale: float, labels: Sequence[str], options: TagOptions
) -> Iterator[tuple[Label, ...]]:
    """Yield the most probable labels of each of `pictures` (n, D), at most `options.top`; equal ones in their order."""
    # A million pictures and ten thousand labels would be 40 GB of probabilities at once.
    step = max(1, CELLS // len(labels))
    for start in range(0, len(pictures), step):
        found = probabilities(pictures[start : start + step], vectors, scale)
        order = np.argsort(-found, axis=1, kind="stable")[:, : options.top]
        for row, places in zip(found, order, strict=True):
            yield tuple(
                Label(labels[place], float(row[place])) for place in places.tolist() if row[place] >= options.min_prob
            )
