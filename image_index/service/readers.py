"""A bounded number of threads that read the index, each with connections of its own.

Reading SQLite and FAISS blocks, as encoding does, and an open `Index` is not for several threads. So the event loop
hands that to these threads and waits for none of them. What takes long has threads of its own: a search waits for no
picture that is decoded, and for no duplicates that are looked for.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from queue import Empty, Queue
from threading import Thread
from time import monotonic
from typing import Any, TypeVar

from image_index.catalog.reader import CatalogReader
from image_index.errors import WorkersFailed
from image_index.index import Index
from image_index.search.encode import QueryEncoder
from image_index.service.group_cache import GroupCache
from image_index.settings import IndexHome
from image_index.workers.engine import Engine

THREADS = 4
"""How many reads are done at once: numpy, SQLite and FAISS let other threads run while they work."""

THUMBNAIL_THREADS = 2
"""How many pictures are decoded at once: each may take half a gigabyte meanwhile."""

MOST_WAITING = 256
"""How many reads may wait for a thread; a further one is refused at once."""

MOST_FETCHES = 4
"""How many pictures are fetched from the web at once; others wait."""

IDLE_S = 300.0
"""After how long without work a thread closes what it has open: files, a model, and the child that holds one."""

LEAVE_S = 2.0
"""How long the reads at work may take once the server ends."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class OpenIndex:
    """What a thread has open of the index in `home`; `encoder` loads nothing before it is asked for a vector."""

    home: IndexHome
    catalog: CatalogReader
    index: Index
    encoder: QueryEncoder


@dataclass(frozen=True, slots=True)
class Source:
    """The index that threads open, and the engine of the children that they start.

    With `read_only` a search leaves not even its words behind.
    """

    home: IndexHome
    engine: Engine | None = None
    read_only: bool = False

    def open(self, stack: ExitStack) -> OpenIndex:
        """Open the index until `stack` is closed; raise `IndexNotFound` where there is none."""
        catalog = stack.enter_context(CatalogReader(self.home.catalog))
        if self.read_only:
            catalog.refuse_writes()
        index = stack.enter_context(Index.open(self.home.path))
        return OpenIndex(self.home, catalog, index, stack.enter_context(QueryEncoder(catalog, self.home, self.engine)))

    def state(self) -> tuple[tuple[int, int] | None, ...]:
        """Return what tells the files of the index from those that take their places."""
        derived = (self.home.vector_table, self.home.faiss, self.home.moments, self.home.towers)
        return (_identity(self.home.catalog, 0), *(_identity(path, 1) for path in derived))


def _identity(path: os.PathLike[str], times: int) -> tuple[int, int] | None:
    """Return the inode of a file and, `times` 1, its modification time; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns * times


Job = tuple["Future[Any]", Callable[[OpenIndex], Any]]


class Readers:
    """Some threads that read one index, until they are stopped."""

    def __init__(self, source: Source, threads: int = 1) -> None:
        self._source = source
        self._jobs: Queue[Job | None] = Queue()
        # daemons: a process that has been told to end does not wait for a long read
        self._threads = [Thread(target=self._work, daemon=True, name=f"reader-{n}") for n in range(threads)]
        for thread in self._threads:
            thread.start()

    async def read(self, job: Callable[[OpenIndex], Result]) -> Result:
        """Return what `job` returns in one of the threads; raise `WorkersFailed` where too many wait already."""
        return await asyncio.wrap_future(self.ask(job))

    def ask(self, job: Callable[[OpenIndex], Result]) -> Future[Result]:
        """Return the future of what `job` returns, for a thread that may wait; raises what `read` raises."""
        if self._jobs.qsize() >= MOST_WAITING:
            raise WorkersFailed("the server has too much to do", "try again in a moment")
        future: Future[Result] = Future()
        self._jobs.put((future, job))
        return future

    def stop(self) -> None:
        """Let no read begin any more."""
        with suppress(Empty):
            while waiting := self._jobs.get_nowait():
                waiting[0].cancel()
        for _ in self._threads:
            self._jobs.put(None)

    def join(self, leave_by: float) -> None:
        """Wait for the reads at work, until `leave_by` on the monotonic clock."""
        for thread in self._threads:
            thread.join(max(0.0, leave_by - monotonic()))

    def _work(self) -> None:
        """Do jobs until there is None; the index is opened again when a training has replaced its files."""
        with ExitStack() as stack:
            opened, state = None, None
            while True:
                try:
                    taken = self._jobs.get(timeout=IDLE_S if opened else None)
                except Empty:
                    stack.close()
                    opened = None
                    continue
                if taken is None:
                    return
                future, job = taken
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    if opened is None or state != self._source.state():
                        stack.close()
                        opened, state = None, self._source.state()
                        opened = self._source.open(stack)
                    future.set_result(job(opened))
                except BaseException as error:  # whatever it is, the one who waits for the answer is told
                    future.set_exception(error)


@dataclass(frozen=True, slots=True)
class Service:
    """The threads of a server: several to `read`, others for what takes longer.

    `texts` encodes texts by the exported tower; `child` has the one child, which encodes what needs the model itself;
    `duplicates` looks for duplicates, which `groups` keeps; `thumbnails` decodes pictures; `writes` waits for
    others that write to the catalog. `fetches` bounds the pictures that are fetched from the web; None for none at all.
    """

    home: IndexHome
    read: Readers
    texts: Readers
    child: Readers
    duplicates: Readers
    thumbnails: Readers
    writes: Readers
    groups: GroupCache = field(default_factory=GroupCache)
    fetches: asyncio.Semaphore | None = None

    @classmethod
    def start(
        cls, home: IndexHome, engine: Engine | None = None, *, read_only: bool = False, allow_urls: bool = False
    ) -> Service:
        """Start the threads for the index in `home`; with `allow_urls` pictures are fetched from the web."""
        source = Source(home, engine, read_only)
        return cls(
            home,
            read=Readers(source, THREADS),
            texts=Readers(source),
            child=Readers(source),
            duplicates=Readers(source),
            thumbnails=Readers(source, THUMBNAIL_THREADS),
            writes=Readers(source),
            fetches=asyncio.Semaphore(MOST_FETCHES) if allow_urls else None,
        )

    def close(self) -> None:
        """Stop the threads, and give the reads at work a moment."""
        leave_by = monotonic() + LEAVE_S
        groups = (self.read, self.texts, self.child, self.duplicates, self.thumbnails, self.writes)
        for group in groups:
            group.stop()
        for group in groups:
            group.join(leave_by)
