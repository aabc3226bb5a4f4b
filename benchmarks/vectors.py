"""Vectors like those of pictures, by the million, and queries for them; all from a seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

TOPICS = 2000
PIECE = 8192


def clustered(count: int, dim: int, seed: int = 0) -> Iterator[Array]:
    """Yield unit vectors (n, dim) in topics of very different size and spread, all in one cone.

    As pictures of CLIP do, any two have a cosine of about 0.46, the nearest of 20,000 one of about 0.8. The variance
    of the directions falls as one over their number.
    """
    random = np.random.default_rng(seed)
    mean = _unit(random.standard_normal((1, dim), dtype=np.float32))
    shape_of_topics, shape_of_spread = _decaying(dim, random), _decaying(dim, random)
    centres = random.standard_normal((TOPICS, dim), dtype=np.float32) @ shape_of_topics
    weights = np.arange(1, TOPICS + 1) ** -0.7
    spreads = random.uniform(0.35, 0.75, (TOPICS, 1)).astype(np.float32)
    for start in range(0, count, PIECE):
        topics = random.choice(TOPICS, min(PIECE, count - start), p=weights / weights.sum())
        own = random.standard_normal((len(topics), dim), dtype=np.float32) @ shape_of_spread
        yield _unit(0.7 * mean + 0.55 * centres[topics] + spreads[topics] * own)


def unordered(count: int, dim: int, seed: int = 0) -> Iterator[Array]:
    """Yield random unit vectors (n, dim), the same in every direction: the worst there is for inverted lists."""
    random = np.random.default_rng(seed)
    for start in range(0, count, PIECE):
        yield _unit(random.standard_normal((min(PIECE, count - start), dim), dtype=np.float32))


def jittered(photos: Array, count: int, seed: int = 0) -> Iterator[Array]:
    """Yield unit vectors (n, dim) made of those of real photos: two of them mixed, and noise of their covariance."""
    random = np.random.default_rng(seed)
    variances, directions = np.linalg.eigh(np.cov(photos.T))
    shape_of_noise = (directions * np.sqrt(np.maximum(variances, 0))).T.astype(np.float32)
    for start in range(0, count, PIECE):
        size = min(PIECE, count - start)
        one, other = photos[random.integers(len(photos), size=(2, size))]
        share = random.uniform(0, 0.5, (size, 1)).astype(np.float32)
        spread = random.uniform(0.2, 0.6, (size, 1)).astype(np.float32)
        noise = random.standard_normal((size, photos.shape[1]), dtype=np.float32) @ shape_of_noise
        yield _unit((1 - share) * one + share * other + spread * noise)


KINDS = {"clustered": clustered, "random": unordered}


def near_queries(vectors: Array, count: int, seed: int = 1) -> Array:
    """Return queries (count, D) near some of `vectors`, as a similar picture is: at a cosine of about 0.96."""
    random = np.random.default_rng(seed)
    some = vectors[random.integers(len(vectors), size=count)]
    return _unit(some + 0.3 * _unit(random.standard_normal(some.shape, dtype=np.float32)))


def text_queries(vectors: Array, count: int, seed: int = 2) -> Array:
    """Return queries (count, D) like those of texts: in a cone of their own, far from all `vectors`.

    A direction that all have and no picture has, a share of what sets one picture apart, and noise.
    """
    random = np.random.default_rng(seed)
    mean = vectors.mean(axis=0)
    cone = random.standard_normal(vectors.shape[1], dtype=np.float32)
    cone -= mean * (cone @ mean) / (mean @ mean)
    away = vectors[random.integers(len(vectors), size=count)] - mean
    noise = _unit(random.standard_normal(away.shape, dtype=np.float32))
    return _unit(0.8 * _unit(cone[np.newaxis]) + 0.3 * _unit(away) + 0.5 * noise)


def _decaying(dim: int, random: np.random.Generator) -> Array:
    """Return a matrix (dim, dim) that gives normal noise a spectrum as one over the number of the direction."""
    directions, _ = np.linalg.qr(random.standard_normal((dim, dim)))
    scales = np.arange(1, dim + 1) ** -0.5
    matrix: Array = (directions * scales / np.linalg.norm(scales)).T.astype(np.float32)
    return matrix


def _unit(vectors: Array) -> Array:
    """Return the vectors (N, D) at length one."""
    unit: Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
