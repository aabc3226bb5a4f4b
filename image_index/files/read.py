"""Read a file once, whole, and say what it was when read: its bytes, its facts and its hash."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from dataclasses import dataclass
from io import FileIO

from image_index import dataless
from image_index.errors import DecodeError
from image_index.records import ImageFile

MAX_FILE_BYTES = 2 << 30
"""Larger files are refused unread."""


class DatalessError(OSError):
    """The content of a file is in a cloud, and nobody has asked to download it."""

    def __init__(self, path: bytes) -> None:
        super().__init__(errno.ENODATA, "in a cloud, not on this disk", path)


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file's bytes, its facts as of the read, their SHA-256 (32 bytes) and the time just before the read."""

    data: bytes
    file: ImageFile
    sha256: bytes
    read_at_ns: int


def read_file(path: bytes, *, fetch_cloud: bool = False) -> FileContent:
    """Read a regular file once, whole, and say what it was when read; `fetch_cloud` downloads one that is in a cloud.

    Raises OSError where the system refuses (FileNotFoundError for a vanished file, DatalessError for one that is not on
    this disk), DecodeError where what is there is
    no regular file, is empty, is larger than `MAX_FILE_BYTES`, or changed during two reads in a row.
    """
    for _ in range(2):
        read_at_ns = time.time_ns()
        with open_regular(path, fetch_cloud=fetch_cloud) as stream:
            before = os.fstat(stream.fileno())
            if before.st_size > MAX_FILE_BYTES:
                raise DecodeError(f"the file has over {MAX_FILE_BYTES >> 20} MiB, the most that is read")
            data = stream.readall()
            after = os.fstat(stream.fileno())
        if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns) == (len(data), after.st_mtime_ns):
            if not data:
                raise DecodeError("the file is empty")
            file = ImageFile.of(path, after)
            return FileContent(data, file, hashlib.sha256(data).digest(), read_at_ns)
    raise DecodeError("kept changing while it was read")


def hash_file(path: bytes, *, fetch_cloud: bool = False) -> bytes | None:
    """Return the SHA-256 (32 bytes) of a regular file, read piece by piece, or None if it cannot be read."""
    try:
        with open_regular(path, fetch_cloud=fetch_cloud) as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except (OSError, DecodeError):
        return None


def open_regular(path: bytes, *, fetch_cloud: bool = False) -> FileIO:
    """Open a regular file to be read; raise `DatalessError` or `DecodeError` where it is in a cloud, or is none."""
    if dataless.HAS_FLAG and not fetch_cloud and dataless.is_dataless(os.stat(path)):
        raise DatalessError(path)
    # O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever; regular files are not affected.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return FileIO(descriptor, "rb")
    os.close(descriptor)
    raise DecodeError("not a regular file any more")
