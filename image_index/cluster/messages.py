"""What driver, client and nodes say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from typing import Protocol

from image_index.cluster.paths import PathMap
from image_index.errors import ImgidxError
from image_index.models.names import ModelSpec
from image_index.records import Batch, EmbeddedBatch, ImageFile, ModelFacts
from image_index.workers.engine import Engine
from image_index.workers.messages import LogLine

VERSION = metadata.version("imgidx")
"""The version of imgidx in this process; a node has to be of its driver's."""

RUN_AGAIN = "see that ray status answers there, and run again"
"""The next step where the cluster is gone."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of the cluster: Ray's id of it, its name, and the cores and GPUs that Ray says it has."""

    machine_id: str
    name: str
    cores: float
    gpus: float


@dataclass(frozen=True, slots=True)
class NodeSetup:
    """What a node is told when it starts; it has to see the files of `sample` as the driver does."""

    engine: Engine
    spec: ModelSpec
    sample: tuple[ImageFile, ...]
    path_map: PathMap
    log_level: int


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """What a node has to say since it was last asked.

    `room` is how many files it may hold, 0 until its children have loaded the model. `facts` are what that is.
    With an `error` its machine cannot be used; one that is `finished` says nothing more.
    """

    results: tuple[EmbeddedBatch, ...] = ()
    logs: tuple[LogLine, ...] = ()
    room: int = 0
    facts: ModelFacts | None = None
    error: ImgidxError | None = None
    finished: bool = False


@dataclass(frozen=True, slots=True)
class MachineReport:
    """What `imgidx doctor --cluster` is told by a machine; `sees` says of each root whether it is there."""

    imgidx: str
    python: str
    platform: str
    cores: int
    memory_bytes: int
    gpus: int
    sees: dict[str, bool]


# Driver to client: orders. The driver numbers its nodes; None ends the client.


@dataclass(frozen=True, slots=True)
class Connect:
    """Join the cluster at `address`: `auto`, `HOST:PORT` or `ray://HOST:PORT`. The first order."""

    address: str
    log_level: int


@dataclass(frozen=True, slots=True)
class StartNode:
    """Start a node on a machine; `setup` is a pickled `NodeSetup`, which only a node of this `version` may open."""

    number: int
    machine: Machine
    version: str
    setup: bytes


@dataclass(frozen=True, slots=True)
class Give:
    """Give a node batches."""

    number: int
    batches: tuple[Batch, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """Let a node finish what its children have in work, and begin nothing."""

    number: int


@dataclass(frozen=True, slots=True)
class EndNode:
    """End a node now."""

    number: int


@dataclass(frozen=True, slots=True)
class Examine:
    """Ask a machine for its `MachineReport`."""

    machine: Machine
    roots: tuple[bytes, ...]
    path_map: PathMap


Order = StartNode | Give | Finish | EndNode | Examine


# Client to driver: events.


@dataclass(frozen=True, slots=True)
class Members:
    """The machines that the cluster has now."""

    machines: tuple[Machine, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """What a node has said."""

    number: int
    answer: NodeAnswer


@dataclass(frozen=True, slots=True)
class NodeLost:
    """A node is gone, or cannot be reached."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Examined:
    """What a machine said of itself, or why it said nothing."""

    machine: Machine
    report: MachineReport | str


@dataclass(frozen=True, slots=True)
class ClusterFailed:
    """The cluster cannot be joined, or is gone."""

    error: ImgidxError


Event = Members | Answered | NodeLost | Examined | ClusterFailed | LogLine


class Cluster(Protocol):
    """The machines as the driver sees them; `client.ClusterClient` is the real one, tests bring their own."""

    def open(self) -> None:
        """Begin to join the cluster; once that is done, this does nothing."""

    def send(self, order: Order) -> None:
        """Give an order, which is carried out later."""

    def events(self, timeout_s: float) -> list[Event]:
        """Wait for events, at most so long. Raises `WorkersFailed` where the cluster is gone."""

    def close(self) -> None:
        """End every node and leave the cluster."""
