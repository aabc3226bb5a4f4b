"""Training inverted lists of RaBitQ codes, and measuring what a search of them needs: its reach, and a score's error.

RaBitQ (Gao and others, 2024, https://arxiv.org/abs/2409.09913) stores the sign and one more bit of every coordinate of
a vector's difference from the centroid of its list, and estimates an inner product from that. A random rotation before
it spreads what a few coordinates hold over all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from image_index.half import to_float32
from image_index.records import Ids, Vectors
from image_index.vectors.clustering import ListNumbers, spherical_k_means, unit
from image_index.vectors.codes import encode
from image_index.vectors.vector_file import Chunks

MAX_LISTS = 16_384
"""As many serve ten million vectors; to compare a query with all their centroids takes 2 ms."""

SAMPLE_PER_LIST = 32
MAX_SAMPLE = 131_072
"""K-means gets no better with more vectors a list; as many in all as float16 take 134 MB of 512 dimensions."""

BITS = 2
"""Bits a coordinate: of one bit the best ten would be among thousands of candidates, of two they are among hundreds."""

QUERY_LENGTH = 4.0
"""To this length a query is scaled for the codes, and its scores back.

RaBitQ estimates from the difference of query and centroid, and is the more wrong the longer that is beside the query:
at length 1 a text's difference is longer than itself. The error falls by a quarter, for pictures a little too.
"""

QUERY_BITS = 4
"""Bits a coordinate of the query in the first look, at the signs; what passes it is estimated with the whole query."""

TOP = 10
RECALL = 0.997
"""The share of the exact best `TOP` that sample queries must find; the margin over 0.99 is for other queries."""

LEAST_RADIUS = 0.05
"""A list of equal vectors has none; but its centroid is rounded, and nothing could be divided by it."""

WITHIN_ERROR = 0.993
"""The share of the pairs of query and vector whose score is underestimated by the measured error at most."""

TUNING_SAMPLE = 4096
"""How many vectors are enough to make sample queries of, and to see how wrong the quantiser is."""

ERROR_QUERIES = 32
"""How many queries of each kind are enough to see how wrong the codes are: with 2048 vectors each."""

NEAR_QUERIES, CONES, QUERIES_PER_CONE = 64, 8, 16
"""How many sample queries there are: near pictures, and in several cones far from them."""


def sample_of(chunks: Chunks, count: int) -> NDArray[np.float16]:
    """Return a random sample (S, D) of `count` vectors in pieces, enough to train lists."""
    wanted = min(count, MAX_SAMPLE, SAMPLE_PER_LIST * list_count(count))
    chosen = np.zeros(count, np.bool_)
    chosen[np.random.default_rng(0).choice(count, wanted, replace=False)] = True
    sample: NDArray[np.float16] | None = None
    position = filled = 0
    for ids, vectors in chunks:
        mine = vectors[chosen[position : position + len(ids)]]
        if sample is None:  # allocated once, at its full size: to concatenate chunks would take twice the memory
            sample = np.empty((wanted, vectors.shape[1]), np.float16)
        sample[filled : filled + len(mine)] = mine
        position, filled = position + len(ids), filled + len(mine)
    return sample[:filled] if sample is not None else np.empty((0, 0), np.float16)


def list_count(count: int) -> int:
    """Return how many lists are best for `count` vectors: four times the square root, as FAISS's guidelines say."""
    return int(max(1, min(MAX_LISTS, 4 * count**0.5)))


def train_lists(sample: NDArray[np.float16] | Vectors, count: int) -> faiss.IndexPreTransform:
    """Return an empty index, a rotation and lists for `count` vectors, trained on a `sample` (S, D) of them."""
    dim, lists = sample.shape[1], min(list_count(count), len(sample))
    rotation = faiss.RandomRotationMatrix(dim, dim)
    rotation.init(1)
    quantizer = faiss.IndexFlatIP(dim)
    quantizer.add(spherical_k_means(sample, lists) @ _matrix(rotation).T)
    return faiss.IndexPreTransform(rotation, empty_lists(quantizer))


def empty_lists(quantizer: faiss.Index) -> faiss.IndexIVFRaBitQ:
    """Return lists without vectors around the centroids of `quantizer`."""
    index = faiss.IndexIVFRaBitQ(quantizer, quantizer.d, quantizer.ntotal, faiss.METRIC_INNER_PRODUCT, True, BITS)
    index.qb, index.is_trained = QUERY_BITS, True  # beside the centroids there is nothing to train
    return index


def emptied(full: faiss.IndexPreTransform) -> faiss.IndexPreTransform:
    """Return an index without vectors that has the rotation and the centroids of `full`."""
    rotation, ivf = faiss.RandomRotationMatrix(full.d, full.d), faiss.extract_index_ivf(full)
    faiss.copy_array_to_vector(faiss.vector_to_array(rotation_of(full).A), rotation.A)
    rotation.is_trained = True
    return faiss.IndexPreTransform(rotation, empty_lists(faiss.clone_index(ivf.quantizer)))


@dataclass(frozen=True, slots=True)
class Reach:
    """How far above its centroid's score a list may hold a hit, in radii of the list.

    A list is visited if its centroid scores less than the last hit by no more than that: `near` times its radius if the
    best centroid of all scores `near_score`, as a picture's does, else `text` times. A vector differs from its centroid
    in any direction alike, so of those at distance r from it, the share that scores more than some multiple of r above
    it is about the same for every list and query.
    """

    text: float
    near: float
    near_score: float


class Tuning:
    """Measures a `Reach`: keeps the exact top 10 of some hundred sample queries while every vector passes by.

    Then it is known in which lists those ten are, and how far above the scores of their centroids.

    Some queries lie near pictures, as pictures do. The others are texts, which need more lists: the vectors of texts
    lie far from all pictures, so that many lists are about equally near. Where the model's own `texts` (Q, D) cannot be
    had, they are made up, in cones far from all pictures: mostly a direction that all of a cone share, some of what
    sets one picture apart, and noise.
    """

    def __init__(self, sample: NDArray[np.float16] | Vectors, texts: Vectors | None = None) -> None:
        """Make the queries from a `sample` (S, D) of the vectors."""
        random = np.random.default_rng(2)
        sample = to_float32(sample[random.choice(len(sample), min(len(sample), TUNING_SAMPLE), replace=False)])
        near = sample[random.integers(len(sample), size=NEAR_QUERIES)]
        near = unit(near + 0.3 * _noise(random, *near.shape))
        self._queries = np.concatenate([near, _made_up_texts(random, sample) if texts is None else texts])
        self._some = sample[random.integers(len(sample), size=TUNING_SAMPLE // 2)]
        self._scores = np.full((len(self._queries), TOP), -np.inf, np.float32)
        self._homes = np.zeros((len(self._queries), TOP), np.int32)

    def look_at(self, vectors: Vectors, lists: ListNumbers) -> None:
        """Let vectors (n, D) in their `lists` (n,) pass by, and keep those that are among the best of a query."""
        scores = self._queries @ vectors.T
        # Once many vectors have passed, few are among the best of any query: the rest need not be sorted.
        better = (scores > self._scores.min(axis=1, keepdims=True)).any(axis=0)
        scores, lists = np.concatenate([self._scores, scores[:, better]], axis=1), lists[better]
        best = np.argpartition(-scores, TOP - 1, axis=1)[:, :TOP]
        every = np.concatenate([self._homes, np.broadcast_to(lists, (len(scores), len(lists)))], axis=1)
        self._scores, self._homes = (np.take_along_axis(values, best, axis=1) for values in (scores, every))

    def reach(self, index: faiss.IndexPreTransform, radii: NDArray[np.float64]) -> Reach:
        """Return what a search must reach where vectors lie `radii` (L,) from the centroids of their lists.

        Queries near pictures and texts each decide for themselves: of both together, the many easy ones would hide the
        few that need more.
        """
        scores = self._queries @ centroids_of(index).T
        above = self._scores.min(axis=1, keepdims=True) - np.take_along_axis(scores, self._homes, axis=1)
        above /= radii[self._homes]
        near, text = (
            float(np.quantile(kind, RECALL, method="higher")) for kind in (above[:NEAR_QUERIES], above[NEAR_QUERIES:])
        )
        best = scores.max(axis=1)
        picture_score, text_score = float(best[:NEAR_QUERIES].min()), float(best[NEAR_QUERIES:].max())
        least = max((picture_score + text_score) / 2, text_score)  # a text taken for a picture would cost recall
        return Reach(max(text, near), near, least)

    def error(self, index: faiss.IndexPreTransform) -> float:
        """Return by how much a score may be underestimated: by no more in 99.3 % of the pairs, for the worse kind."""
        small = empty_lists(faiss.extract_index_ivf(index).quantizer)
        fill_lists(small, np.arange(len(self._some)), rotated(index, self._some))
        small.nprobe = small.nlist
        missing = []
        for queries in (self._queries[:NEAR_QUERIES][:ERROR_QUERIES], self._queries[NEAR_QUERIES:][-ERROR_QUERIES:]):
            scores, numbers = small.search(QUERY_LENGTH * rotated(index, queries), len(self._some))
            exact = np.take_along_axis(queries @ self._some.T, numbers, axis=1)
            missing.append(float(np.quantile(exact - scores / QUERY_LENGTH, WITHIN_ERROR)))
        return max(*missing, 0.0)


def fill_lists(index: faiss.IndexIVFRaBitQ, ids: Ids, vectors: Vectors) -> None:
    """Add rotated vectors (n, D) under their `ids` (n,) to lists in memory."""
    invlists: Any = index.invlists
    lists = index.quantizer.search(vectors, 1)[1][:, 0].astype(np.int32)
    codes = encode(vectors, index.quantizer.reconstruct_n(), lists)
    for number in np.unique(lists).tolist():
        mine = lists == number
        some_ids, some_codes = ids[mine], codes[mine]  # FAISS takes addresses: the arrays must outlive the call
        invlists.add_entries(number, len(some_ids), faiss.swig_ptr(some_ids), faiss.swig_ptr(some_codes))
    index.ntotal += len(vectors)


def rotated(index: faiss.IndexPreTransform, vectors: Vectors) -> Vectors:
    """Return vectors (n, D) as the lists of `index` hold them."""
    turned: Vectors = vectors @ _matrix(rotation_of(index)).T
    return turned


def centroids_of(index: faiss.IndexPreTransform) -> Vectors:
    """Return the centroids (L, D) of `index`, as they were before the rotation."""
    centroids: Vectors = faiss.extract_index_ivf(index).quantizer.reconstruct_n() @ _matrix(rotation_of(index))
    return centroids


def _matrix(rotation: Any) -> Vectors:
    """Return the matrix (D, D) of a rotation."""
    matrix: Vectors = faiss.vector_to_array(rotation.A).reshape(rotation.d_out, rotation.d_in)
    return matrix


def rotation_of(index: faiss.IndexPreTransform) -> Any:
    """Return the rotation of an index, which the stubs take for an element of a list."""
    chain: Any = index.chain
    return faiss.downcast_VectorTransform(chain.at(0))


def _made_up_texts(random: np.random.Generator, sample: Vectors) -> Vectors:
    """Return made-up queries (Q, D) that lie to the pictures as texts do: in narrow cones far from all of them."""
    cones = np.repeat(_noise(random, CONES, sample.shape[1]), QUERIES_PER_CONE, axis=0)
    away = unit(sample[random.integers(len(sample), size=len(cones))] - sample.mean(axis=0))
    return unit(0.8 * cones + 0.3 * away + 0.5 * _noise(random, *away.shape))


def _noise(random: np.random.Generator, count: int, dim: int) -> Vectors:
    """Return random unit vectors (count, dim)."""
    return unit(random.standard_normal((count, dim), dtype=np.float32))
