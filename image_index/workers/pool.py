"""The spawned children as one engine: preload, feed, replace what dies, and find the file that kills.

A file that kills the child that reads it costs at most 1 + `work_queue.DEATHS_ALONE` restarts; one that kills in the
forward pass log2(batch size) more. No other file is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from time import monotonic
from typing import Any, Self

import numpy as np

from image_index.errors import ModelUnavailable, UsageError, WorkersFailed
from image_index.records import Batch, EmbeddedBatch, Failure, ModelFacts, Stage, Vectors
from image_index.workers.channel import ChannelClosed
from image_index.workers.child import MOST_HELD, Child, Deadlines, cause_of_death
from image_index.workers.devices import Slot
from image_index.workers.messages import (
    BatchFailed,
    ChildSetup,
    Embedded,
    Encoded,
    EncodeTexts,
    Errand,
    Exported,
    LogLine,
    NotReady,
    Ready,
    Working,
)
from image_index.workers.work_queue import WorkQueue

FAILED_STARTS = 3
"""So many children in a row that die before they are ready: their place is given up."""

FRUITLESS_DEATHS = 40
"""So many deaths with no picture embedded in between: no child can be kept alive."""

QUERY_DEATHS = 3
"""So many deaths over one query: the next child would die of it too."""

TICK_S = 0.5
"""How often a waiting parent looks whether it has been asked to stop."""

LEAVE_S = 2.0
"""How long children may take to leave when told to."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """When a pool loses patience."""

    deadlines: Deadlines = field(default_factory=Deadlines)
    recycle_growth_bytes: int = 4 << 30
    """A child whose memory has grown by this much since its first batch is replaced (pytorch #181213)."""
    drain_s: float = 8.0
    """How long batches in flight may still take once a stop is asked for."""


def _never() -> bool:
    return False


class ChildPool:
    """Spawned children that each hold the model; a context manager that leaves none behind."""

    def __init__(
        self,
        setup: ChildSetup,
        slots: Sequence[Slot],
        limits: PoolLimits | None = None,
        should_stop: Callable[[], bool] = _never,
    ) -> None:
        """Say what to start; entering the context starts it. `should_stop` is asked about every half second."""
        self._setup = setup
        self._slots = slots
        self._limits = limits or PoolLimits()
        self._should_stop = should_stop
        self._children: list[Child] = []
        self._fruitless_deaths = 0
        self.restarts = 0
        self.facts: ModelFacts | None = None
        """What the model is, known before the first result."""
        self.errand: Errand | None = None
        """What one child is to do first; `embed` does not end before that is done."""

    def __enter__(self) -> Self:
        self._children += [Child.start(self._setup, slot, self._limits.deadlines) for slot in self._slots]
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            if child.is_busy:
                child.process.kill()
            else:
                child.stop()
        leave_by = monotonic() + LEAVE_S
        for child in self._children:
            child.process.join(max(0.0, leave_by - monotonic()))
            child.kill()
        self._children.clear()

    def embed(self, batches: Iterable[Batch]) -> Iterator[EmbeddedBatch]:
        """Yield what becomes of `batches`, in the order in which they are done; each file comes back exactly once.

        After a stop no batch is begun; those in flight are waited for, but not for long. Raises `ModelUnavailable`
        where a child cannot load the model, and `WorkersFailed` where none stays alive.
        """
        queue = WorkQueue(batches)
        while not self._should_stop():
            self._feed(queue)
            is_idle = not any(child.held for child in self._children) and not self._awaits_work(queue)
            if is_idle and (self.errand is None or self.errand.outcome):
                return
            for child, message in self._events():
                yield from self._take(child, message, queue)
        yield from self._drain()

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors (N, D) of `texts`, encoded by the first child that is ready.

        Raises `WorkersFailed` once `QUERY_DEATHS` children have died of it.
        """
        job, deaths = EncodeTexts(tuple(texts)), 0
        while deaths < QUERY_DEATHS:
            for child in self._children:
                if child.tried and not child.is_busy:
                    child.give(job)
            for child, message in self._events():
                if isinstance(message, Encoded):
                    child.answered()
                    return message.vectors
                if isinstance(message, BatchFailed):
                    raise ModelUnavailable(f"the model cannot encode the query: {message.reason}")
                deaths += message is None and child.awaited
                list(self._take(child, message, WorkQueue(())))
        raise WorkersFailed(f"{deaths} child processes died of the query", "try --device cpu, or another query")

    def _feed(self, queue: WorkQueue) -> None:
        """Keep the children supplied; one that failed to preload gets one batch, at which it tries again."""
        for depth in range(1, MOST_HELD + 1):  # one batch each before anybody's second
            for child in self._children:
                if len(child.held) < min(depth, child.room):
                    batch = queue.take(alone=not child.held)
                    if batch is not None:
                        child.give(batch)

    def _awaits_work(self, queue: WorkQueue) -> bool:
        """Tell whether there is work that children still loading are waited for."""
        batch = queue.take()
        if batch is not None:
            queue.put_back([batch])
        return batch is not None

    def _drain(self) -> Iterator[EmbeddedBatch]:
        """Yield the batches in flight as they end, as long as patience lasts; begin nothing."""
        give_up = monotonic() + self._limits.drain_s
        logger.warning("Stopping after the batches in flight")
        while any(child.held for child in self._children) and monotonic() < give_up:
            for child, message in self._events():
                if message is None:
                    self._drop(child)
                elif isinstance(message, Embedded):
                    child.answered()
                    yield message.result
                elif isinstance(message, BatchFailed):
                    child.answered()

    def _events(self) -> list[tuple[Child, Any]]:
        """Wait for messages, deaths and deadlines, a tick at most; None stands for a child that is lost."""
        children = {child.channel.fileno(): child for child in self._children}
        children |= {child.process.sentinel: child for child in self._children}
        events: list[tuple[Child, Any]] = []
        touched = [children[handle] for handle in wait(children, TICK_S) if isinstance(handle, int)]
        for child in dict.fromkeys(touched):
            lost = not child.process.is_alive()
            try:
                events.extend((child, message) for message in child.channel.receive_ready())
            except ChannelClosed:
                lost = True
            if lost:
                events.append((child, None))
        overdue = [child for child in self._children if child.is_overdue and child not in touched]
        return events + [(child, None) for child in overdue]

    def _take(self, child: Child, message: Any, queue: WorkQueue) -> Iterator[EmbeddedBatch]:
        """Act on one message; yield what it says has become of a batch."""
        if child not in self._children:
            return  # it was replaced after it had sent this
        match message:
            case None:
                self._lose_errand(child, queue)
                yield from self._replace_lost(child, queue)
            case Exported():
                child.awaited = False
                child.expect(None)
                if self.errand:
                    self.errand.outcome = message
            case Embedded():
                child.answered()
                if message.result.images:
                    self._fruitless_deaths = 0
                self._recycle_if_grown(child, message.memory_bytes, queue)
                yield message.result
            case BatchFailed():
                yield from _given_up(queue.isolate(child.answered(), None, Stage.EMBED, message.reason))
            case _:
                self._note(child, message)

    def _note(self, child: Child, message: Any) -> None:
        """Note what a child says of itself; raise what ends the run."""
        match message:
            case LogLine():
                logging.getLogger(message.name).log(message.level, "%s", message.text)
            case Ready():
                child.ready = child.tried = True
                child.failed_starts = 0
                child.expect(None)
                self.facts = self.facts or message.facts
                if self.errand and not self.errand.given:
                    self.errand.given = child.give(self.errand.job)
            case NotReady(final=False, usage=False):
                child.tried = True
            case NotReady():
                raise (UsageError if message.usage else ModelUnavailable)(message.reason)
            case Working():
                child.expect(message.position)

    def _lose_errand(self, child: Child, queue: WorkQueue) -> None:
        """Note that a child was lost over its errand; none of the files that waited behind it is to blame."""
        if self.errand and child.awaited:
            self.errand.outcome = Exported("the child that tried it was lost", lost=True)
            queue.put_back(child.held)
            child.held.clear()

    def _recycle_if_grown(self, child: Child, memory_bytes: int, queue: WorkQueue) -> None:
        """Replace a child whose memory keeps growing; what it still holds is embedded elsewhere."""
        child.first_memory_bytes = child.first_memory_bytes or memory_bytes
        if memory_bytes - child.first_memory_bytes >= self._limits.recycle_growth_bytes:
            logger.info("Replacing a child whose memory has grown to %d MB", memory_bytes >> 20)
            queue.put_back(child.held)
            self._drop(child)
            self._restart(child)

    def _replace_lost(self, child: Child, queue: WorkQueue) -> Iterator[EmbeddedBatch]:
        """Start another child in place of one that died or hangs, and put what it held where it belongs."""
        hung = child.process.is_alive() and child.is_overdue
        child.process.join(0 if hung else 1)  # a channel closes a moment before its process is gone
        self._drop(child)
        stage = Stage.TIMEOUT if hung else Stage.CRASH
        reason = "the child gave no sign of life" if hung else cause_of_death(child.process.exitcode)
        logger.warning("Lost a child process: %s", reason)
        self._fruitless_deaths += 1
        child.failed_starts += not child.ready
        if child.failed_starts < FAILED_STARTS:
            self._restart(child)
        if not self._children or self._fruitless_deaths >= FRUITLESS_DEATHS:
            raise WorkersFailed(
                f"child processes cannot be kept alive (the last one: {reason}); what is stored is kept",
                "try --workers 1, --device cpu, or --verbose to see why",
            )
        if not child.ready:
            queue.put_back(child.held)
        elif child.overlaps and stage is Stage.CRASH:
            queue.suspect(child.held)
        elif child.held:
            queue.put_back(list(child.held)[1:])
            yield from _given_up(queue.isolate(child.held[0], child.position, stage, reason))

    def _drop(self, child: Child) -> None:
        child.kill()
        self._children.remove(child)

    def _restart(self, child: Child) -> None:
        self.restarts += 1
        successor = Child.start(self._setup, child.slot, self._limits.deadlines)
        successor.failed_starts = child.failed_starts
        self._children.append(successor)


def _given_up(failure: Failure | None) -> Iterator[EmbeddedBatch]:
    """Yield a batch of nothing but `failure`, if there is one."""
    if failure is not None:
        yield EmbeddedBatch((), np.zeros((0, 0), np.float32), failures=(failure,))
