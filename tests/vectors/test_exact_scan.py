"""The exact scan, against numpy in double precision."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from image_index.vectors import exact_scan
from image_index.vectors.exact_scan import best_rows, rows_at_least
from tests.support.faiss_examples import random_vectors

WAYS = {"numpy": (10**9, 10**9), "FAISS": (0, 10**9), "FAISS in threads": (0, 16)}
"""Up to how many rows numpy compares them, and for how many there is a further thread."""


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Compare rows in each of the ways, however few there are."""
    numpy_rows, thread_rows = WAYS[request.param]
    monkeypatch.setattr(exact_scan, "NUMPY_ROWS", numpy_rows)
    monkeypatch.setattr(exact_scan, "GATHERED_SHARE", 0)
    monkeypatch.setattr(exact_scan, "THREAD_ROWS", thread_rows)
    monkeypatch.setattr(exact_scan, "cores", lambda: 3)
    return str(request.param)


def compare(dim: int, count: int, wanted: int, chosen: NDArray[np.int64] | None) -> None:
    """Check the best rows, and those of at least some scores."""
    vectors, query = random_vectors(count, dim, 1).astype(np.float16), random_vectors(1, dim, 2)[0]
    exact = vectors.astype(np.float64) @ query.astype(np.float64)
    allowed = np.arange(count) if chosen is None else chosen
    best = allowed[np.argsort(-exact[allowed], kind="stable")][:wanted]
    scores, rows = best_rows(vectors, query, wanted, chosen)
    np.testing.assert_allclose(scores, exact[best], atol=1e-6)
    np.testing.assert_allclose(exact[rows], scores, atol=1e-6)
    assert len(set(rows.tolist())) == len(best)
    assert set(rows.tolist()) <= set(allowed.tolist())
    for least in (-1.1, 0.001, 0.7, 1.5):
        found = rows_at_least(vectors, query, least, chosen)
        assert found.tolist() == [row for row in allowed if exact[row] >= least] or np.abs(exact - least).min() < 1e-6


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dim=st.sampled_from([1, 3, 8, 16, 100]),
    count=st.integers(0, 70),
    wanted=st.integers(1, 80),
    among=st.none() | st.sets(st.integers(0, 69)),
)
def test_every_way_agrees_with_numpy(way: str, dim: int, count: int, wanted: int, among: set[int] | None) -> None:
    """All rows or some, in lots of any size."""
    chosen = None if among is None else np.array(sorted(row for row in among if row < count), np.int64)
    compare(dim, count, wanted, chosen)


@pytest.mark.parametrize("count", [255, 256, 257, 1000])
def test_blocks_and_more_best_ones_than_a_heap_holds(way: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left over behind the last whole block counts too."""
    monkeypatch.setattr(exact_scan, "MOST_BEST", 20)
    for wanted in (5, 20, 21, count):
        compare(8, count, wanted, None)
        compare(8, count, wanted, np.arange(0, count, 3))


def test_every_float16_number_is_converted_as_numpy_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative, zero and subnormal ones too; what is no number gives some score and no error."""
    vectors = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(-1, 1)
    monkeypatch.setattr(exact_scan, "NUMPY_ROWS", len(vectors))
    scores, rows = best_rows(vectors, np.ones(1, np.float32), len(vectors), None)
    finite = np.isfinite(vectors[rows, 0])
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(scores[finite], vectors[rows[finite], 0].astype(np.float32))


def test_damaged_rows_neither_stop_a_scan_nor_hide_others(way: str) -> None:
    """Infinite ones and those that are no number, as a rotten disk may have them."""
    vectors, query = random_vectors(200, 8).astype(np.float16), random_vectors(1, 8, 2)[0]
    exact = vectors.astype(np.float32) @ query
    vectors[::5] = [np.nan, np.inf, -np.inf, 0, 0, 0, 0, 0]
    sound = np.flatnonzero(np.arange(200) % 5)
    best = sound[np.argsort(-exact[sound])][:10]
    _, rows = best_rows(vectors, query, 60, None)
    assert set(best.tolist()) <= set(rows.tolist())
    assert set(best.tolist()) <= set(rows_at_least(vectors, query, float(exact[best].min()) - 1e-5, None).tolist())
