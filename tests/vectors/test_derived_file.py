"""The files of FAISS: whole or not there, and every byte under a checksum."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from image_index.records import DerivedState
from image_index.vectors import derived_file
from image_index.vectors.derived_file import state
from image_index.vectors.open_index import open_index
from tests.support.faiss_examples import STAMP, build, contents_of, is_whole, opened, read_stamp


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of an index that is not there yet."""
    return tmp_path / "index.faiss"


def test_stamp_round_trips(path: Path) -> None:
    """What the file was built from can be read without opening it."""
    build(path)
    assert read_stamp(path) == opened(path).stamp == STAMP


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
    """A search reads what FAISS relies on alone, header and centroids; a thorough check finds a bad code too."""
    monkeypatch.setattr(derived_file, "BLOCK_BYTES", 64)
    monkeypatch.setattr(derived_file, "QUICK_BYTES", 64)
    build(path)
    content = path.read_bytes()
    assert is_whole(path)
    contents = contents_of(path)
    assert contents is not None
    code = contents.head + 64
    path.write_bytes(content[:code] + bytes([content[code] ^ 1]) + content[code + 1 :])
    assert opened(path).stamp == STAMP
    assert not is_whole(path)
    for position in (0, 30, contents.head - 1):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        assert open_index(path, STAMP.catalog_id) is None


def test_a_share_drawn_by_lot_finds_the_bad_block_of_a_large_file_in_its_turn(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a train reads no more of a larger library, and damage is still found by one of the next."""
    monkeypatch.setattr(derived_file, "BLOCK_BYTES", 64)
    monkeypatch.setattr(derived_file, "QUICK_BYTES", 64)
    build(path)
    content, contents = path.read_bytes(), contents_of(path)
    assert contents is not None
    code = contents.head + 64
    path.write_bytes(content[:code] + bytes([content[code] ^ 1]) + content[code + 1 :])
    found = [state(path, STAMP.catalog_id, at_most=128)[0] for _ in range(300)]
    assert {*found} == {DerivedState.CURRENT, DerivedState.DAMAGED}
    assert state(path, STAMP.catalog_id, at_most=len(content))[0] is DerivedState.DAMAGED


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"7",
        b"{}",
        b"\xff",
        b'{"contents": {"stamp": {"catalog_id": 1}}, "crc32": []}',
        b'{"contents": 3, "crc32": []}',
        b"{" * 3000,
    ],
)
def test_trailer_that_is_no_stamp_is_ignored(path: Path, text: bytes) -> None:
    """Right checksums, a right length and the magic number are not enough."""
    footer = zlib.crc32(text).to_bytes(4, "little") + len(text).to_bytes(8, "little") + derived_file.MAGIC
    path.write_bytes(bytes(5000) + text + footer)
    assert read_stamp(path) is None
