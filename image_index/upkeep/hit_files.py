"""The files of hits, as links or as copies in a directory of the user's: `001-cat.jpg`, `002-kitten.jpg`."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path

from image_index.errors import DecodeError, StorageError, UsageError
from image_index.files.atomic import draft_of, remove, storage_errors, sync
from image_index.files.read import open_regular
from image_index.files.safe_names import safe_name
from image_index.paths import printable
from image_index.records import Hit

LEAST_DIGITS = 3
"""How many digits a rank has at least: then names and ranks have the same order."""

CHUNK_BYTES = 1 << 20

NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}


def put_files(hits: Sequence[Hit], directory: Path, *, copies: bool = False) -> list[str]:
    """Put a symbolic link to the file of each hit into `directory`, or with `copies` a copy with the time of the file.

    The directory is made where there is none. All of them come, or none: they are made in a draft beside the others and
    then moved. Returns a line for each file that could not be had. Raises `UsageError`, before anything is written,
    where a name is taken: nothing is replaced. Raises `StorageError` for what the disk refuses.
    """
    if not hits:
        return []
    if os.path.lexists(directory) and not directory.is_dir():
        raise UsageError(f"{printable(os.fsencode(directory))} is no directory", "name another one")
    with storage_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        names = _names(hits, directory)
        draft = draft_of(directory / "hits")
        draft.mkdir(mode=0o700)
    try:
        problems = [problem for hit in hits if (problem := _put(hit, draft / names[hit.rank], copies=copies))]
        with storage_errors(directory):
            for made in sorted(draft.iterdir()):
                _move(made, directory / made.name)
            sync(directory)
    finally:
        remove(draft)
    return problems


def _names(hits: Sequence[Hit], directory: Path) -> dict[int, str]:
    """Return the names of the hits' files, by rank; raise `UsageError` where one is taken."""
    digits = max(LEAST_DIGITS, *(len(str(hit.rank)) for hit in hits))
    most_bytes = min(os.pathconf(directory, "PC_NAME_MAX"), 255) - digits - len("-")
    names = {hit.rank: f"{hit.rank:0{digits}}-{safe_name(os.path.basename(hit.path), most_bytes)}" for hit in hits}
    for name in names.values():
        if os.path.lexists(directory / name):
            raise _taken(directory / name)
    return names


def _taken(path: Path) -> UsageError:
    return UsageError(f"{printable(os.fsencode(path))} is there already", "name another directory")


def _move(made: Path, path: Path) -> None:
    """Move a finished file to its place."""
    if os.path.lexists(path):  # another program was quicker: os.rename would replace its file
        raise _taken(path)
    made.rename(path)


def _put(hit: Hit, draft: Path, *, copies: bool) -> str | None:
    """Make the link or the copy of a file; return what is wrong with the file, if anything is."""
    try:
        if copies:
            with open_regular(hit.path) as file, storage_errors(draft):
                _copy(file, draft)
        else:
            os.stat(hit.path)
            _link(hit.path, draft)
    except (OSError, DecodeError) as error:
        remove(draft)
        reason = error.strerror if isinstance(error, OSError) else error
        return f"{printable(hit.path)}: {reason}"
    return None


def _copy(file: FileIO, draft: Path) -> None:
    """Copy an open file with its time; raise `DecodeError` where it cannot be read to its end."""
    with draft.open("xb") as copy:
        for chunk in _chunks(file):
            copy.write(chunk)
    status = os.fstat(file.fileno())
    os.utime(draft, ns=(status.st_atime_ns, status.st_mtime_ns))
    sync(draft)


def _chunks(file: FileIO) -> Iterator[bytes]:
    """Yield what is in a file; an error of its disk must not be taken for one of the disk that is written to."""
    while True:
        try:
            chunk = file.read(CHUNK_BYTES)
        except OSError as error:
            raise DecodeError(error.strerror or str(error)) from error
        if not chunk:
            return
        yield chunk


def _link(path: bytes, draft: Path) -> None:
    """Make a symbolic link to a file; raise `StorageError` where there can be none."""
    try:
        with storage_errors(draft):
            os.symlink(path, os.fsencode(draft))
    except StorageError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in NO_LINKS:
            raise StorageError(
                f"there can be no links in {printable(os.fsencode(draft.parent.parent))}", "use --copy-to"
            ) from error
        raise
