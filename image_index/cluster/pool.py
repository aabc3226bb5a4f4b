"""The pool of a cluster: give each machine's node work, settle what comes back, and take back what a lost one held.

A file that kills or hangs a child is its node's matter: the local pool there finds it. Here the same is done one level
up, with the same `WorkQueue`. A lost machine may have been lost by chance, so what it held goes to others; a file that
was held by two lost machines travels alone, and one that takes two more with it, alone, becomes a failure.
"""

from __future__ import annotations

import logging
import math
import pickle
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from time import monotonic
from typing import Self

import numpy as np

from image_index.cluster.messages import (
    VERSION,
    Answered,
    Cluster,
    ClusterFailed,
    EndNode,
    Event,
    Finish,
    Give,
    Machine,
    Members,
    NodeAnswer,
    NodeLost,
    NodeSetup,
    StartNode,
)
from image_index.cluster.paths import PathMap, first_difference
from image_index.cluster.trust import Trust
from image_index.errors import ImgidxError, IndexMismatch, WorkersFailed
from image_index.records import Batch, EmbeddedBatch, Failure, ImageFile, MachineShare, ModelFacts, Stage
from image_index.workers.engine import make_batches
from image_index.workers.messages import ExportTowers, LogLine
from image_index.workers.pool import FRUITLESS_DEATHS, TICK_S
from image_index.workers.work_queue import WorkQueue

FAILED_STARTS = 3
"""A machine is given up after this many nodes in a row were lost on it before they had embedded anything."""

LOSSES_BEFORE_ALONE = 2
"""A file that so many lost machines held is no longer given together with others."""

SAMPLE = 8
"""How many files of the plan a machine has to see as the driver does before it is given work."""

MOST_DISPUTES = 3
"""A machine that is wrong about so many files, which the driver sees or reads, is not used any more."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClusterLimits:
    """How long a driver waits for its cluster, in seconds."""

    join_s: float = 120.0
    """For the first list of machines, and later for a machine where there is none."""
    start_s: float = 120.0
    """For the first sign of life of a node, which may have to wait for cores and GPUs."""
    silence_s: float = 60.0
    """For every later one; a node gives one every two seconds."""
    restart_s: float = 5.0
    """Before another node is started in place of a lost one, each time twice as long: Ray names a dead machine among
    those that are alive for some seconds."""
    drain_s: float = 8.0
    """How long what is in work may still take once a stop is asked for."""


@dataclass(slots=True)
class _Place:
    """A machine, how its nodes have fared, and the node that is there now."""

    machine: Machine
    node: _Node | None = None
    failed_starts: int = 0
    start_at: float = 0.0
    refusal: ImgidxError | None = None
    disputes: int = 0
    pictures: int = 0
    worked_s: float = 0.0
    """The seconds since the model was loaded."""

    @property
    def rate(self) -> float:
        """Return the pictures per second, 0 where they are not known yet."""
        return self.pictures / self.worked_s if self.worked_s else 0.0

    @property
    def may_start(self) -> bool:
        """Tell whether a node may be started there, now or later."""
        return self.node is None and self.refusal is None


@dataclass(slots=True)
class _Node:
    """A node and what it holds, by path: batches are taken apart on the way."""

    number: int
    place: _Place
    due: float
    held: dict[bytes, ImageFile] = field(default_factory=dict)
    is_alone: bool = False
    """Whether it holds a single file that is suspected of killing machines."""
    room: int = 0
    is_accepted: bool = False
    """Whether its model is that of the run."""
    heard_at: float = 0.0
    """When its model was loaded, or its last result came, on the monotonic clock."""

    def has_room(self, files: int) -> bool:
        """Tell whether it can take so many files."""
        return self.room > 0 and not self.is_alone and (not self.held or len(self.held) + files <= self.room)


class ClusterPool:
    """The machines of a cluster as one pool; a context manager that leaves nothing behind on them."""

    is_local = False

    def __init__(
        self,
        cluster: Cluster,
        setup: NodeSetup,
        is_our_model: Callable[[ModelFacts], bool],
        should_stop: Callable[[], bool],
        limits: ClusterLimits | None = None,
    ) -> None:
        """Join nothing yet. The `sample` of the setup is taken from the first files to embed.

        A machine whose model is not the one that `is_our_model` accepts is not used.
        """
        self._cluster = cluster
        self._setup = setup
        self._is_our_model = is_our_model
        self._should_stop = should_stop
        self._limits = limits or ClusterLimits()
        self._places: dict[str, _Place] = {}
        self._present: set[str] = set()
        self._nodes: dict[int, _Node] = {}
        self._numbers = count(1)
        self._lost_with: Counter[bytes] = Counter()
        self._trust = Trust(setup.engine.fetch_cloud)
        self._fruitless_losses = 0
        self._empty_since = 0.0
        self.facts: ModelFacts | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.close()

    @property
    def machines(self) -> tuple[MachineShare, ...]:
        """What each machine has done so far, by name."""
        worked = [place for place in self._places.values() if place.pictures]
        return tuple(sorted(MachineShare(place.machine.name, place.pictures, place.rate) for place in worked))

    def start(self, files: float = math.inf) -> None:  # noqa: ARG002  # as a local pool's
        """Begin to join the cluster."""
        self._cluster.open()

    def embed(self, jobs: Iterable[Batch | ExportTowers], files: float = math.inf) -> Iterator[EmbeddedBatch]:
        """Yield what becomes of the batches among `jobs`; each file comes back exactly once.

        After a stop nothing is begun, and what is in work is waited for, but not for long. Raises `WorkersFailed` where
        no machine can be used, or what all of them say where they say alike.
        """
        queue = WorkQueue(job for job in jobs if isinstance(job, Batch))
        self._empty_since = monotonic()
        while not self._should_stop():
            if not any(node.held for node in self._nodes.values()) and not queue:
                return
            self.start(files)
            self._start_nodes(queue)
            self._feed(queue)
            for event in self._cluster.events(TICK_S):
                yield from self._take(event, queue)
            for node in [node for node in self._nodes.values() if monotonic() > node.due]:
                yield from self._lost(node, "it gives no sign of life", queue)
            self._check_machines()
        yield from self._drain()

    # Machines and their nodes

    def _start_nodes(self, queue: WorkQueue) -> None:
        """Start a node on every machine that has none and may have one."""
        for place in [self._places[machine_id] for machine_id in self._present]:
            if place.may_start and monotonic() >= place.start_at and self._take_sample(queue):
                number = next(self._numbers)
                place.node = self._nodes[number] = _Node(number, place, monotonic() + self._limits.start_s)
                unchanged = tuple(file for file in self._setup.sample if first_difference([file], PathMap()) is None)
                setup = replace(self._setup, sample=unchanged)
                self._cluster.send(StartNode(number, place.machine, VERSION, pickle.dumps(setup)))

    def _take_sample(self, queue: WorkQueue) -> bool:
        """Note some files of the next batch for the nodes to look at, once; tell whether there are any."""
        if not self._setup.sample:
            job = queue.take()
            if isinstance(job, Batch):
                queue.put_back([job])
                self._setup = replace(self._setup, sample=job.files[:: max(1, len(job.files) // SAMPLE)])
        return bool(self._setup.sample)

    def _check_machines(self) -> None:
        """Raise where no machine can be used, now or soon."""
        usable = [self._places[machine_id] for machine_id in self._present if not self._places[machine_id].refusal]
        if usable or self._nodes:
            self._empty_since = monotonic()
            return
        refused = {place.machine.name: place.refusal for place in self._places.values() if place.refusal}
        if self._present and refused:
            errors = list(refused.values())
            kind = type(errors[0]) if len(set(map(type, errors))) == 1 else WorkersFailed
            reasons = "; ".join(f"{name}: {error.problem}" for name, error in refused.items())
            raise kind(f"no machine of the cluster can be used: {reasons}", errors[0].next_step)
        if monotonic() > self._empty_since + self._limits.join_s:
            raise WorkersFailed("the cluster has no machine to work with; what is stored is kept", "see ray status")

    def _refuse(self, node: _Node, error: ImgidxError, queue: WorkQueue) -> None:
        """Use the machine of a node no more; what it holds, others embed."""
        node.place.refusal = error
        logger.warning("%s is not used: %s", node.place.machine.name, error)
        self._drop(node)
        self._put_back(node.held.values(), queue)

    def _drop(self, node: _Node) -> None:
        """End a node; what it still says is not listened to."""
        del self._nodes[node.number]
        node.place.node = None
        self._cluster.send(EndNode(node.number))

    def _lost(self, node: _Node, reason: str, queue: WorkQueue) -> Iterator[EmbeddedBatch]:
        """Take back what a lost node held; yield the failure of a file that has taken machines with it, alone."""
        place = node.place
        logger.warning("Lost %s, which held %d files: %s", place.machine.name, len(node.held), reason)
        self._drop(node)
        place.failed_starts += not node.is_accepted
        place.start_at = monotonic() + self._limits.restart_s * 2**place.failed_starts
        self._fruitless_losses += 1
        if self._fruitless_losses >= FRUITLESS_DEATHS:
            raise WorkersFailed(f"machines are lost faster than they work (the last one: {reason})", "see ray status")
        if place.failed_starts >= FAILED_STARTS:
            place.refusal = WorkersFailed(
                f"{FAILED_STARTS} nodes in a row were lost on it, the last one because {reason}"
            )
            logger.warning("%s is given up", place.machine.name)
        files = tuple(node.held.values())
        if node.is_alone:
            failure = queue.isolate(Batch(files, alone=True), None, Stage.CRASH, "the machine that tried it was lost")
            if failure is not None:
                yield _given_up(failure)
            return
        if node.is_accepted:  # else it was lost over its model, and no file is to blame
            self._lost_with.update(file.path for file in files)
        suspects = [file for file in files if self._lost_with[file.path] >= LOSSES_BEFORE_ALONE]
        queue.suspect(Batch((file,)) for file in suspects)
        self._put_back([file for file in files if self._lost_with[file.path] < LOSSES_BEFORE_ALONE], queue)

    def _put_back(self, files: Iterable[ImageFile], queue: WorkQueue) -> None:
        """Queue files again, in batches as they came."""
        queue.put_back(make_batches(files, self._setup.engine.files_per_batch()))

    # Work and its results

    def _feed(self, queue: WorkQueue) -> None:
        """Keep the nodes supplied, a batch to each in turn, so that none waits at the end while another is full."""
        size = self._setup.engine.files_per_batch()
        gifts: defaultdict[int, list[Batch]] = defaultdict(list)
        while hungry := [node for node in self._nodes.values() if node.has_room(size)]:
            node = min(hungry, key=lambda node: len(node.held) / node.room)
            batch = queue.take(alone=not node.held)
            if not isinstance(batch, Batch):
                break
            node.held.update((file.path, file) for file in batch.files)
            node.is_alone = batch.alone
            gifts[node.number].append(batch)
        for number, batches in gifts.items():
            self._cluster.send(Give(number, tuple(batches)))

    def _take(self, event: Event, queue: WorkQueue) -> Iterator[EmbeddedBatch]:
        """Act on one event; yield what is embedded."""
        match event:
            case Members():
                self._note_machines(event.machines)
            case Answered(number, answer) if number in self._nodes:
                yield from self._settle(self._nodes[number], answer, queue)
            case NodeLost(number, reason) if number in self._nodes:
                yield from self._lost(self._nodes[number], reason, queue)
            case ClusterFailed(error):
                raise error
            case LogLine():
                logging.getLogger(event.name).log(event.level, "%s", event.text)

    def _note_machines(self, machines: Iterable[Machine]) -> None:
        """Note which machines there are now. One that comes back has another id, and begins afresh."""
        self._present = {machine.machine_id for machine in machines}
        names = Counter(machine.name for machine in machines)
        for machine in machines:
            twin = names[machine.name] > 1
            name = f"{machine.name} ({machine.machine_id[:6]})" if twin else machine.name
            self._places.setdefault(machine.machine_id, _Place(replace(machine, name=name)))

    def _settle(self, node: _Node, answer: NodeAnswer, queue: WorkQueue) -> Iterator[EmbeddedBatch]:
        """Act on what a node says; yield what of it is to be stored."""
        node.due = monotonic() + self._limits.silence_s
        node.room = answer.room
        for line in answer.logs:
            logging.getLogger(line.name).log(line.level, "%s: %s", node.place.machine.name, line.text)
        if answer.facts and not node.is_accepted and not self._accept(node, answer.facts, queue):
            return
        for result in answer.results:
            yield self._settled(node, result, queue)
        if node.place.disputes >= MOST_DISPUTES:
            problem = "it does not see the pictures as this machine does, or cannot read them"
            self._refuse(node, WorkersFailed(problem, "look at its mounts and permissions"), queue)
        elif answer.error:
            self._refuse(node, answer.error, queue)

    def _accept(self, node: _Node, facts: ModelFacts, queue: WorkQueue) -> bool:
        """Tell whether the model of a node is that of the run; the first one decides where the index is new."""
        ours = self.facts
        if facts.fingerprint != ours.fingerprint if ours else not self._is_our_model(facts):
            problem = f"what it has under the name {facts.name} is another model"
            self._refuse(node, IndexMismatch(problem, "fetch the model there again: imgidx models fetch"), queue)
            return False
        self.facts = ours or facts
        node.is_accepted, node.heard_at = True, monotonic()
        return True

    def _settled(self, node: _Node, result: EmbeddedBatch, queue: WorkQueue) -> EmbeddedBatch:
        """Return what of a result is to be stored; queue again what the driver sees otherwise."""
        checked = self._trust.check(result, node.held)
        node.place.disputes += len(checked.disputed)
        self._put_back(checked.disputed, queue)
        self._count(node, len(checked.result.images))
        return checked.result

    def _count(self, node: _Node, pictures: int) -> None:
        """Count what a node has embedded, and in what time."""
        place, now = node.place, monotonic()
        place.worked_s += now - node.heard_at
        node.heard_at = now
        node.is_alone = node.is_alone and bool(node.held)
        place.pictures += pictures
        if pictures:
            place.failed_starts = self._fruitless_losses = 0

    def _drain(self) -> Iterator[EmbeddedBatch]:
        """Yield what is in work, for `drain_s` at most; nothing is begun, nothing blamed, and nothing tried again."""
        logger.warning("Stopping after the batches in flight")
        give_up = monotonic() + self._limits.drain_s
        nobody = WorkQueue(())
        for number in self._nodes:
            self._cluster.send(Finish(number))
        with suppress(ImgidxError):  # where the cluster is gone too, the next run embeds what is left
            while any(node.held for node in self._nodes.values()) and monotonic() < give_up:
                for event in self._cluster.events(TICK_S):
                    match event:
                        case Answered(number, answer) if number in self._nodes:
                            node = self._nodes[number]
                            yield from self._settle(node, answer, nobody)
                            if answer.finished and number in self._nodes:
                                self._drop(node)
                        case NodeLost(number) if number in self._nodes:
                            self._drop(self._nodes[number])


def _given_up(failure: Failure) -> EmbeddedBatch:
    """Return a batch that holds only `failure`."""
    return EmbeddedBatch((), np.zeros((0, 0), np.float32), failures=(failure,))
