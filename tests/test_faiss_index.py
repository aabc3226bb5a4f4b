"""The FAISS file, against numpy; whole or not there, and true to its catalog."""

from __future__ import annotations

import resource
import stat
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from image_index import faiss_index
from image_index.errors import StorageError
from image_index.faiss_index import FaissIndex, build_index, is_whole, open_index, read_stamp
from image_index.records import Ids, Stamp, Vectors

STAMP = Stamp("a" * 32, 7, 300, 30, 8)


def random_vectors(count: int, dim: int, seed: int = 0) -> Vectors:
    """Return unit vectors as the catalog gives them: float32 that holds float16 values."""
    vectors = np.random.default_rng(seed).standard_normal((count, dim))
    unit: NDArray[np.float16] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    return unit.astype(np.float32)


def chunks(ids: Ids, vectors: Vectors, size: int = 7) -> Iterator[tuple[Ids, Vectors]]:
    """Yield ids and vectors in pieces."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size], vectors[start : start + size]


def build(path: Path, stamp: Stamp = STAMP) -> Vectors:
    """Build an index whose ids are 10, 20, 30, ...; return its vectors."""
    vectors = random_vectors(stamp.count, stamp.dim)
    build_index(path, stamp, chunks(np.arange(1, stamp.count + 1) * 10, vectors))
    return vectors


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of an index that is not there yet."""
    return tmp_path / "index.faiss"


def opened(path: Path, stamp: Stamp = STAMP) -> FaissIndex:
    """Open an index that must be whole."""
    index = open_index(path, stamp.catalog_id)
    assert index is not None
    return index


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
        path, stamp = Path(temporary) / "index", replace(STAMP, count=count, dim=dim)
        build_index(path, stamp, chunks(ids, vectors))
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


def test_stamp_round_trips(path: Path) -> None:
    """What the file was built from can be read without opening it."""
    build(path)
    assert read_stamp(path) == opened(path).stamp == STAMP


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


def test_truncated_index_is_ignored(path: Path) -> None:
    """Wherever a file was cut, it is no index."""
    build(path)
    content = path.read_bytes()
    for length in [*range(0, len(content), 13), *range(len(content) - 40, len(content))]:
        path.write_bytes(content[:length])
        assert open_index(path, STAMP.catalog_id) is None


def test_damaged_byte_anywhere_is_noticed(path: Path) -> None:
    """A file that is not byte for byte what was written is no index: FAISS could crash on it."""
    build(path)
    content = path.read_bytes()
    cut_out = [content[:100] + content[200:], content[50:]]
    flipped = [
        content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :]
        for position in [*range(0, len(content) - 40, 3), *range(len(content) - 40, len(content))]
    ]
    for damaged in cut_out + flipped:
        path.write_bytes(damaged)
        assert open_index(path, STAMP.catalog_id) is None
        assert not is_whole(path)


def test_large_file_is_checked_whole_only_when_that_is_asked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search reads its first and last block alone; a bad vector in between is found by a thorough check."""
    monkeypatch.setattr(faiss_index, "BLOCK_BYTES", 64)
    build(path)
    content = path.read_bytes()
    assert is_whole(path)
    path.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    assert opened(path).stamp == STAMP
    assert not is_whole(path)
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert open_index(path, STAMP.catalog_id) is None


@pytest.mark.parametrize(
    "text", [b"[]", b"7", b"{}", b"\xff", b'{"stamp": {"catalog_id": 1}, "crc32": []}', b"{" * 3000]
)
def test_trailer_that_is_no_stamp_is_ignored(path: Path, text: bytes) -> None:
    """Right checksums, a right length and the magic number are not enough."""
    footer = zlib.crc32(text).to_bytes(4, "little") + len(text).to_bytes(8, "little") + faiss_index.MAGIC
    path.write_bytes(bytes(5000) + text + footer)
    assert read_stamp(path) is None


@pytest.mark.parametrize("count", [STAMP.count - 1, STAMP.count + 1])
def test_index_that_does_not_hold_what_it_says_is_ignored(path: Path, count: int) -> None:
    """The counts of stamp and index must agree."""
    vectors = random_vectors(STAMP.count, STAMP.dim)
    build_index(path, replace(STAMP, count=count), chunks(np.arange(STAMP.count), vectors))
    assert is_whole(path)
    assert open_index(path, STAMP.catalog_id) is None


@contextmanager
def small_disk(limit: int) -> Iterator[None]:
    """Let the system refuse files over `limit` bytes, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limit", [0, 100, 4096, 100_000, 320_100])
def test_failing_write_leaves_the_old_file_whole(path: Path, limit: int) -> None:
    """On a full disk, refused at the first byte or in the trailer, the index of before stays; no draft is left."""
    build(path)
    before = path.read_bytes()
    stamp = replace(STAMP, count=10_000, dim=12)  # 320,000 bytes of vectors and ids
    with small_disk(limit), pytest.raises(StorageError, match=r"index\.faiss.*disk space"):
        build(path, stamp)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    build(path, stamp)
    assert read_stamp(path) == stamp


def test_open_index_outlives_its_replacement(path: Path) -> None:
    """A search that began before a rebuild ends with what it began with."""
    vectors = build(path)
    index = opened(path)
    build(path, replace(STAMP, count=1))
    assert index.search(vectors[3], 1)[1].tolist() == [40]


def test_index_is_private(path: Path) -> None:
    """Only its owner reads it, also where an index of others stood before."""
    path.touch(0o644)
    path.with_suffix(".tmp").touch(0o644)
    build(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
