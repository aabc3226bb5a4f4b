"""Codes by numpy, against FAISS's own encoder."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from image_index.records import Vectors
from image_index.vectors.codes import Codes, code_bytes, encode
from image_index.vectors.lists import empty_lists
from tests.support.faiss_examples import random_vectors

COUNT, LISTS = 1500, 12


def example(dim: int) -> tuple[Any, Vectors, NDArray[np.int32]]:
    """Return empty lists, and vectors around their centroids with the list of each."""
    centroids = random_vectors(LISTS, dim)
    quantizer = faiss.IndexFlatIP(dim)
    quantizer.add(centroids)
    numbers = np.random.default_rng(1).integers(LISTS, size=COUNT).astype(np.int32)
    vectors = centroids[numbers] + 0.6 * random_vectors(COUNT, dim, 2)
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return empty_lists(quantizer), unit, numbers


def by_faiss(lists: Any, vectors: Vectors, numbers: NDArray[np.int32]) -> Codes:
    """Return the codes that FAISS gives."""
    codes = np.zeros((len(vectors), lists.code_size), np.uint8)
    longs = numbers.astype(np.int64)
    lists.encode_vectors(len(vectors), faiss.swig_ptr(vectors), faiss.swig_ptr(longs), faiss.swig_ptr(codes))
    return codes


def parts(codes: Codes, dim: int) -> tuple[Codes, Vectors, Codes, Vectors]:
    """Return the signs, the first factors, the extra bits, and the second factors."""
    width = (dim + 7) // 8
    signs, first, extra, second = np.split(codes, [width, width + 12, 2 * width + 12], axis=1)
    return signs, first.copy().view("<f4"), extra, second.copy().view("<f4")


def deviation(lists: Any, codes: Codes, vectors: Vectors, numbers: NDArray[np.int32]) -> float:
    """Return how wrong the inner products are that FAISS estimates from codes."""
    lists.reset()
    for number in range(LISTS):
        ids = np.flatnonzero(numbers == number)
        mine = codes[ids]
        lists.invlists.add_entries(number, len(ids), faiss.swig_ptr(ids), faiss.swig_ptr(mine))
    lists.ntotal, lists.nprobe = len(vectors), LISTS
    queries = random_vectors(40, vectors.shape[1], 3)
    scores, ids = lists.search(queries, len(vectors))
    return float(np.std(scores - np.take_along_axis(queries @ vectors.T, ids, axis=1)))


@pytest.mark.parametrize("dim", [16, 20, 64, 512, 640, 768])
def test_codes_are_those_of_faiss_but_for_a_better_step(dim: int) -> None:
    """Signs and their factors are the same, also where the dimension is no multiple of 8; no estimate gets worse."""
    lists, vectors, numbers = example(dim)
    ours, theirs = encode(vectors, lists.quantizer.reconstruct_n(), numbers), by_faiss(lists, vectors, numbers)
    assert ours.shape[1] == code_bytes(dim) == lists.code_size
    signs, first, extra, second = parts(ours, dim)
    expected_signs, expected_first, expected_extra, expected_second = parts(theirs, dim)
    np.testing.assert_array_equal(signs, expected_signs)
    np.testing.assert_allclose(first, expected_first, atol=1e-5)
    np.testing.assert_allclose(second[:, 0], expected_second[:, 0], atol=1e-5)
    assert np.mean(np.unpackbits(extra ^ expected_extra)) < 0.2
    assert deviation(lists, ours, vectors, numbers) < deviation(lists, theirs, vectors, numbers)


def test_a_vector_on_its_centroid_has_no_residual() -> None:
    """As in FAISS all factors are 0, so that the score of the centroid is that of the vector."""
    lists, _, _ = example(16)
    centroids = lists.quantizer.reconstruct_n()
    numbers = np.arange(LISTS, dtype=np.int32)
    _, first, _, second = parts(encode(centroids, centroids, numbers), 16)
    _, expected_first, _, expected_second = parts(by_faiss(lists, centroids, numbers), 16)
    np.testing.assert_allclose(first, expected_first, atol=1e-6)
    np.testing.assert_array_equal(second, expected_second)


def test_damaged_vectors_cost_only_themselves() -> None:
    """What is infinite or no number does not change the codes beside it, and stops nothing."""
    lists, vectors, numbers = example(16)
    centroids = lists.quantizer.reconstruct_n()
    whole = encode(vectors, centroids, numbers)
    vectors[5], vectors[9] = np.nan, np.inf
    rest = np.delete(np.arange(COUNT), [5, 9])
    np.testing.assert_array_equal(encode(vectors, centroids, numbers)[rest], whole[rest])
