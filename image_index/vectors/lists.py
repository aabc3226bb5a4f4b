"""Training inverted lists, and choosing `nprobe`: how many of them a search must visit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from image_index.records import Ids, Vectors

MAX_LISTS = 4096
"""Twice as many take twice the time to build, for a quarter less to search in ten million vectors."""

SAMPLE_PER_LIST = 32
"""K-means gets no better with more, and 4096 lists of it fill 270 MB."""

ITERATIONS = 8
"""K-means steps; the next ones move no more than a hundredth of the sample."""

TOP = 10
RECALL = 0.993
"""The share of the exact best `TOP` that the sample queries must find; the margin over 0.99 is for other queries."""

MAX_SHARE = 0.25
"""The largest share of the lists that a search visits: vectors without any order, as random ones, would need all."""

TUNING_SAMPLE = 4096
"""How many vectors are enough to make sample queries of, and to see how wrong the quantiser is."""

NEAR_QUERIES, CONES, QUERIES_PER_CONE = 64, 8, 24
"""How many sample queries there are: near pictures, and in several cones far from them."""


def sample_of(chunks: Iterable[tuple[Ids, Vectors]], count: int, *, train: bool) -> Vectors:
    """Return a random sample (S, D) of `count` vectors in pieces: enough to `train` lists, or else for `Tuning`."""
    wanted = min(count, SAMPLE_PER_LIST * list_count(count) if train else TUNING_SAMPLE)
    chosen = np.zeros(count, np.bool_)
    chosen[np.random.default_rng(0).choice(count, wanted, replace=False)] = True
    sample: Vectors | None = None
    position = filled = 0
    for ids, vectors in chunks:
        mine = vectors[chosen[position : position + len(ids)]]
        if sample is None:  # allocated once, at its full size: to concatenate chunks would take twice the memory
            sample = np.empty((wanted, vectors.shape[1]), np.float32)
        sample[filled : filled + len(mine)] = mine
        position, filled = position + len(ids), filled + len(mine)
    return sample[:filled] if sample is not None else np.empty((0, 0), np.float32)


def list_count(count: int) -> int:
    """Return how many lists are best for `count` vectors: four times the square root, as FAISS's guidelines say."""
    return int(max(1, min(MAX_LISTS, 4 * count**0.5)))


def train_lists(sample: Vectors, count: int) -> faiss.IndexIVFScalarQuantizer:
    """Return an empty index with lists for `count` vectors, trained on a `sample` (S, D) of them."""
    dim, lists = sample.shape[1], min(list_count(count), len(sample))
    kmeans = faiss.Kmeans(
        dim, lists, niter=ITERATIONS, spherical=True, seed=1, min_points_per_centroid=1, max_points_per_centroid=10**9
    )
    kmeans.train(sample)
    quantizer = faiss.IndexFlatIP(dim)
    centroids: Any = kmeans.centroids  # the stubs say that there may be none
    quantizer.add(centroids)
    kind = faiss.ScalarQuantizer.QT_8bit
    index = faiss.IndexIVFScalarQuantizer(quantizer, dim, lists, kind, faiss.METRIC_INNER_PRODUCT, False)
    index.sq.rangestat_arg = 0.1  # values outside the range of the sample are clipped: a tenth of room keeps that rare
    index.sq.train(sample)
    index.is_trained = True
    return index


class Tuning:
    """Chooses `nprobe`: keeps the exact top 10 of some hundred sample queries while every vector passes by.

    Then it is known in which lists those ten are, and how many lists a search must visit to recall 99.3 % of them.

    Some queries lie near pictures, as pictures do. The others are texts, which need more lists: the vectors of texts
    lie far from all pictures, so that many lists are about equally near. Where the model's own `texts` (Q, D) cannot be
    had, they are made up, in cones far from all pictures: mostly a direction that all of a cone share, some of what
    sets one picture apart, and noise.
    """

    def __init__(self, sample: Vectors, texts: Vectors | None = None) -> None:
        """Make the queries from a `sample` (S, D) of the vectors."""
        random = np.random.default_rng(2)
        near = sample[random.integers(len(sample), size=NEAR_QUERIES)]
        near = _unit(near + 0.3 * _noise(random, *near.shape))
        self._queries = np.concatenate([near, _made_up_texts(random, sample) if texts is None else texts])
        self._some = sample[random.integers(len(sample), size=TUNING_SAMPLE // 2)]
        self._scores = np.full((len(self._queries), TOP), -np.inf, np.float32)
        self._ids = np.full((len(self._queries), TOP), -1, np.int64)

    def look_at(self, ids: Ids, vectors: Vectors) -> None:
        """Let vectors (n, D) pass by, and keep those that are among the best of a query."""
        scores = self._queries @ vectors.T
        # Once many vectors have passed, few are among the best of any query: the rest need not be sorted.
        better = (scores > self._scores.min(axis=1, keepdims=True)).any(axis=0)
        scores, ids = np.concatenate([self._scores, scores[:, better]], axis=1), ids[better]
        best = np.argpartition(-scores, TOP - 1, axis=1)[:, :TOP]
        every = np.concatenate([self._ids, np.broadcast_to(ids, (len(scores), len(ids)))], axis=1)
        self._scores, self._ids = (np.take_along_axis(values, best, axis=1) for values in (scores, every))

    def nprobe(self, index: faiss.IndexIVF, ids: Ids, lists: NDArray[np.int32]) -> int:
        """Return how many lists a search must visit, where the vector `ids[i]` is in the list `lists[i]`.

        Queries near pictures and texts each decide for themselves: of both together, the many easy ones would hide the
        few that need more.
        """
        order = np.argsort(ids)
        homes = lists[order[np.searchsorted(ids[order], np.maximum(self._ids, ids.min()))]]
        nearest = index.quantizer.search(self._queries, index.nlist)[1]
        ranks = np.empty_like(nearest)
        np.put_along_axis(ranks, nearest, np.arange(index.nlist)[np.newaxis], axis=1)
        needed = np.take_along_axis(ranks, homes, axis=1) + 1
        kinds = needed[:NEAR_QUERIES], needed[NEAR_QUERIES:]
        both = [np.quantile(kind, RECALL, method="higher") for kind in kinds]
        return int(min(max(both), max(1, MAX_SHARE * index.nlist)))

    def error(self, index: faiss.IndexIVFScalarQuantizer) -> float:
        """Return by how much a score of the quantiser may be wrong: 1.5 times the worst of half a million pairs."""
        rounded = index.sq.decode(index.sq.compute_codes(self._some))
        return 1.5 * float(np.abs(self._queries @ (rounded - self._some).T).max())


def _made_up_texts(random: np.random.Generator, sample: Vectors) -> Vectors:
    """Return made-up queries (Q, D) that lie to the pictures as texts do: in narrow cones far from all of them."""
    cones = np.repeat(_noise(random, CONES, sample.shape[1]), QUERIES_PER_CONE, axis=0)
    away = _unit(sample[random.integers(len(sample), size=len(cones))] - sample.mean(axis=0))
    return _unit(0.8 * cones + 0.3 * away + 0.5 * _noise(random, *away.shape))


def _noise(random: np.random.Generator, count: int, dim: int) -> Vectors:
    """Return random unit vectors (count, dim)."""
    return _unit(random.standard_normal((count, dim), dtype=np.float32))


def _unit(vectors: Vectors) -> Vectors:
    """Return the vectors (N, D) at length one; those of no length stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = vectors / np.maximum(lengths, 1e-12)
    return unit
