"""Paths as bytes: what lies below what, and how a path is shown."""

from __future__ import annotations

import os


def below(root: bytes) -> bytes:
    """Return the prefix that every path inside the directory `root` starts with."""
    return root if root.endswith(b"/") else root + b"/"


def path_range(directory: bytes) -> tuple[bytes, bytes]:
    """Return the half-open range of paths inside `directory`, in byte order."""
    return below(directory), below(directory)[:-1] + b"0"  # "0" follows "/"


def resolve(path: str | bytes | os.PathLike[str]) -> bytes:
    """Return the absolute path, links resolved, as bytes: the one name by which the catalog knows a file."""
    return os.path.realpath(os.fsencode(path))


def printable(path: bytes) -> str:
    """Return `path` for people: what is not printable (control characters, invalid UTF-8) is shown as an escape."""
    text = os.fsdecode(path)
    return "".join(
        c
        if c.isprintable()
        else c.encode("utf-8", "surrogateescape").decode("latin-1").encode("unicode_escape").decode()
        for c in text
    )
