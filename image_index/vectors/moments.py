"""The mean and the covariance of an index's vectors: what a score is worth among all scores of its query.

The score of a picture v for a query q is q·v. So over the whole index the mean of the scores is q·m and their variance
q·C·q, with the mean m and the covariance C of the vectors: exact, for any query, without a look at any picture.

The file holds m (D) and C (D, D) as little-endian float32, and the trailer of `derived_file`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from image_index.files.atomic import replacing_file
from image_index.records import Ids, Stamp, Vectors
from image_index.vectors.derived_file import Contents, append_trailer, state

SAMPLE = 100_000
"""About so many vectors are measured, evenly spread over the index: that gives a deviation to half a percent."""

LEAST_VARIANCE = 1e-7
"""Less than this is rounding: the scores of real queries have a variance of 1e-4 and more."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation of the scores of one query over the index; a `deviation` of 0: all are the same."""

    mean: float
    deviation: float

    def sigma(self, score: float) -> float | None:
        """Return how many standard deviations `score` lies above the mean; None where all scores are the same."""
        return (score - self.mean) / self.deviation if self.deviation else None

    def score(self, sigma: float) -> float:
        """Return the score that lies `sigma` standard deviations above the mean; where all are the same, the least."""
        return self.mean + sigma * self.deviation if self.deviation else -1.0


@dataclass(frozen=True, slots=True)
class Moments:
    """The mean (D,) and the covariance (D, D), float32, of an index's vectors."""

    mean: NDArray[np.float32]
    covariance: NDArray[np.float32]

    def spread(self, query: Vectors) -> Spread:
        """Return mean and standard deviation of the scores of `query` (D,)."""
        q = query.astype(np.float64)
        variance = float(q @ (self.covariance @ query))  # in float64 the matrix would be converted, for 0.3 ms
        return Spread(float(q @ self.mean), variance**0.5 if variance > LEAST_VARIANCE else 0.0)


def measure(chunks: Iterator[tuple[Ids, Vectors]], count: int, dim: int) -> Moments:
    """Return the moments of about `SAMPLE` of the `count` vectors (n, `dim`) that `chunks` gives."""
    step, taken = max(1, count // SAMPLE), 0
    total, products = np.zeros(dim), np.zeros((dim, dim))
    for _, vectors in chunks:
        sample = vectors[::step]
        sample = sample[np.isfinite(sample).all(axis=1)]  # a damaged catalog may hold anything
        taken += len(sample)
        total += sample.sum(axis=0, dtype=np.float64)
        products += sample.T @ sample
    mean = total / max(taken, 1)
    covariance = products / max(taken, 1) - np.outer(mean, mean)
    return Moments(mean.astype(np.float32), covariance.astype(np.float32))


def write_moments(path: Path, stamp: Stamp, moments: Moments) -> None:
    """Write the file at `path`, whole or not at all; raise `StorageError` where the disk refuses."""
    with replacing_file(path) as draft:
        draft.write_bytes(moments.mean.astype("<f4").tobytes() + moments.covariance.astype("<f4").tobytes())
        append_trailer(draft, Contents(stamp, stamp.count))


def read_moments(path: Path, catalog_id: str, up_to_id: int) -> Moments | None:
    """Return the moments in the file at `path`; None if it is damaged, of another catalog, or older than `up_to_id`."""
    _, contents = state(path, catalog_id)
    if contents is None or contents.stamp.last_id < up_to_id:
        return None
    dim = contents.stamp.dim
    values = np.fromfile(path, "<f4", dim + dim * dim)
    if len(values) != dim + dim * dim:
        return None
    return Moments(values[:dim].astype(np.float32), values[dim:].reshape(dim, dim).astype(np.float32))
