"""Replace a file or a directory whole: a reader finds what was there before or all of what is new, never half of it.

What is new is written to a draft beside its place, synced to the disk, and renamed. A draft is called `.NAME.PID.tmp`:
two processes that write the same file do not disturb each other, and what a killed one left is known by its process id.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from image_index.errors import StorageError
from image_index.paths import printable

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def replacing_file(path: Path, mode: int = 0o600) -> Iterator[Path]:
    """Give the path of a new, empty file that takes the place of `path` at the end of the block.

    If the block raises, `path` stays as it was and the draft is removed. Raises `StorageError` for any `OSError`.
    """
    draft = draft_of(path)
    try:
        with storage_errors(path):
            os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
            yield draft
            sync(draft)
            os.replace(draft, path)
            sync(path.parent)
    finally:
        remove(draft)  # after the renaming there is none


@contextmanager
def replacing_directory(path: Path, *, keep_full: bool = False) -> Iterator[Path]:
    """Give a new directory, for its owner alone, that takes the place of `path` at the end of the block.

    If the block raises, `path` stays as it was and the draft is removed. `keep_full` is as of `put_directory`. Raises
    `StorageError` for any `OSError`.
    """
    draft = draft_of(path)
    try:
        with storage_errors(path):
            draft.mkdir(mode=0o700)
            yield draft
        put_directory(draft, path, keep_full=keep_full)
    finally:
        remove(draft)


def put_directory(draft: Path, path: Path, *, keep_full: bool = False) -> None:
    """Put a finished directory at `path`, once every file in it is on the disk; raise `StorageError` for any `OSError`.

    Whatever stands there is removed; with `keep_full` nothing but an empty directory is, for it may be the user's. No
    system call that Python has exchanges two directories: for an instant there is neither.
    """
    old = draft.with_suffix(".old")
    try:
        with storage_errors(path):
            for inside in (*draft.rglob("*"), draft):
                sync(inside)
            if os.path.lexists(path) and not keep_full:
                path.rename(old)
            draft.rename(path)  # replaces an empty directory, and refuses any other
            sync(path.parent)
    finally:
        remove(draft)
        remove(old)


def draft_of(path: Path) -> Path:
    """Return where to write what is to take the place of `path`; what killed processes left there is removed."""
    name = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.(tmp|old)")
    with suppress(OSError):  # whoever writes the draft finds out why
        for entry in path.parent.iterdir():
            match = name.fullmatch(entry.name)
            if match and not _is_alive(int(match[1])):
                remove(entry)
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _is_alive(process: int) -> bool:
    """Tell whether another process has this id; our own is not that of whoever left a draft before us."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's process; a number that is no id
        return True
    return process != os.getpid()


def remove(path: Path) -> None:
    """Remove a directory, or whatever else is there, as far as that is possible."""
    with suppress(OSError):
        if path.is_symlink() or path.is_file():
            path.unlink()
        else:
            shutil.rmtree(path, ignore_errors=True)


def sync(path: Path) -> None:
    """Wait until a file, or the entries of a directory, are on the disk; raise `OSError` where it refuses."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: fsync leaves it in the disk's own cache
            with suppress(OSError):  # a network file system does not know it
                fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    finally:
        os.close(descriptor)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what a disk refuses while `path` is written into a `StorageError` that names it and what to do."""
    try:
        yield
    except OSError as error:
        step = "free some disk space" if error.errno in NO_SPACE else "look at its permissions and its disk"
        cause = error.strerror or error
        shown = printable(os.fsencode(path))
        raise StorageError(f"cannot write {shown}: {cause}", f"{step} and run again") from error
