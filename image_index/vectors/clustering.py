"""Spherical k-means in two levels: a vector is compared with the centroids of some groups of them, not with all.

With 4000 centroids of 512 dimensions that takes a third of the time. All by numpy: FAISS takes four times as long on a
Xeon with AVX-512, because the library of linear algebra in its package has no code for that.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from image_index.records import Vectors
from image_index.vectors.threads import in_threads

ListNumbers = NDArray[np.int32]
"""The number of the inverted list, and so of the centroid, of each vector, shape (n,)."""

ITERATIONS = 8
"""K-means steps; the next ones move no more than a hundredth of the sample."""

GROUP_ITERATIONS = 6
"""K-means steps for the groups of centroids, which have only to be about right."""

NEAREST_GROUPS = 12
"""With the centroids of how many groups a vector is compared; while they are trained with half as many.

Of 63 groups of 4000 centroids six hold the nearest one of 96 % of vectors. K-means hardly minds the others, but a
search does: for texts it would visit a quarter more, because some of the best ten are not where they are looked for.
"""

BLOCK = 8192
"""How many vectors are looked at together by one thread: 17 MB of 512 dimensions."""


class NearestCentroid:
    """Finds the centroid with the largest inner product: nearly always, and in a fraction of the time."""

    def __init__(self, centroids: Vectors, compared: int | None = None) -> None:
        """Put the `centroids` (L, D) into sqrt(L) groups, of which `compared` are looked into, or `NEAREST_GROUPS`."""
        self._compared = compared or NEAREST_GROUPS
        count = max(1, round(len(centroids) ** 0.5))
        self._groups = _k_means(centroids, count, GROUP_ITERATIONS, _nearest)
        homes = _nearest(self._groups, centroids)
        self._numbers = [np.flatnonzero(homes == group).astype(np.int32) for group in range(count)]
        self._centroids = [centroids[numbers] for numbers in self._numbers]

    def __call__(self, vectors: Vectors) -> ListNumbers:
        """Return the numbers of the centroids for vectors (n, D)."""
        found = [self._search(vectors[start : start + BLOCK]) for start in range(0, len(vectors), BLOCK)]
        return np.concatenate(found) if found else np.empty(0, np.int32)

    def _search(self, vectors: Vectors) -> ListNumbers:
        """Compare each of `vectors` with the nearest groups: group by group, so that it is one product of matrices."""
        scores = vectors @ self._groups.T
        last = max(0, len(self._groups) - self._compared)
        chosen = (scores >= np.partition(scores, last, axis=1)[:, last, np.newaxis]).T
        best = np.full(len(vectors), -np.inf, np.float32)
        found = np.zeros(len(vectors), np.int32)
        buffer = np.empty_like(vectors)  # once: new memory for every group would take as long as to compare
        for numbers, centroids, here in zip(self._numbers, self._centroids, chosen, strict=True):
            rows = np.flatnonzero(here)
            if not len(rows) or not len(numbers):
                continue
            some = np.take(vectors, rows, axis=0, out=buffer[: len(rows)], mode="clip")
            near = some @ centroids.T
            nearest = near.argmax(axis=1)
            score = near[np.arange(len(rows)), nearest]
            better = score > best[rows]
            rows = rows[better]
            best[rows], found[rows] = score[better], numbers[nearest[better]]
        return found


def spherical_k_means(sample: NDArray[np.float16] | Vectors, count: int) -> Vectors:
    """Return `count` centroids of unit length of a `sample` (S, D) (Dhillon and Modha, 2001).

    Not so good is to split the sample into groups, and each group into lists: near pictures and for texts half as many
    lists again are then needed, for no centroid crosses the border of its group.
    """
    return _k_means(sample, count, ITERATIONS, _nearest_in_half)


def _k_means(
    sample: NDArray[np.float16] | Vectors,
    count: int,
    iterations: int,
    nearest: Callable[[Vectors, NDArray[np.float16] | Vectors], ListNumbers],
) -> Vectors:
    """Return `count` centroids of a sample, each vector of which goes where `nearest` says."""
    random = np.random.default_rng(1)
    centroids = sample[random.choice(len(sample), count, replace=False)].astype(np.float32)
    for _ in range(iterations):
        homes = nearest(centroids, sample)
        sums = _sums(sample, homes, count)
        empty = np.bincount(homes, minlength=count) == 0
        sums[empty] = sample[random.choice(len(sample), int(empty.sum()), replace=False)]
        centroids = unit(sums)
    return centroids


def _sums(sample: NDArray[np.float16] | Vectors, homes: ListNumbers, count: int) -> Vectors:
    """Return the sum of the vectors of each list, (`count`, D)."""
    sums, order = np.zeros((count, sample.shape[1]), np.float32), np.argsort(homes, kind="stable")
    for start in range(0, len(sample), BLOCK):
        rows = order[start : start + BLOCK]
        numbers, begins = np.unique(homes[rows], return_index=True)
        sums[numbers] += np.add.reduceat(sample[rows].astype(np.float32), begins)
    return sums


def _nearest_in_half(centroids: Vectors, sample: NDArray[np.float16] | Vectors) -> ListNumbers:
    """Return the numbers of the centroids nearest to a sample, by several threads, looking into few groups."""
    nearest, starts = NearestCentroid(centroids, max(1, NEAREST_GROUPS // 2)), range(0, len(sample), BLOCK)
    found = in_threads(lambda start: nearest(sample[start : start + BLOCK].astype(np.float32)), starts)
    return np.concatenate(list(found))


def _nearest(centroids: Vectors, vectors: NDArray[np.float16] | Vectors) -> ListNumbers:
    """Return the numbers of the nearest among few centroids (L, D)."""
    pieces = (vectors[start : start + BLOCK] for start in range(0, len(vectors), BLOCK))
    return np.concatenate([np.argmax(piece @ centroids.T, axis=1).astype(np.int32) for piece in pieces])


def unit(vectors: Vectors) -> Vectors:
    """Return the vectors (N, D) at length one; those of no length stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = vectors / np.maximum(lengths, 1e-12)
    return scaled
