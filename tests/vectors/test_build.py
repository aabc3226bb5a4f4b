"""Building inverted lists, which are written in pieces; against numpy and FAISS itself."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from image_index.errors import StorageError
from image_index.half import to_float32
from image_index.records import Ids, Vectors
from image_index.vectors import derived_file
from image_index.vectors.build import build_index
from image_index.vectors.lists import LEAST_RADIUS, empty_lists, fill_lists, rotated
from image_index.vectors.open_index import FaissIndex, map_index, open_index
from tests.support.faiss_examples import (
    STAMP,
    build,
    chunks,
    contents_of,
    is_whole,
    opened,
    random_vectors,
    read_stamp,
    visited_lists,
)

pytestmark = pytest.mark.slow

COUNT, DIM = 2000, 16
LISTED = replace(STAMP, last_id=10 * COUNT, count=COUNT, dim=DIM)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of an index that is not there yet."""
    return tmp_path / "index.faiss"


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let inverted lists be filled in several rounds, with no vector astray."""
    monkeypatch.setattr("image_index.vectors.list_file.BLOCK_ROWS", 100)
    monkeypatch.setattr("image_index.vectors.list_file.WRITE_ROWS", 300)
    monkeypatch.setattr("image_index.vectors.clustering.NEAREST_GROUPS", 99)


@contextmanager
def small_disk(limit: int) -> Iterator[None]:
    """Let the system refuse files over `limit` bytes, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def nearest(vectors: Vectors, query: Vectors, count: int) -> Ids:
    """Return the ids, in no order, of the nearest among vectors with the ids 10, 20, 30, ..."""
    return (np.argsort(-(vectors @ query))[:count] + 1) * 10


def test_inverted_lists_are_those_that_faiss_itself_would_hold(path: Path, lists: None) -> None:
    """Written piece by piece past FAISS, the file is byte for byte what FAISS writes of the same index."""
    vectors = build(path, LISTED)
    contents = contents_of(path)
    assert contents is not None
    ours: Any = faiss.read_index(str(path))
    lists_of_ours = faiss.extract_index_ivf(ours)
    lists_again = empty_lists(lists_of_ours.quantizer)
    again: Any = faiss.IndexPreTransform(ours.chain.at(0), lists_again)
    for ids, block in chunks(np.arange(1, COUNT + 1) * 10, vectors, 100):  # as built: the product rounds by its size
        fill_lists(lists_again, ids, rotated(again, to_float32(block)))
    again.ntotal = lists_again.ntotal
    trailer = derived_file.read_trailer(path)
    assert trailer is not None
    assert faiss.serialize_index(again).tobytes() == path.read_bytes()[: trailer.size]
    assert is_whole(path)


def test_a_search_of_all_lists_misses_nothing(path: Path, lists: None) -> None:
    """Every vector is in one list, and hardly a score exceeds its estimate by more than the file says."""
    vectors, query = build(path, LISTED), random_vectors(1, DIM, seed=5)[0]
    index = opened(path, LISTED)
    scores, ids, rest = index.search(query, COUNT)
    assert rest is None
    assert sorted(ids.tolist()) == (np.arange(1, COUNT + 1) * 10).tolist()
    exact = (vectors @ query)[ids // 10 - 1]
    assert 0 < np.quantile(exact - scores, 0.98) <= index.contents.error


@pytest.mark.parametrize("share", [0.5, 0.01, 0.0])
def test_a_search_among_some_ids_finds_the_best_of_them(path: Path, lists: None, share: float) -> None:
    """The fewer there are, the more lists are looked into; none but those come back."""
    vectors, query = build(path, LISTED), random_vectors(1, DIM, seed=6)[0]
    among = np.flatnonzero(np.random.default_rng(3).random(COUNT) < share)
    _, ids, rest = opened(path, LISTED).search(query, 10, (among + 1) * 10)
    assert set(ids.tolist()) <= set(((among + 1) * 10).tolist())
    assert min(10, len(among)) <= len(ids) <= len(among)
    assert (rest is None) == (len(ids) == len(among))
    if 0 < len(among) < COUNT / 4:  # all lists are looked into
        best = among[nearest(vectors[among], query, 3) // 10 - 1]
        assert set(((best + 1) * 10).tolist()) <= set(ids.tolist())


def test_a_flipped_byte_in_what_faiss_relies_on_is_noticed_before_a_search(
    path: Path, lists: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Header, centroids and sizes of the lists are checked however large the file is; a list costs a hit at most."""
    monkeypatch.setattr(derived_file, "QUICK_BYTES", 0)
    monkeypatch.setattr(derived_file, "BLOCK_BYTES", 512)
    build(path, LISTED)
    trailer, whole = derived_file.read_trailer(path), path.read_bytes()
    assert trailer is not None
    contents = trailer.contents
    for position in range(0, contents.head, 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 8]) + whole[position + 1 :])
        assert open_index(path, LISTED.catalog_id) is None
    query = random_vectors(1, DIM, seed=8)[0]
    random = np.random.default_rng(4)
    for _ in range(100):
        start = contents.head + 512 + int(random.integers(trailer.size - contents.head - 812))
        path.write_bytes(whole[:start] + random.bytes(300) + whole[start + 300 :])
        assert not is_whole(path)
        opened(path, LISTED).search(query, 10)
        opened(path, LISTED).search(query, 10, np.arange(0, 10 * COUNT, 30))


def test_vectors_without_any_order_are_searched_to_the_cap(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random vectors would need nearly all lists: a search still looks into a quarter of them and no more."""
    stamp = replace(STAMP, last_id=40_000, count=4000, dim=64)
    build(path, stamp)
    index = opened(path, stamp)
    monkeypatch.setattr("image_index.vectors.open_index.CROWD", 0)  # else it would look again for more candidates
    with visited_lists() as visited:
        index.search(random_vectors(1, 64, 9)[0], 10)
    assert visited() == -(-index.nlist // 4)


def test_equal_vectors_fill_one_list(path: Path, lists: None) -> None:
    """A library of one picture a thousand times over is no special case."""
    vectors = np.tile(random_vectors(1, DIM), (COUNT, 1))
    build_index(path, LISTED, lambda: chunks(np.arange(1, COUNT + 1), vectors, 100))
    index = opened(path, LISTED)
    assert min(index.contents.radii) == LEAST_RADIUS
    scores, ids, _ = index.search(vectors[0], COUNT)
    assert sorted(ids.tolist()) == list(range(1, COUNT + 1))
    for error in (0.0, 0.1):  # candidates that are all as good as each other end it too
        radii = np.zeros(index.nlist, np.float32)
        crowded = FaissIndex(replace(index.contents, error=error), map_index(path), radii)
        assert len(set(crowded.search(vectors[0], 3)[1].tolist())) > 3
    np.testing.assert_allclose(scores, 1, atol=2e-3)


@pytest.mark.parametrize("limit", [0, 100, 4096, 60_000, 100_000])
def test_failing_write_leaves_the_old_file_whole(path: Path, limit: int) -> None:
    """On a full disk, refused at the first byte or in the trailer, the index of before stays; no draft is left."""
    build(path)
    before = path.read_bytes()
    stamp = replace(STAMP, count=5000, dim=22)  # 100,000 bytes of lists, or somewhat more
    with small_disk(limit), pytest.raises(StorageError, match=r"index\.faiss.*disk space"):
        build(path, stamp)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    build(path, stamp)
    assert read_stamp(path) == stamp
    assert path.stat().st_size > 100_000


@pytest.mark.parametrize("stamp", [STAMP, LISTED])
def test_index_is_private(path: Path, lists: None, stamp: object) -> None:
    """Only its owner reads it, also where an index of others stood before."""
    path.touch(0o644)
    path.with_name(f".index.faiss.{os.getpid()}.tmp").touch(0o644)
    build(path, LISTED if stamp is LISTED else STAMP)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
