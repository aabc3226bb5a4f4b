"""Near vectors, against comparing all with all."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from image_index.vectors import neighbours
from image_index.vectors.neighbours import Neighbours


def unit_vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Return random unit vectors of eight dimensions."""
    found = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    unit: NDArray[np.float32] = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit


def pairs(index: Neighbours, queries: NDArray[np.float32], least: float, most: int) -> list[tuple[int, int]]:
    """Return the pairs that are found, in order."""
    rows = np.arange(len(queries)) + 10_000  # these are no vectors of the index
    parts = [np.stack(found, axis=1) for found in index.near(queries, rows, least, most)]
    return sorted((row - 10_000, column) for row, column in np.concatenate(parts).tolist())


@pytest.mark.parametrize("block", [1, 1000, 1 << 22])
def test_near_vectors_are_those_that_a_matrix_product_finds(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """However many cosines are computed at a time."""
    monkeypatch.setattr(neighbours, "BLOCK", block)
    vectors, queries = unit_vectors(300), unit_vectors(50, 1)
    expected = [tuple(pair) for pair in np.argwhere(queries @ vectors.T >= 0.7).tolist()]
    assert len(expected) > 100
    assert pairs(Neighbours(vectors), queries, 0.7, 300) == expected


def test_a_query_gets_no_more_than_its_nearest() -> None:
    """A library of ten thousand blank pages has 50 million near pairs."""
    vectors, queries = unit_vectors(300), unit_vectors(50, 1)
    cosines = queries @ vectors.T
    expected = [(row, column) for row in range(50) for column in np.argsort(-cosines[row])[:4].tolist()]
    assert pairs(Neighbours(vectors), queries, -1, 4) == sorted(expected)


def test_no_vector_is_its_own_neighbour() -> None:
    """Whatever rows are asked for, in whatever order."""
    vectors = np.repeat(unit_vectors(4), 2, axis=0)
    own = np.array([5, 0, 7])
    (found,) = Neighbours(vectors).near(vectors[own], own, 0.999, 4)
    assert list(zip(*(side.tolist() for side in found), strict=True)) == [(5, 4), (0, 1), (7, 6)]


def test_lists_of_neighbours_lose_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many vectors only some lists are looked through; what is found is right, and a near one is hardly missed."""
    monkeypatch.setattr(neighbours, "WHOLE", 100)
    vectors = unit_vectors(4000)
    queries = vectors + 0.02 * unit_vectors(4000, 1)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    found = set(pairs(Neighbours(vectors), queries, 0.99, 4000))
    expected = {tuple(pair) for pair in np.argwhere(queries @ vectors.T >= 0.99).tolist()}
    assert found <= expected
    assert len(expected) >= 4000
    assert len(found) > 0.99 * len(expected)


def test_no_vectors_have_no_neighbours() -> None:
    """An index without pictures is one too."""
    none = np.empty((0, 8), np.float32)
    assert list(Neighbours(none).near(none, np.empty(0, np.int64), 0.9, 4)) == []
