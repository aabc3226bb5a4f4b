"""Originals as a ZIP archive, made while it is sent: nothing of it is kept on the disk or in memory."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import datetime
from io import FileIO
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from image_index.errors import ImgidxError
from image_index.files.safe_names import safe_name
from image_index.paths import printable
from image_index.records import ImageFacts
from image_index.service.streams import file_chunks

LEFT_OUT = "imgidx-left-out.txt"
"""The member that says what is not in the archive, or not whole, and why; where all is well there is none."""

Opener = Callable[[ImageFacts], Awaitable[FileIO]]
"""Opens the file of a picture; raises an error of ours where it is not to be had."""


class _Names:
    """Names of members, each once, also where a file system does not tell upper from lower case."""

    def __init__(self) -> None:
        self._taken = {LEFT_OUT}
        self._numbers: dict[str, int] = {}

    def take(self, path: bytes) -> str:
        """Return a name for the file at `path`: its own, made safe, with a number where it is taken."""
        wanted = safe_name(os.path.basename(path))
        stem, extension = os.path.splitext(wanted)
        name, number = wanted, self._numbers.get(_folded(wanted), 1)
        while _folded(name) in self._taken:
            number += 1
            name = f"{stem} ({number}){extension}"
        self._numbers[_folded(wanted)] = number
        self._taken.add(_folded(name))
        return name


def _folded(name: str) -> str:
    """Return a name as file systems compare it that know neither case nor Unicode's forms."""
    return unicodedata.normalize("NFC", name).casefold()


class _Sink:
    """A file to write to, from which what has been written is taken away."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: all has been written."""

    def take(self) -> bytes:
        data = b"".join(self._written)
        self._written.clear()
        return data


async def archive(images: Iterable[ImageFacts], open_file: Opener) -> AsyncIterator[bytes]:
    """Yield an archive of the files of pictures, piece by piece.

    A file that cannot be had, or that changes while it is read, is named in the member `LEFT_OUT`, with the reason.
    Members are not compressed: pictures are already.
    """
    sink, names, left_out = _Sink(), _Names(), list[str]()
    with ZipFile(sink, "w", ZIP_STORED) as made:  # type: ignore[call-overload]  # it writes, and asks for nothing more
        for image in images:
            try:
                opened = await open_file(image)
            except ImgidxError as error:
                left_out.append(f"{printable(image.path)}: {error}")
                continue
            with opened:
                with made.open(_member(names.take(image.path), image), "w") as member:
                    try:
                        async for chunk in file_chunks(opened, image.size):
                            member.write(chunk)
                            yield sink.take()
                    except OSError as error:
                        left_out.append(f"{printable(image.path)}: not whole: {error.strerror}")
                        continue
                status = os.fstat(opened.fileno())
                if (status.st_size, status.st_mtime_ns) != (image.size, image.mtime_ns):
                    left_out.append(f"{printable(image.path)}: not whole: it changed while it was read")
        if left_out:
            made.writestr(LEFT_OUT, "\n".join([*left_out, ""]))
    yield sink.take()


def _member(name: str, image: ImageFacts) -> ZipInfo:
    """Return the head of a member: its name, its time, and how long it is going to be."""
    time = datetime.fromtimestamp(max(image.mtime_ns // 10**9, 0))
    # ZIP knows the years from 1980 to 2107
    info = ZipInfo(name, (min(max(time.year, 1980), 2107), *time.timetuple()[1:6]))
    info.file_size = image.size
    info.external_attr = 0o644 << 16
    return info
