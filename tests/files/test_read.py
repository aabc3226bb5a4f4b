"""Reading gives a file's bytes and facts of one moment, and refuses what is no regular file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from image_index.errors import DecodeError
from image_index.files.read import MAX_FILE_BYTES, DatalessError, hash_file, read_file
from image_index.records import ImageFile
from tests.support.cloud import send_to_cloud


def test_a_file_is_read_with_its_facts(tmp_path: Path) -> None:
    """Bytes, size, modification time and digest are those of the file, under any name."""
    path = os.fsencode(tmp_path) + b"/caf\xe9\n.jpg"
    Path(os.fsdecode(path)).write_bytes(b"some bytes")
    found = read_file(path)
    assert found.data == b"some bytes"
    assert found.file == ImageFile.of(path, os.stat(path))
    assert found.sha256 == hashlib.sha256(b"some bytes").digest() == hash_file(path)
    assert abs(found.read_at_ns - found.file.mtime_ns) < 60e9


def test_a_large_file_is_hashed_as_hashlib_does(tmp_path: Path) -> None:
    """Streaming makes no difference to a digest."""
    data = np.random.default_rng(0).bytes(5_000_001)
    path = tmp_path / "large"
    path.write_bytes(data)
    assert hash_file(os.fsencode(path)) == hashlib.sha256(data).digest() == read_file(os.fsencode(path)).sha256


@pytest.mark.parametrize("kind", ["fifo", "directory", "device"])
def test_what_is_no_regular_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    """A path that became something else neither hangs a read nor leaks a descriptor."""
    path = tmp_path / "x.jpg"
    make: dict[str, Callable[[], object]] = {
        "fifo": lambda: os.mkfifo(path),
        "directory": path.mkdir,
        "device": lambda: path.symlink_to("/dev/zero"),
    }
    make[kind]()
    open_before = len(os.listdir("/dev/fd"))
    with pytest.raises(DecodeError, match=r"^not a regular file any more$"):
        read_file(os.fsencode(path))
    assert hash_file(os.fsencode(path)) is None
    assert len(os.listdir("/dev/fd")) == open_before


def test_a_file_in_a_cloud_is_read_on_request_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not even opened: on a Mac that would be a download."""
    path = os.fsencode(tmp_path / "a.jpg")
    Path(os.fsdecode(path)).write_bytes(b"content")
    with monkeypatch.context() as patch:
        send_to_cloud(patch, tmp_path / "a.jpg")
        with pytest.raises(DatalessError, match="in a cloud, not on this disk"):
            read_file(path)
        assert hash_file(path) is None
        patch.undo()
        send_to_cloud(patch)
        assert read_file(path, fetch_cloud=True).data == b"content"
        assert hash_file(path, fetch_cloud=True) == hashlib.sha256(b"content").digest()


def test_a_vanished_file_is_the_callers_business(tmp_path: Path) -> None:
    """Reading a file that is gone raises the system's own error; hashing it gives nothing."""
    path = os.fsencode(tmp_path / "gone.jpg")
    with pytest.raises(FileNotFoundError):
        read_file(path)
    assert hash_file(path) is None


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    """An empty file has its own reason."""
    path = tmp_path / "empty.jpg"
    path.touch()
    with pytest.raises(DecodeError, match=r"^the file is empty$"):
        read_file(os.fsencode(path))


def test_a_giant_file_is_refused_unread(tmp_path: Path) -> None:
    """A file over the byte limit is not read into memory."""
    path = tmp_path / "giant.tif"
    path.touch()
    os.truncate(path, MAX_FILE_BYTES + 1)
    with pytest.raises(DecodeError, match="over 2048 MiB"):
        read_file(os.fsencode(path))


@pytest.mark.parametrize("changes", [1, 2])
def test_a_file_that_changes_is_read_again_once(changes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that grew under the first read is read again; one that goes on growing is refused."""
    path = tmp_path / "growing.jpg"
    path.write_bytes(b"12345")
    hash_of = hashlib.sha256
    real_fstat, left = os.fstat, [changes]

    def fstat_then_grow(descriptor: int) -> os.stat_result:
        facts = real_fstat(descriptor)
        if left[0] and os.lseek(descriptor, 0, os.SEEK_CUR) == 0:
            left[0] -= 1
            with path.open("ab") as stream:
                stream.write(b"6")
        return facts

    monkeypatch.setattr(os, "fstat", fstat_then_grow)
    if changes == 1:
        assert read_file(os.fsencode(path)).sha256 == hash_of(b"123456").digest()
    else:
        left[0] = 99
        with pytest.raises(DecodeError, match=r"^kept changing while it was read$"):
            read_file(os.fsencode(path))
