"""One writer per index, with real processes."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from image_index.catalog.lock import exclusive_lock
from image_index.errors import IndexLocked, Interrupted, StorageError
from image_index.stop import StopRequest

HOLDER = """
import sys
from pathlib import Path
from image_index.catalog.lock import exclusive_lock
with exclusive_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder_of(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that holds the lock at `path`."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


def test_second_writer_is_refused_and_told_who_holds_the_lock(tmp_path: Path) -> None:
    """The message names the process and the index home."""
    with (
        holder_of(tmp_path / "lock") as process,
        pytest.raises(IndexLocked, match=rf"process {process.pid}\).*{tmp_path}"),
        exclusive_lock(tmp_path / "lock"),
    ):
        pass


def test_who_is_told_to_stop_waits_no_longer(tmp_path: Path) -> None:
    """After a signal it has been interrupted; after its time limit it has waited in vain."""
    for stop, error in ((StopRequest(signal.SIGINT), Interrupted), (StopRequest(deadline=0.0), IndexLocked)):
        with holder_of(tmp_path / "lock"), pytest.raises(error), exclusive_lock(tmp_path / "lock", 600, stop):
            pass


def test_killed_holder_leaves_no_lock_behind(tmp_path: Path) -> None:
    """After SIGKILL the next run goes on at once, and is the holder that is named."""
    with holder_of(tmp_path / "lock") as process:
        process.kill()
        process.wait()
        with exclusive_lock(tmp_path / "lock"):
            assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_lock_is_exclusive_within_one_process_too(tmp_path: Path) -> None:
    """Two updates from one program do not write together either; the end of the first frees the lock."""
    with exclusive_lock(tmp_path / "lock"), pytest.raises(IndexLocked), exclusive_lock(tmp_path / "lock"):
        pass
    with exclusive_lock(tmp_path / "lock"):
        pass


def test_lock_is_freed_when_the_run_fails(tmp_path: Path) -> None:
    """An error inside comes through, and frees it."""
    with pytest.raises(ZeroDivisionError), exclusive_lock(tmp_path / "lock"):
        raise ZeroDivisionError
    with exclusive_lock(tmp_path / "lock"):
        pass


def test_child_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    """A child that outlives its parent must not lock the index."""
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with exclusive_lock(tmp_path / "lock"):
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
        assert child.stdout is not None
        child.stdout.readline()
    with exclusive_lock(tmp_path / "lock"):
        assert child.poll() is None
    child.communicate(b"\n")


def test_lock_file_is_private(tmp_path: Path) -> None:
    """Only the owner may hold up the owner's runs."""
    with exclusive_lock(tmp_path / "lock"):
        assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600


def test_lock_file_that_cannot_be_opened_is_a_storage_error(tmp_path: Path) -> None:
    """The file is named."""
    with pytest.raises(StorageError, match="lock"), exclusive_lock(tmp_path / "gone" / "lock"):
        pass


def test_disk_without_locks_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems know no flock: it is said, with a way out, and not taken for a second run."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StorageError, match="--index"), exclusive_lock(tmp_path / "lock"):
        pass
