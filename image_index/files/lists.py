"""Lists of paths that other programs write: `find`, `fd`, `git ls-files`, one a line or each ended by a zero byte."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from image_index.errors import UsageError
from image_index.paths import printable

CHUNK_BYTES = 1 << 20


def read_paths(source: Path, *, null: bool | None = False) -> Iterator[bytes]:
    """Yield the paths that a file lists, or standard input where `source` is `-`, as they are written there.

    Each stands on a line of its own; with `null` each ends in a zero byte, so that a path may hold newlines. With
    `null=None` it is seen which: no path has a zero byte. Empty ones are passed over. Raises `UsageError` for a file
    that cannot be read, or that has zero bytes where lines are expected.
    """
    try:
        if str(source) == "-":
            yield from _split(sys.stdin.buffer, null=null)
        else:
            with open(source, "rb") as file:
                yield from _split(file, null=null)
    except OSError as error:
        raise UsageError(f"cannot read the list {printable(str(source))}: {error.strerror}") from error


def _split(file: BinaryIO, *, null: bool | None) -> Iterator[bytes]:
    """Yield the paths that a file lists."""
    end, rest = b"\0" if null else b"\n", b""
    while chunk := file.read(CHUNK_BYTES):
        if null is None:  # the first path is shorter than a chunk
            null = b"\0" in chunk
            end = b"\0" if null else b"\n"
        *paths, rest = (rest + chunk).split(end)
        yield from _checked(paths)
    yield from _checked([rest])


def _checked(paths: list[bytes]) -> Iterator[bytes]:
    """Yield the paths that are not empty."""
    for path in filter(None, paths):
        if b"\0" in path:
            raise UsageError("the list has zero bytes between its paths", "add -0")
        yield path
