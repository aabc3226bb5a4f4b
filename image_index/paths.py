"""Paths as bytes: what lies below what, and how a path is shown."""

from __future__ import annotations

import base64
import os
import shlex
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache

from image_index.errors import UsageError

MESSAGE_LENGTH = 1000
"""How much of a message is shown."""

AnyPath = str | bytes | os.PathLike[str]
"""A path in any of Python's forms."""


def below(root: bytes) -> bytes:
    """Return the prefix that every path inside the directory `root` starts with."""
    return root if root.endswith(b"/") else root + b"/"


def directories_around(path: bytes) -> Iterator[bytes]:
    """Yield the directories around an absolute path, the innermost first, but for `/`."""
    while path := path.rpartition(b"/")[0]:
        yield path


def path_range(directory: bytes) -> tuple[bytes, bytes]:
    """Return the half-open range of paths inside `directory`, in byte order."""
    return below(directory), below(directory)[:-1] + b"0"  # "0" follows "/"


Span = tuple[bytes, bytes]
"""A half-open range of paths in byte order."""


def spans(paths: Iterable[bytes], apart: Iterable[bytes] = ()) -> Iterator[Span]:
    """Yield, in byte order, the ranges of what is at or inside `paths`, less what is at or inside `apart`.

    A path and what is inside it are two ranges, for others may lie between: `/a`, `/a.jpg`, `/a/b.jpg`. A path that is
    among `paths` too is not left out.
    """
    cuts = _ranges(set(apart).difference(paths))
    for start, end in _ranges(paths):
        for cut_start, cut_end in cuts:
            if start < cut_start < end:
                yield start, cut_start
            if cut_start < end and start < cut_end:
                start = cut_end  # noqa: PLW2901  # the range goes on behind it
        if start < end:
            yield start, end


def only_at(paths: Iterable[bytes]) -> Iterator[Span]:
    """Yield, in byte order, the ranges that hold one of `paths` and nothing else."""
    return ((path, path + b"\0") for path in sorted(paths))  # nothing lies between: no path has a zero byte


def _ranges(paths: Iterable[bytes]) -> list[Span]:
    """Return, in byte order, the ranges of what is at or inside `paths`, but for those that lie in another."""
    paths = set(paths)
    found: list[Span] = []
    for start, end in sorted([*only_at(paths), *map(path_range, paths)]):
        if found and start < found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def resolve(path: AnyPath) -> bytes:
    """Return the absolute path, links resolved, as bytes: the name by which the catalog knows a file that is no link.

    Raises `UsageError` for an empty path, which would be the current directory.
    """
    return os.path.realpath(_encoded(path))


def resolve_each(paths: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return what `resolve` makes of `paths`, each once, in byte order; a million are resolved in seconds."""
    return tuple(sorted({resolved for resolved, _ in both_ways(paths)}))


def both_ways(paths: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield what `resolve` and `absolute` make of each of `paths`; for a million this takes seconds."""
    # Files of a list lie beside each other: their directory is resolved once, and a file only where it is a link.
    both_of_directory = cache(lambda directory: (below(resolve(directory)), below(absolute(directory))))
    for path in paths:
        before, slash, name = path.rpartition(b"/")
        if name in {b"", b".", b".."}:
            yield resolve(path), absolute(path)
            continue
        resolved, written = (around + name for around in both_of_directory(before + slash or b"."))
        yield resolve(path) if os.path.islink(resolved) else resolved, written


def absolute(path: AnyPath) -> bytes:
    """Return the absolute path as it is written: the name by which the catalog knows what a link led to.

    Raises what `resolve` raises.
    """
    return os.path.abspath(_encoded(path))


def _encoded(path: AnyPath) -> bytes:
    """Return a path as bytes; raise `UsageError` for an empty one."""
    encoded = os.fsencode(path)
    if not encoded:
        raise UsageError("a path must not be empty", "name a file or a directory")
    return encoded


def printable(text: bytes | str) -> str:
    """Return a path or a message for people, with control characters and invalid UTF-8 escaped."""
    return "".join(c if c.isprintable() else _escape(c) for c in os.fsdecode(text))


def message_line(text: str) -> str:
    """Return a message for people as one printable line; of a very long one the middle is left out.

    A message repeats what the user gave, and a script may give a page of text for a query.
    """
    half = MESSAGE_LENGTH // 2
    return printable(text if len(text) <= MESSAGE_LENGTH else f"{text[:half]} ... {text[-half:]}")


def composed(text: str) -> str:
    """Return `text` in Unicode's composed form (NFC), for comparison alone.

    macOS and its archives name files in the decomposed form (NFD): "e" and an accent where a keyboard types "\u00e9".
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def spellings(name: bytes) -> set[bytes]:
    """Return a name as it is, composed (NFC) and decomposed (NFD): what a file may be called that looks so."""
    if name.isascii():
        return {name}
    return {name, *(os.fsencode(unicodedata.normalize(form, os.fsdecode(name))) for form in ("NFC", "NFD"))}


def path_field(path: bytes) -> dict[str, str]:
    """Return `path` under the key `path`, or base64 under `path_bytes` if it is not valid UTF-8 (as ripgrep does)."""
    try:
        return {"path": path.decode("utf-8")}
    except UnicodeDecodeError:
        return {"path_bytes": base64.b64encode(path).decode("ascii")}


def optional_path_field(path: bytes | None, key: str) -> dict[str, str | None]:
    """Return a path under `key`, or base64 under `key` and `_bytes`; null where there is none."""
    return {key: None} if path is None else {f"{key}{name[4:]}": value for name, value in path_field(path).items()}


def problem_text(path: bytes, reason: str) -> str:
    """Say that a directory or root could not be read, that everything known there is kept, and how to drop it."""
    shown = printable(path)
    step = f"to drop it on purpose: imgidx forget {shlex.quote(shown)}"
    return f"{shown}: {printable(reason)}; everything known there is kept; {step}"


def _escape(character: str) -> str:
    """Return the bytes of a character as escapes; undecodable bytes of a file name stand for themselves."""
    is_byte = "\udc80" <= character <= "\udcff"
    raw = character.encode("utf-8", "surrogateescape" if is_byte else "surrogatepass")
    return raw.decode("latin-1").encode("unicode_escape").decode("ascii")
