"""One writer per index: an flock that dies with its holder, so a killed run leaves no lock behind."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from image_index.errors import IndexLocked, StorageError


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`; raise `IndexLocked` at once, naming the holder, where another process has it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(f"cannot open the lock file {path}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise IndexLocked(
                f"another imgidx (process {holder}) is writing to {path.parent}; wait for it, or use another --index"
            ) from None
        except OSError as error:
            raise StorageError(
                f"cannot lock {path}: {error.strerror}; use an --index on a disk that knows locks"
            ) from error
        _name_holder(descriptor)
        yield
    finally:
        os.close(descriptor)


def _name_holder(descriptor: int) -> None:
    """Write who holds the lock into its file, for the message of those who want it; a full disk does not matter."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
