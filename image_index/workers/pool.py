"""The spawned children as one pool: start, feed, replace what dies, and find the file that kills.

A file that kills the child that reads it costs at most 1 + `work_queue.DEATHS_ALONE` restarts; one that kills in the
forward pass log2(batch size) more. No other file is lost.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from time import monotonic
from typing import Any, NamedTuple, Protocol, Self, overload

import numpy as np

from image_index.errors import ModelUnavailable, UsageError, WorkersFailed
from image_index.records import Batch, EmbeddedBatch, Failure, MachineShare, ModelFacts, Stage, Vectors
from image_index.workers.channel import ChannelClosed
from image_index.workers.child import MOST_HELD, Child, Deadlines, State, cause_of_death
from image_index.workers.child_main import DEVICE_FAILED
from image_index.workers.devices import Slot
from image_index.workers.messages import (
    ChildSetup,
    Embedded,
    Encoded,
    EncodeTexts,
    Exported,
    ExportTowers,
    Job,
    JobFailed,
    LogLine,
    NotReady,
    Ready,
    Working,
)
from image_index.workers.work_queue import WorkQueue

FAILED_STARTS = 3
"""A slot is given up after this many children in a row have died in it before they were ready."""

FRUITLESS_DEATHS = 40
"""The run ends after this many deaths without one picture embedded in between: no child can be kept alive."""

QUERY_DEATHS = 3
"""A query is given up after this many deaths over it: the next child would die of it too."""

TICK_S = 0.5
"""How often a waiting parent checks whether it has been asked to stop."""

LEAVE_S = 2.0
"""How long children may take to leave when told to."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How long a pool waits for its children, and how much their memory may grow."""

    deadlines: Deadlines = field(default_factory=Deadlines)
    recycle_growth_bytes: int = 4 << 30
    """A child whose memory has grown by this much since its first batch is replaced (pytorch #181213)."""
    drain_s: float = 8.0
    """How long batches in flight may still take once a stop is asked for."""


class PoolPlan(NamedTuple):
    """What a pool starts: a child in each of the slots, all of them told the same."""

    setup: ChildSetup
    slots: Sequence[Slot]


def _never() -> bool:
    return False


class Pool(Protocol):
    """What embeds the pictures of a run: `ChildPool` with the children of this machine, or a cluster of machines.

    A context manager that leaves no process behind.
    """

    facts: ModelFacts | None
    """What the model is, known before the first result."""

    @property
    def is_local(self) -> bool:
        """Whether it runs on this machine alone, and can write files here: only then is it given `ExportTowers`."""

    @property
    def machines(self) -> tuple[MachineShare, ...]:
        """What each machine of a cluster has embedded so far; none where there is only this one."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    def start(self, files: float = math.inf) -> None:
        """Start what takes time, as soon as it is known that at most so many files have to be embedded."""

    def embed(
        self, jobs: Iterable[Batch | ExportTowers], files: float = math.inf
    ) -> Iterator[EmbeddedBatch | Exported | JobFailed]:
        """Yield what becomes of `jobs`; each file comes back exactly once, or after a stop perhaps not at all."""


class ChildPool:
    """Spawned children that each hold the model; a context manager that leaves none behind."""

    is_local = True
    machines: tuple[MachineShare, ...] = ()

    def __init__(
        self,
        make_plan: Callable[[float], PoolPlan],
        limits: PoolLimits | None = None,
        should_stop: Callable[[], bool] = _never,
    ) -> None:
        """Start nothing yet.

        `make_plan` is called at the start, with the most files there can be; `should_stop` about every half second.
        """
        self._make_plan = make_plan
        self._limits = limits or PoolLimits()
        self._should_stop = should_stop
        self._children: list[Child] = []
        self._fruitless_deaths = 0
        self.facts: ModelFacts | None = None
        """What the model is, known before the first result."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            if child.is_busy:
                child.process.kill()
            else:
                child.stop()
        leave_by = monotonic() + LEAVE_S
        for child in self._children:
            child.wait(max(0.0, leave_by - monotonic()))
            child.kill()
        self._children.clear()

    @property
    def pids(self) -> list[int]:
        """The process ids of the children that are alive now, as far as the parent knows."""
        return [child.process.pid for child in self._children]

    def start(self, files: float = math.inf) -> None:
        """Start the children, which load their models from now on; while there are any, this does nothing.

        Whoever knows early that there will be work calls it early; `files` is how many there are at most. Raises what
        `make_plan` raises.
        """
        if not self._children:
            setup, slots = self._make_plan(files)
            for slot in slots:
                self._children.append(Child.start(setup, slot, self._limits.deadlines))

    def load(self) -> None:
        """Start the children, and wait until one has loaded its model or all have tried once; or until a stop.

        Raises what `embed` raises where they cannot.
        """
        self.start()
        nothing = WorkQueue(())
        while not self.facts and any(child.state is State.LOADING for child in self._children):
            if self._should_stop():
                return
            for child, message in self._events():
                for _ in self._take(child, message, nothing):
                    pass

    @overload
    def embed(self, jobs: Iterable[Batch], files: float = math.inf) -> Iterator[EmbeddedBatch]: ...
    @overload
    def embed(
        self, jobs: Iterable[Batch | ExportTowers], files: float = math.inf
    ) -> Iterator[EmbeddedBatch | Exported | JobFailed]: ...
    def embed(self, jobs: Iterable[Batch | ExportTowers], files: float = math.inf) -> Iterator[Any]:
        """Yield what becomes of `jobs`, in the order in which they are done; each file comes back exactly once.

        An `ExportTowers` among them comes back as `Exported` or `JobFailed`, and its child is ended. Children are
        started only once there is a job; `files` is how many there are at most. After a stop no job is begun; those in
        flight are waited for, but not for long. Raises `ModelUnavailable` where a child cannot load the model, and
        `WorkersFailed` where none stays alive.
        """
        return self._results(jobs, files)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors (N, D) of `texts`, encoded by the first child that is ready.

        Raises `ModelUnavailable` where the model cannot encode them, and `WorkersFailed` once `QUERY_DEATHS` children
        have died of them.
        """
        for _ in range(QUERY_DEATHS):
            match list(self._results([EncodeTexts(tuple(texts))])):
                case [Encoded(vectors)]:
                    return vectors
                case [JobFailed(reason, lost=False)]:
                    raise ModelUnavailable(f"the model cannot encode the query: {reason}")
        raise WorkersFailed(f"{QUERY_DEATHS} child processes died of the query", "try --device cpu, or another query")

    def export_towers(self, directory: str) -> Exported | JobFailed | None:
        """Return what came of writing the towers to the new `directory`; None after a stop."""
        outcomes: list[Exported | JobFailed] = list(self._results([ExportTowers(directory)]))
        return outcomes[0] if outcomes else None

    def _results(self, jobs: Iterable[Job], files: float = math.inf) -> Iterator[Any]:
        """Yield the answers to `jobs`; batches that failed come as failures of their files."""
        queue = WorkQueue(jobs)
        while not self._should_stop():
            if not any(child.held for child in self._children) and not queue:
                return
            self.start(files)
            self._feed(queue)
            for child, message in self._events():
                yield from self._take(child, message, queue)
        yield from self._drain()

    def _feed(self, queue: WorkQueue) -> None:
        """Keep the children supplied; one that failed to preload gets one job, at which it tries again."""
        # Breadth first: near the end of the work every child gets one job before any gets a second, so that none
        # sits idle while a batch waits in the pipe of another. The second and third are there to keep a child busy
        # while its answer travels, and its threads decoding while its model computes.
        for depth in range(1, MOST_HELD + 1):
            for child in self._children:
                if len(child.held) < min(depth, child.room):
                    job = queue.take(alone=not child.held)
                    if job is not None:
                        child.give(job)
        # An export takes as much memory as another child. If it comes last, those that hold nothing make room for it.
        if any(isinstance(job, ExportTowers) for child in self._children for job in child.held) and not queue:
            for child in [child for child in self._children if not child.held]:
                self._drop(child)

    def _drain(self) -> Iterator[Any]:
        """Yield the answers to what is in flight, for `drain_s` at most; begin nothing."""
        # The batches in flight are nearly done, so a stop waits for them; but a machine that shuts down does not wait
        # for a batch that hangs. What does not come back in time was not recorded: the next run embeds it. So no file
        # is blamed here for a child that is lost, and no child is started in its place.
        give_up = monotonic() + self._limits.drain_s
        logger.warning("Stopping after the batches in flight")
        while any(child.held for child in self._children) and monotonic() < give_up:
            for child, message in self._events():
                match message:
                    case None:
                        self._drop(child)
                    case Embedded():
                        child.answered()
                        yield message.result
                    case Encoded() | Exported():
                        child.answered()
                        yield message
                    case JobFailed():
                        child.answered()

    def _events(self) -> list[tuple[Child, Any]]:
        """Wait for messages, deaths and deadlines, at most `TICK_S`; the message None means that the child is lost."""
        children = {child.channel.fileno(): child for child in self._children}
        events: list[tuple[Child, Any]] = []
        touched = [children[handle] for handle in wait(children, TICK_S) if isinstance(handle, int)]
        dead = [child for child in self._children if not child.is_alive]
        noticed = dict.fromkeys([*touched, *dead])
        for child in noticed:
            lost = child in dead
            try:
                events.extend((child, message) for message in child.channel.receive_ready())
            except ChannelClosed:
                lost = True
            if lost:
                events.append((child, None))
        overdue = [child for child in self._children if child.is_overdue and child not in noticed]
        return events + [(child, None) for child in overdue]

    def _take(self, child: Child, message: Any, queue: WorkQueue) -> Iterator[Any]:
        """Act on one message; yield the answer to a job, if it is one."""
        if child not in self._children:
            return  # it was replaced after it had sent this
        match message:
            case None:
                yield from self._replace_lost(child, queue)
            case Embedded():
                child.answered()
                if message.result.images:
                    self._fruitless_deaths = 0
                self._recycle_if_grown(child, message.memory_bytes, queue)
                yield message.result
            case Encoded():
                child.answered()
                yield message
            case Exported() | JobFailed():
                job = child.answered()
                if isinstance(job, ExportTowers):
                    self._drop(child)  # with all the memory that an export takes
                    if queue:
                        self._children.append(child.successor())
                if isinstance(job, Batch) and isinstance(message, JobFailed):
                    yield from _given_up(queue.isolate(job, None, Stage.EMBED, message.reason))
                else:
                    yield message
            case _:
                self._note(child, message)

    def _note(self, child: Child, message: LogLine | Ready | NotReady | Working) -> None:
        """Handle a message that answers no job; raises if the run cannot go on."""
        match message:
            case LogLine():
                logging.getLogger(message.name).log(message.level, "%s", message.text)
            case Ready():
                child.state = State.READY
                child.failed_starts = 0
                child.expect(None)
                self.facts = self.facts or message.facts
            case NotReady(final=False, usage=False):
                child.state = State.TRIED
            case NotReady():
                raise (UsageError if message.usage else ModelUnavailable)(message.reason)
            case Working():
                child.expect(message.position)

    def _recycle_if_grown(self, child: Child, memory_bytes: int, queue: WorkQueue) -> None:
        """Replace a child whose memory keeps growing; what it still holds is embedded elsewhere."""
        child.first_memory_bytes = child.first_memory_bytes or memory_bytes
        if memory_bytes - child.first_memory_bytes >= self._limits.recycle_growth_bytes:
            logger.info("Replacing a child whose memory has grown to %d MB", memory_bytes >> 20)
            queue.put_back(child.held)
            self._drop(child)
            self._children.append(child.successor())

    def _replace_lost(self, child: Child, queue: WorkQueue) -> Iterator[Any]:
        """Start another child in place of one that died or hangs; queue its jobs again, or yield a failure."""
        hung = child.is_alive and child.is_overdue
        child.wait(0 if hung else 1)  # a channel closes a moment before its process is gone
        self._drop(child)
        stage = Stage.TIMEOUT if hung else Stage.CRASH
        reason = "the child gave no sign of life" if hung else cause_of_death(child.process.returncode)
        logger.warning("Lost a child process: %s", reason)
        self._fruitless_deaths += 1
        if child.state is not State.READY:
            child.failed_starts += 1
        if child.failed_starts < FAILED_STARTS:
            self._children.append(child.successor())
        if not self._children or self._fruitless_deaths >= FRUITLESS_DEATHS:
            raise WorkersFailed(
                f"child processes cannot be kept alive (the last one: {reason}); what is stored is kept",
                "try --workers 1, --device cpu, or --verbose to see why",
            )
        # Which file did it? None, if the child was not ready or its device failed: it died of the model or of the
        # machine. Where threads decode, any batch in work may have crashed it: each is tried again with nothing beside
        # it. Else it was at the file that it reported last: `isolate` splits that batch, and what waited behind it was
        # not even begun.
        if child.state is not State.READY or child.process.returncode == DEVICE_FAILED:
            queue.put_back(child.held)
        elif child.overlaps and stage is Stage.CRASH:
            queue.suspect(child.held)
        elif child.held:
            job, *behind = child.held
            queue.put_back(behind)
            if isinstance(job, Batch):
                yield from _given_up(queue.isolate(job, child.position, stage, reason))
            else:
                yield JobFailed(f"a child was lost over it: {reason}", lost=True)

    def _drop(self, child: Child) -> None:
        child.kill()
        self._children.remove(child)


def _given_up(failure: Failure | None) -> Iterator[EmbeddedBatch]:
    """Yield a batch that holds only `failure`, if there is one."""
    if failure is not None:
        yield EmbeddedBatch((), np.zeros((0, 0), np.float32), failures=(failure,))
