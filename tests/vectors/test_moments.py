"""Means and deviations of scores, against numpy over all scores."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from image_index.records import Ids, Stamp, Vectors
from image_index.vectors import moments
from image_index.vectors.moments import measure, read_moments, write_moments

STAMP = Stamp("c" * 32, 300, 300, 300, 16)


def vectors(count: int = 300, seed: int = 0) -> Vectors:
    """Return unit vectors (N, 16) around one direction."""
    found = np.random.default_rng(seed).normal(size=(count, 16)).astype(np.float32) + 1
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


def chunks(rows: Vectors, size: int = 7) -> list[tuple[Ids, Vectors]]:
    """Return `rows` piece by piece, as a catalog gives them."""
    return [
        (np.arange(start, start + len(rows[start : start + size])), rows[start : start + size])
        for start in range(0, len(rows), size)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_the_spread_of_a_query_is_that_of_its_scores_over_all_pictures(seed: int) -> None:
    """Numpy's mean and standard deviation of all scores."""
    rows, query = vectors(), vectors(1, seed + 100)[0]
    spread = measure(iter(chunks(rows)), 300, 16).spread(query)
    scores = rows.astype(np.float64) @ query
    np.testing.assert_allclose([spread.mean, spread.deviation], [scores.mean(), scores.std()], rtol=1e-3)
    for score in (-0.5, 0.0, float(scores.max())):
        sigma = spread.sigma(score)
        assert sigma == pytest.approx((score - scores.mean()) / scores.std(), rel=1e-2)
        assert sigma is not None
        assert spread.score(sigma) == pytest.approx(score)


def test_a_large_index_is_measured_by_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample is spread over the index: a tenth of it comes near to all of it."""
    rows, query = vectors(30_000), vectors(1, 5)[0]
    monkeypatch.setattr(moments, "SAMPLE", 3000)
    looked_at: list[int] = []
    is_finite = np.isfinite

    def watched(array: Vectors) -> NDArray[np.bool_]:
        looked_at.append(len(array))
        return is_finite(array)

    monkeypatch.setattr(np, "isfinite", watched)
    spread = measure(iter(chunks(rows, 1000)), len(rows), 16).spread(query)
    assert sum(looked_at) == 3000
    scores = rows @ query
    assert spread.mean == pytest.approx(float(scores.mean()), abs=0.1 * float(scores.std()))
    assert spread.deviation == pytest.approx(float(scores.std()), rel=0.1)


def test_pictures_that_are_all_the_same_have_no_sigma() -> None:
    """Nothing stands out, and no score is refused for that."""
    spread = measure(iter(chunks(np.repeat(vectors(1), 50, axis=0))), 50, 16).spread(vectors(1, 3)[0])
    assert spread.sigma(0.9) is None
    assert spread.score(3.0) == -1.0
    assert spread.score(-math.inf) == -1.0


def test_values_that_nobody_wrote_do_not_spoil_the_rest() -> None:
    """A flipped bit makes an infinity or a NaN of a float16."""
    rows = vectors()
    damaged = np.concatenate([rows, np.full((2, 16), np.nan, np.float32), np.full((1, 16), np.inf, np.float32)])
    query = vectors(1, 9)[0]
    found, expected = (measure(iter(chunks(it)), len(it), 16).spread(query) for it in (damaged, rows))
    assert (found.mean, found.deviation) == pytest.approx((expected.mean, expected.deviation))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """Byte for byte, for the catalog it was made from and no other."""
    path, measured = tmp_path / "moments.f32", measure(iter(chunks(vectors())), 300, 16)
    write_moments(path, STAMP, measured)
    found = read_moments(path, STAMP.catalog_id, 300)
    assert found is not None
    np.testing.assert_array_equal(found.mean, measured.mean)
    np.testing.assert_array_equal(found.covariance, measured.covariance)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_moments(path, "d" * 32, 0) is None
    assert read_moments(path, STAMP.catalog_id, 301) is None


def test_damage_anywhere_is_noticed(tmp_path: Path) -> None:
    """A file that is not whole counts as none; whoever searches measures anew."""
    path = tmp_path / "moments.f32"
    write_moments(path, STAMP, measure(iter(chunks(vectors())), 300, 16))
    whole = path.read_bytes()
    random = np.random.default_rng(1)
    for position in random.integers(0, len(whole), 50):
        path.write_bytes(
            whole[:position] + bytes([whole[position] ^ 1 << int(random.integers(8))]) + whole[position + 1 :]
        )
        assert read_moments(path, STAMP.catalog_id, 0) is None
    for length in (0, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert read_moments(path, STAMP.catalog_id, 0) is None
    path.unlink()
    assert read_moments(path, STAMP.catalog_id, 0) is None
