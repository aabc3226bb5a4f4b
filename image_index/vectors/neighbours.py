"""Find vectors that are near each other among all of a library, with FAISS: the nearest of each, if near enough.

All against all takes minutes for a million. So the vectors are sorted into lists around centroids, as an IVF index does
it, and a query is compared with the lists that it is nearest to. Each list is one matrix product, which is many times
faster than to ask an index query by query.
"""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

WHOLE = 5000
"""So many vectors are compared all with all."""

PROBES = 3
"""How many lists a query is compared with."""

BLOCK = 1 << 22
"""How many cosines are computed at a time: 16 MB."""

Rows = NDArray[np.int64]


class Neighbours:
    """Unit vectors (N, D) float32, and which of them are nearest to a query."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        """Sort `vectors` into about sqrt(N) lists."""
        self._vectors = vectors
        self._centroids = _centroids(vectors) if len(vectors) > WHOLE else vectors[:1]
        self._own_lists = self._lists(vectors)
        lists = self._own_lists[:, 0]
        self._members = np.argsort(lists, kind="stable")
        self._limits = np.searchsorted(lists[self._members], np.arange(len(self._centroids) + 1))

    def near(self, queries: NDArray[np.float32], own: Rows, least: float, most: int) -> Iterator[tuple[Rows, Rows]]:
        """Yield pairs of rows whose cosine is at least `least`, as two arrays: rows of `own`, rows of the vectors.

        `queries[i]` is made of the vector `own[i]`, which is none of its neighbours. Of each list a query gets its
        `most` nearest and no more: ten thousand blank pages have 50 million pairs.
        """
        lists = self._own_lists if queries is self._vectors else self._lists(queries)
        order = np.argsort(lists, axis=None, kind="stable")
        limits = np.searchsorted(lists.ravel()[order], np.arange(len(self._centroids) + 1))
        for position in range(len(self._centroids)):
            members = self._members[self._limits[position] : self._limits[position + 1]]
            asking = order[limits[position] : limits[position + 1]] // lists.shape[1]
            step = max(1, BLOCK // max(1, len(members)))
            for start in range(0, len(asking) if len(members) else 0, step):
                rows = asking[start : start + step]
                cosines = queries[rows] @ self._vectors[members].T
                itself = np.searchsorted(members, own[rows]).clip(max=len(members) - 1)
                here = np.flatnonzero(members[itself] == own[rows])
                cosines[here, itself[here]] = -2
                found, columns = _nearest(cosines, least, most)
                yield own[rows[found]], members[columns]

    def _lists(self, vectors: NDArray[np.float32]) -> Rows:
        """Return the lists (n, `PROBES` or fewer) that each of `vectors` is nearest to, the nearest first."""
        count, step = min(PROBES, len(self._centroids)), max(1, BLOCK // max(1, len(self._centroids)))
        lists = np.zeros((len(vectors), max(1, count)), np.int64)
        for start in range(0, len(vectors) if count > 1 else 0, step):
            cosines = vectors[start : start + step] @ self._centroids.T
            for place in range(count):  # argmax again and again takes a third of the time of a partial sort
                best = cosines.argmax(axis=1)
                lists[start : start + step, place] = best
                cosines[np.arange(len(best)), best] = -2
        return lists


def _centroids(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return about sqrt(N) centroids of `vectors`, by k-means over a sample."""
    count = int(len(vectors) ** 0.5)
    kmeans = faiss.Kmeans(vectors.shape[1], count, niter=5, seed=1, spherical=True, max_points_per_centroid=50)
    kmeans.train(vectors)
    assert kmeans.centroids is not None
    return kmeans.centroids


def _nearest(cosines: NDArray[np.float32], least: float, most: int) -> tuple[Rows, Rows]:
    """Return the rows and columns of cosines of at least `least`, of each row the `most` largest."""
    asking = np.flatnonzero(cosines.max(axis=1) >= least)  # most have none: a maximum is all they cost
    cosines = cosines[asking]
    near = cosines >= least
    crowded = np.flatnonzero(np.count_nonzero(near, axis=1) > most)
    if len(crowded):
        best = np.argpartition(cosines[crowded], -most, axis=1)[:, -most:]
        near[crowded] = False
        near[crowded[:, None], best] = True
    rows, columns = np.nonzero(near)
    return asking[rows], columns
