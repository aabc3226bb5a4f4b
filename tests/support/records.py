"""Records that several tests need: files, rows and embedded batches that come from no disk and no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from image_index.records import (
    EmbeddedBatch,
    EmbeddedImage,
    Failure,
    Hit,
    ImageFacts,
    ImageFile,
    KnownImage,
    ModelFacts,
    PictureFacts,
    Preprocess,
)

LONG_AGO_NS = 10**18
"""A modification time that no read of a test comes near."""


def facts(dim: int = 4) -> ModelFacts:
    """Return what a model of `dim` dimensions is."""
    return ModelFacts("fake", "0" * 64, "{}", Preprocess((8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), dim)


def image_file(path: bytes, size: int = 1, mtime_ns: int = LONG_AGO_NS) -> ImageFile:
    """Return a file as a scan gives it."""
    return ImageFile(path, size, mtime_ns)


def known_image(path: bytes, image_id: int = 1, *, content: bytes = b"x", missing: bool = False) -> KnownImage:
    """Return a row for a file of that content, read long after it was modified."""
    return KnownImage(
        image_id, path, len(content), LONG_AGO_NS, sha256(content).digest(), 2 * LONG_AGO_NS, missing=missing
    )


def embedded_image(file: ImageFile, content: bytes = b"x") -> EmbeddedImage:
    """Return the facts of an embedded file, read long after it was modified."""
    return EmbeddedImage(file, sha256(content).digest(), file.mtime_ns + LONG_AGO_NS, PictureFacts(4, 3, "PNG"))


def batch(vectors: Mapping[bytes, Sequence[float]], failures: Iterable[Failure] = ()) -> EmbeddedBatch:
    """Return a batch of one image per path; its content is its path."""
    images = tuple(embedded_image(image_file(path), path) for path in vectors)
    array = np.array(list(vectors.values()), np.float32) if vectors else np.zeros((0, 4), np.float32)
    return EmbeddedBatch(images, array, tuple(failures))


def image_facts(path: bytes = b"/a.jpg", image_id: int = 1, **facts: Any) -> ImageFacts:
    """Return what a catalog knows of a picture, read long after it was modified; `facts` are what is not as usual."""
    picture = PictureFacts(4, 3, "jpeg")._replace(
        **{name: facts.pop(name) for name in PictureFacts._fields if name in facts}
    )
    usual = ImageFacts(image_id, path, 1, LONG_AGO_NS, sha256(path).digest(), picture, missing=False)
    return usual._replace(**facts)


def hit(rank: int, score: float, path: bytes, image_id: int = 1) -> Hit:
    """Return a hit, ten times as many standard deviations above the mean as its score."""
    return Hit(rank, score, 10 * score, image_facts(path, image_id))
