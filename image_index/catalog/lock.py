"""One writer for each index: an flock, which the system releases when its holder dies, even by SIGKILL."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from image_index.errors import IndexLocked, Interrupted, StorageError
from image_index.stop import StopRequest

POLL_S = 0.2
"""How often a waiting run looks: flock itself cannot wait with a deadline."""


@contextmanager
def exclusive_lock(path: Path, wait_s: float = 0.0, stop: StopRequest | None = None) -> Iterator[None]:
    """Hold the lock file at `path` during a block.

    Waits up to `wait_s` seconds for another process that holds it, then raises `IndexLocked` and names that process.
    Where `stop` says so it waits no longer; after a signal it raises `Interrupted`.
    """
    stop = stop or StopRequest()
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(f"cannot open the lock file {path}: {error.strerror}") from error
    try:
        deadline = time.monotonic() + wait_s
        while not _try_lock(descriptor, path):
            if stop.signal_number:
                raise Interrupted(stop.signal_number)
            if time.monotonic() >= deadline or stop():
                holder = _holder(descriptor)
                raise IndexLocked(
                    f"another imgidx (process {holder}) is writing to {path.parent}",
                    "wait for it, with --wait 5m, or use another --index",
                )
            time.sleep(POLL_S)
        with suppress(OSError):  # on a full disk the message of the next process cannot name us, and that is all
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def find_holder(path: Path) -> str | None:
    """Return the process that holds the lock file at `path`, or None; nothing is written, and it does not wait."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _holder(descriptor)
        finally:
            os.close(descriptor)
    except OSError:  # no lock file, or a disk without locks
        return None
    return None


def _holder(descriptor: int) -> str:
    """Return the process that a lock file names."""
    return os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"


def _try_lock(descriptor: int, path: Path) -> bool:
    """Take the lock if nobody has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # some network disks have no locks
        raise StorageError(
            f"cannot lock {path}: {error.strerror}", "put the index on a local disk with --index"
        ) from error
    return True
