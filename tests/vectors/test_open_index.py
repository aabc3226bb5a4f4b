"""Opening and searching FAISS files, against numpy."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_index.vectors.build import build_index
from image_index.vectors.derived_file import append_trailer
from image_index.vectors.open_index import open_index
from tests.support.faiss_examples import STAMP, build, chunks, contents_of, is_whole, opened, random_vectors, read_stamp


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of an index that is not there yet."""
    return tmp_path / "index.faiss"


@settings(max_examples=40)
@given(
    st.integers(1, 60),
    st.integers(1, 40),
    st.integers(0, 99),
    st.integers(1, 70),
    st.none() | st.sets(st.integers(0, 70)),
)
def test_search_agrees_with_numpy(count: int, dim: int, seed: int, wanted: int, among: set[int] | None) -> None:
    """Ids and scores are those of an exact search in numpy, over all vectors or among some ids."""
    vectors, query = random_vectors(count, dim, seed), random_vectors(1, dim, seed + 1)[0]
    ids = np.random.default_rng(seed).permutation(10 * count)[:count]
    allowed = None if among is None else np.array([*ids[[i for i in among if i < count]], 999], np.int64)
    with tempfile.TemporaryDirectory() as temporary:
        path, stamp = Path(temporary) / "index", replace(STAMP, last_id=10 * count, count=count, dim=dim)
        build_index(path, stamp, lambda: chunks(ids, vectors))
        scores, found = opened(path).search(query, wanted, allowed)
    exact = vectors.astype(np.float64) @ query.astype(np.float64)
    candidates = [i for i in range(count) if allowed is None or ids[i] in allowed]
    best = sorted(candidates, key=lambda i: -exact[i])[:wanted]
    np.testing.assert_allclose(scores, exact[best], atol=1e-6)
    assert len(set(found.tolist())) == len(best)
    place = {int(image_id): number for number, image_id in enumerate(ids)}
    np.testing.assert_allclose(exact[[place[int(image_id)] for image_id in found]], exact[best], atol=1e-6)
    if len(candidates) > 1 and np.diff(np.sort(exact[candidates])).min() > 1e-5:
        assert found.tolist() == ids[best].tolist()


def test_index_of_nothing_finds_nothing(path: Path) -> None:
    """All pictures may have gone."""
    stamp = replace(STAMP, count=0)
    build(path, stamp)
    scores, ids = opened(path).search(np.ones(8, np.float32), 5)
    assert (len(scores), len(ids)) == (0, 0)


def test_index_of_another_catalog_is_ignored(path: Path) -> None:
    """A file copied from elsewhere has nothing to say here."""
    build(path)
    assert open_index(path, "b" * 32) is None


def test_missing_index_is_none(path: Path) -> None:
    """Search goes on with the catalog alone."""
    assert read_stamp(path) is None
    assert open_index(path, STAMP.catalog_id) is None


@pytest.mark.parametrize("count", [STAMP.count - 1, STAMP.count + 1])
def test_index_that_does_not_hold_what_it_says_is_ignored(path: Path, count: int) -> None:
    """The counts of stamp and index must agree."""
    build(path)
    contents = contents_of(path)
    assert contents is not None
    append_trailer(path, replace(contents, count=count))
    assert is_whole(path)
    assert open_index(path, STAMP.catalog_id) is None


def test_open_index_outlives_its_replacement(path: Path) -> None:
    """A search that began before a rebuild ends with what it began with."""
    vectors = build(path)
    index = opened(path)
    build(path, replace(STAMP, count=1))
    assert index.search(vectors[3], 1)[1].tolist() == [40]
