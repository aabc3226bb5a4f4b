"""What runs on a machine of the cluster: the local pool, fed from afar. It does not know who carries its messages."""

from __future__ import annotations

import logging
import os
import pickle
import platform
import signal
from collections import deque
from dataclasses import dataclass, field, replace
from threading import Condition, Thread
from typing import Self

from image_index.cluster.messages import VERSION, MachineReport, NodeAnswer, NodeSetup
from image_index.cluster.paths import PathMap, choose_map
from image_index.errors import ImgidxError, WorkersFailed
from image_index.machine import core_count, memory_bytes
from image_index.paths import printable
from image_index.records import Batch, EmbeddedBatch, ImageFile, ModelFacts
from image_index.stop import StopRequest
from image_index.workers.child import MOST_HELD
from image_index.workers.devices import visible_gpus
from image_index.workers.embed import describe
from image_index.workers.engine import MAX_BATCH_BYTES
from image_index.workers.messages import LogLine
from image_index.workers.pool import TICK_S

DRAIN_S = 6.0
"""How long a node finishes what is in work: less than its driver waits for it."""


class Node:
    """The local pool of a machine; `give` and `take` may be called from any thread."""

    def __init__(self, version: str, setup: bytes, *, collects_logs: bool = False) -> None:
        """Begin in a thread of its own: check, start the children, embed what comes in.

        `setup` is a pickled `NodeSetup` of an imgidx of this `version`. A process that is a node and nothing else
        `collects_logs`: what is logged in it goes to the driver.
        """
        self._news = Condition()
        self._said = _Said()
        self._inbox = _Inbox()
        self._stop = StopRequest()
        self._collects_logs = collects_logs
        if collects_logs:
            logger = logging.getLogger("image_index")
            logger.handlers, logger.propagate = [_Collector(self._said.logs)], False
        Thread(target=self._run, args=(version, setup), daemon=True).start()

    def give(self, batches: tuple[Batch, ...]) -> None:
        """Take in batches, to be embedded when their turn comes."""
        self._inbox.put(batches)

    def take(self, wait_s: float) -> NodeAnswer:
        """Return what there is to say, at once or as soon as there is something, but after `wait_s` at the latest."""
        with self._news:
            self._news.wait_for(lambda: self._said.is_worth_a_message, wait_s)
            return self._said.taken()

    def finish(self) -> None:
        """Finish what the children have in work, begin nothing, and say so at the end."""
        self._stop.signal_number = signal.SIGTERM

    def _run(self, version: str, setup: bytes) -> None:
        """Work until it is told to finish; say why where that cannot be done."""
        error: ImgidxError | None = None
        try:
            if version != VERSION:
                raise WorkersFailed(f"it has imgidx {VERSION}, not {version}", "install the same version there")
            self._embed(pickle.loads(setup))
        except ImgidxError as known:
            error = known
        except Exception as unknown:  # no thread may end without a word: the driver would wait for it
            error = WorkersFailed(describe(unknown))
        with self._news:
            self._said.error, self._said.finished = error, True
            self._news.notify()

    def _embed(self, setup: NodeSetup) -> None:
        """Run the pool over what comes in, until it is told to finish."""
        if self._collects_logs:
            logging.getLogger("image_index").setLevel(setup.log_level)
        names = _Names(choose_map(setup.sample, setup.path_map))
        engine = replace(setup.engine, limits=replace(setup.engine.limits, drain_s=DRAIN_S))
        self._inbox.most_files = engine.files_per_batch()
        with engine.pool(setup.spec, self._stop, quiet=True) as pool:
            pool.load()  # before any file is here: a node that dies of its model is not to be blamed on one
            with self._news:
                self._said.facts = pool.facts
                self._said.room = (MOST_HELD * len(pool.pids) + MOST_HELD) * engine.files_per_batch()
                self._news.notify()
            while not self._stop():
                if not self._inbox.wait(TICK_S):
                    continue
                # The inbox is empty again and again, and each time the pool ends its loop; its children stay.
                for result in pool.embed(map(names.there, self._inbox)):
                    with self._news:
                        self._said.results.append(names.here(result))
                        self._said.facts = pool.facts  # not known before where the first try to load failed
                        self._news.notify()


class _Collector(logging.Handler):
    """Keeps log lines for the driver."""

    def __init__(self, lines: deque[LogLine]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record."""
        self._lines.append(LogLine(record.name, record.levelno, record.getMessage()))


@dataclass(slots=True)
class _Said:
    """What a node has to say; what was said once is not said again, but for its room and the facts of its model."""

    results: list[EmbeddedBatch] = field(default_factory=list)
    logs: deque[LogLine] = field(default_factory=deque)
    room: int = 0
    told_room: int = 0
    facts: ModelFacts | None = None
    error: ImgidxError | None = None
    finished: bool = False

    @property
    def is_worth_a_message(self) -> bool:
        """Tell whether somebody waits for it; log lines alone are not."""
        return bool(self.results) or self.finished or self.room != self.told_room

    def taken(self) -> NodeAnswer:
        """Return it, and forget what need not be said again."""
        logs = tuple(self.logs.popleft() for _ in range(len(self.logs)))
        answer = NodeAnswer(tuple(self.results), logs, self.room, self.facts, self.error, self.finished)
        self.results.clear()
        self.told_room = self.room
        return answer


class _Inbox:
    """Batches that came in, as an iterator that ends when there are none just now, and goes on once there are.

    Small ones are put together: the driver does not know that a GPU of this machine takes more at a time.
    """

    def __init__(self) -> None:
        self._batches: deque[Batch] = deque()
        self._changed = Condition()
        self.most_files = 1

    def put(self, batches: tuple[Batch, ...]) -> None:
        """Add batches."""
        with self._changed:
            self._batches.extend(batches)
            self._changed.notify()

    def wait(self, timeout_s: float) -> bool:
        """Wait until there is a batch, at most so long; tell whether there is one."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._batches), timeout_s)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        with self._changed:
            if not self._batches:
                raise StopIteration
            batch = self._batches.popleft()
            while self._batches and self._fits(batch, self._batches[0]):
                batch = Batch(batch.files + self._batches.popleft().files)
            return batch

    def _fits(self, batch: Batch, other: Batch) -> bool:
        """Tell whether two batches may travel as one."""
        files = batch.files + other.files
        small = len(files) <= self.most_files and sum(len(file.path) for file in files) < MAX_BATCH_BYTES // 2
        return small and not (batch.alone or other.alone)


class _Names:
    """What the driver calls each file that is in work."""

    def __init__(self, path_map: PathMap) -> None:
        self._map = path_map
        self._here: dict[bytes, bytes] = {}

    def there(self, batch: Batch) -> Batch:
        """Return a batch with the paths of this machine."""
        if not self._map.pairs:
            return batch
        files = tuple(file._replace(path=self._map.there(file.path)) for file in batch.files)
        self._here.update(zip((file.path for file in files), (file.path for file in batch.files), strict=True))
        return replace(batch, files=files)

    def here(self, result: EmbeddedBatch) -> EmbeddedBatch:
        """Return a result with the paths of the driver."""
        if not self._map.pairs:
            return result
        return replace(
            result,
            images=tuple(replace(one, file=self._named(one.file)) for one in result.images),
            failures=tuple(replace(one, file=self._named(one.file)) for one in result.failures),
            vanished=tuple(map(self._named, result.vanished)),
        )

    def _named(self, file: ImageFile) -> ImageFile:
        return file._replace(path=self._here.pop(file.path, file.path))


def examine(roots: tuple[bytes, ...], path_map: PathMap) -> MachineReport:
    """Return what this machine is, and which of the roots it sees, as they are or by the map."""
    return MachineReport(
        imgidx=VERSION,
        python=platform.python_version(),
        platform=platform.platform(),
        cores=core_count(),
        memory_bytes=memory_bytes(),
        gpus=visible_gpus(),
        sees={printable(root): any(map(os.path.exists, (root, path_map.there(root)))) for root in roots},
    )
