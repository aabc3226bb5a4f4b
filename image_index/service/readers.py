"""A bounded number of threads that read the index, each with connections of its own.

Reading SQLite and FAISS blocks, and an open `Index` is not for several threads. So the event loop hands the reading to
these threads and waits for none of them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Thread
from time import monotonic
from typing import Any, TypeVar

from image_index.catalog.reader import CatalogReader
from image_index.errors import WorkersFailed
from image_index.index import Index
from image_index.settings import IndexHome

THREADS = 4
"""How many reads are done at once: numpy, SQLite and FAISS let other threads run while they work."""

MOST_WAITING = 256
"""How many reads may wait for a thread; a further one is refused at once."""

LEAVE_S = 2.0
"""How long the reads at work may take once the server ends."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class OpenIndex:
    """What a thread has open of the index in `home`."""

    home: IndexHome
    catalog: CatalogReader
    index: Index


Job = tuple["Future[Any]", Callable[[OpenIndex], Any]]


class Readers:
    """The threads; `close` ends them."""

    def __init__(self, home: IndexHome, threads: int = THREADS) -> None:
        self._home = home
        self._jobs: Queue[Job | None] = Queue(MOST_WAITING)
        # daemons: a process that has been told to end does not wait for a long read
        self._threads = [Thread(target=self._work, daemon=True, name=f"reader-{n}") for n in range(threads)]
        for thread in self._threads:
            thread.start()

    async def read(self, job: Callable[[OpenIndex], Result]) -> Result:
        """Return what `job` returns in one of the threads; raise `WorkersFailed` where too many wait already."""
        future: Future[Result] = Future()
        try:
            self._jobs.put_nowait((future, job))
        except Full as error:
            raise WorkersFailed("the server has too much to do", "try again in a moment") from error
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Let no read begin any more, and give those at work a moment."""
        try:
            while waiting := self._jobs.get_nowait():
                waiting[0].cancel()
        except Empty:
            pass
        for _ in self._threads:
            self._jobs.put_nowait(None)
        leave_by = monotonic() + LEAVE_S
        for thread in self._threads:
            thread.join(max(0.0, leave_by - monotonic()))

    def _work(self) -> None:
        """Do jobs until there is None; what is open is opened again when a training has replaced the files."""
        with ExitStack() as stack:
            opened, state = None, None
            while (taken := self._jobs.get()) is not None:
                future, job = taken
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    if opened is None or state != _state(self._home):
                        stack.close()
                        opened, state = None, _state(self._home)
                        opened = _open(self._home, stack)
                    future.set_result(job(opened))
                except BaseException as error:  # whatever it is, the one who waits for the answer is told
                    future.set_exception(error)


def _open(home: IndexHome, stack: ExitStack) -> OpenIndex:
    return OpenIndex(home, stack.enter_context(CatalogReader(home.catalog)), stack.enter_context(Index.open(home.path)))


def _state(home: IndexHome) -> tuple[tuple[int, int] | None, ...]:
    """Return what tells the derived files, and the file of the catalog, from those that take their places."""
    files = (home.faiss, home.tail, home.moments)
    return (_identity(home.catalog, 0), *(_identity(path, 1) for path in files))


def _identity(path: os.PathLike[str], times: int) -> tuple[int, int] | None:
    """Return the inode of a file and, `times` 1, its modification time; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns * times
