"""An archive of originals, made while it is sent."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from io import BytesIO, FileIO
from pathlib import Path
from zipfile import ZipFile

import pytest

from image_index.records import ImageFacts
from image_index.service import streams
from image_index.service.archive import LEFT_OUT, archive
from image_index.service.originals import OriginalGone
from tests.support.records import image_facts


def facts(path: Path) -> ImageFacts:
    """Return what an index would know of a file."""
    status = path.stat()
    return image_facts(os.fsencode(path))._replace(size=status.st_size, mtime_ns=status.st_mtime_ns)


async def opened(image: ImageFacts) -> FileIO:
    """Open the file of a picture."""
    if not os.path.exists(image.path):
        raise OriginalGone("it is gone")
    return FileIO(image.path)


def made(images: Sequence[ImageFacts]) -> ZipFile:
    """Return the archive of some pictures."""

    async def pieces() -> bytes:
        return b"".join([piece async for piece in archive(images, opened)])

    return ZipFile(BytesIO(asyncio.run(pieces())))


def write(path: Path, data: bytes) -> Path:
    """Write a file where there may be no directory yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_files_come_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With their names and times, read piece by piece, and sound as another program sees it."""
    monkeypatch.setattr(streams, "CHUNK_BYTES", 100)
    data = [os.urandom(1234), b"", b"x"]
    paths = [write(tmp_path / name, some) for name, some in zip(["a.jpg", "b c.png", "\u00e9.png"], data, strict=True)]
    os.utime(paths[1], (-5e9, -5e9))
    os.utime(paths[2], (9e9, 9e9))
    found = made(list(map(facts, paths)))
    assert found.testzip() is None
    assert found.namelist() == ["a.jpg", "b c.png", "\u00e9.png"]
    assert [found.read(name) for name in found.namelist()] == data
    assert [info.date_time[0] for info in found.infolist()][1:] == [1980, 2107]


def test_names_are_told_apart(tmp_path: Path) -> None:
    """Also where a file system knows no case, and beside the list of what is left out."""
    names = ["1/a.jpg", "2/a.jpg", "3/A.JPG", "4/a (2).jpg", f"5/{LEFT_OUT}"]
    found = made([facts(write(tmp_path / name, name.encode())) for name in names])
    assert [found.read(name).decode() for name in found.namelist()] == names
    assert found.namelist()[:2] == ["a.jpg", "a (2).jpg"]
    assert len({name.casefold() for name in found.namelist()} | {LEFT_OUT}) == 6


def test_what_is_gone_or_changes_is_named_in_the_archive(tmp_path: Path) -> None:
    """And all others are in it."""
    paths = [write(tmp_path / name, name.encode()) for name in ("gone.jpg", "shorter.jpg", "there.jpg")]
    images = list(map(facts, paths))
    paths[0].unlink()
    paths[1].write_bytes(b"sh")
    found = made(images)
    assert found.testzip() is None
    assert found.namelist() == ["shorter.jpg", "there.jpg", LEFT_OUT]
    first, second = found.read(LEFT_OUT).decode().splitlines()
    assert first == f"{paths[0]}: it is gone"
    assert second.startswith(f"{paths[1]}: not whole")
