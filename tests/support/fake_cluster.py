"""A cluster in this process, without Ray and without pictures: its machines do what a file's name says, in steps."""

from __future__ import annotations

import os
import pickle
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from image_index.cluster.messages import (
    Answered,
    EndNode,
    Event,
    Finish,
    Give,
    Machine,
    Members,
    NodeAnswer,
    NodeLost,
    NodeSetup,
    Order,
    StartNode,
)
from image_index.cluster.paths import PathMap
from image_index.errors import ImgidxError, WorkersFailed
from image_index.records import Batch, EmbeddedBatch, Failure, ImageFile, ModelFacts, Stage
from image_index.workers.engine import Engine
from tests.support.fake_models import FACTS, SPEC
from tests.support.records import embedded_image

ROOM = 12
"""How many files a node takes at most."""

SETUP = NodeSetup(Engine("cpu", workers=1, batch_size=4), SPEC, (), PathMap(), 30)


@dataclass
class FakeNode:
    """A node: one batch is done in each step, unless it `hangs`."""

    machine: FakeMachine
    setup: NodeSetup
    batches: deque[Batch] = field(default_factory=deque)
    finishing: bool = False

    @property
    def held(self) -> int:
        """How many files it holds."""
        return sum(len(batch.files) for batch in self.batches)


@dataclass
class FakeMachine:
    """A machine and how its nodes behave."""

    name: str
    facts: ModelFacts = FACTS
    error: ImgidxError | None = None
    sees_nothing: bool = False
    hangs: bool = False
    dies_loading: bool = False
    embedded: int = 0

    def as_seen(self) -> Machine:
        """Return it as Ray lists it; its id is its name backwards."""
        return Machine(self.name[::-1], self.name.partition("/")[0], 1, 0)


class FakeCluster:
    """Machines that can be added and taken away at any time."""

    def __init__(self, *machines: FakeMachine) -> None:
        self.machines = list(machines)
        self.nodes: dict[int, FakeNode] = {}
        self.losses = 0
        self.given: Counter[bytes] = Counter()
        self.most_held = 0
        self.opened = self.closed = self.gone = False
        self.before_step: Callable[[], None] = lambda: None
        self._events: list[Event] = []

    def open(self) -> None:
        """Be there."""
        self.opened = True

    def close(self) -> None:
        """End every node."""
        self.closed = True
        self.nodes.clear()

    def send(self, order: Order) -> None:
        """Carry out an order at once."""
        match order:
            case StartNode():
                machine = next(one for one in self.machines if one.as_seen().machine_id == order.machine.machine_id)
                self.nodes[order.number] = FakeNode(machine, pickle.loads(order.setup))
                answer = NodeAnswer(room=ROOM, facts=machine.facts)
                if machine.error:
                    answer = NodeAnswer(error=machine.error, finished=True)
                self._events.append(
                    self._lost(order.number) if machine.dies_loading else Answered(order.number, answer)
                )
            case Give(number, batches):
                node = self.nodes[number]
                node.batches.extend(batches)
                self.given.update(file.path for batch in batches for file in batch.files)
                self.most_held = max(self.most_held, node.held)
            case Finish(number):
                self.nodes[number].finishing = True
            case EndNode(number):
                self.nodes.pop(number, None)

    def events(self, timeout_s: float) -> list[Event]:  # noqa: ARG002  # the real one's signature
        """Let every node do one batch; say what came of it."""
        self.before_step()
        if self.gone:
            raise WorkersFailed("the cluster is gone")
        events: list[Event] = [Members(tuple(machine.as_seen() for machine in self.machines)), *self._events]
        self._events = []
        for number, node in list(self.nodes.items()):
            if node.batches and not node.machine.hangs:
                events.append(self._step(number, node))
            elif node.finishing:
                events.append(Answered(number, NodeAnswer(finished=True)))
            elif not node.machine.hangs:  # a sign of life
                events.append(Answered(number, NodeAnswer(room=ROOM, facts=node.machine.facts)))
        return events

    def say(self, event: Event) -> None:
        """Let this be among the next events."""
        self._events.append(event)

    def lose(self, machine: FakeMachine) -> None:
        """Lose the nodes of a machine, which itself stays."""
        for number in [number for number, node in self.nodes.items() if node.machine is machine]:
            self._events.append(self._lost(number))

    def _step(self, number: int, node: FakeNode) -> Event:
        batch = node.batches.popleft()
        names = [os.path.basename(file.path) for file in batch.files]
        if any(name.startswith(b"kills") for name in names):
            return self._lost(number)
        finished = node.finishing
        if finished:
            node.batches.clear()
        result = embedded(batch.files, sees_nothing=node.machine.sees_nothing)
        node.machine.embedded += len(result.images)
        return Answered(number, NodeAnswer((result,), room=ROOM, facts=node.machine.facts, finished=finished))

    def _lost(self, number: int) -> NodeLost:
        self.losses += 1
        del self.nodes[number]
        return NodeLost(number, "it was unplugged")


def embedded(files: Sequence[ImageFile], *, sees_nothing: bool = False) -> EmbeddedBatch:
    """Return what a machine makes of files: by their names some are unreadable, some changed."""
    if sees_nothing:
        return EmbeddedBatch((), np.zeros((0, 3), np.float32), vanished=tuple(files))
    bad = [file for file in files if os.path.basename(file.path).startswith(b"unreadable")]
    good = [file for file in files if file not in bad]
    seen = [replace_size(file) if b"changed" in file.path else file for file in good]
    images = tuple(embedded_image(file, file.path) for file in seen)
    failures = tuple(Failure(file, Stage.READ, "Permission denied") for file in bad)
    return EmbeddedBatch(images, np.ones((len(images), 3), np.float32), failures)


def replace_size(file: ImageFile) -> ImageFile:
    """Return another file at the same path."""
    return file._replace(size=file.size + 1)


def other_model(facts: ModelFacts = FACTS) -> ModelFacts:
    """Return another model of the same name."""
    return replace(facts, weights_sha256="f" * 64)
