"""The messages between parent and child, and the setup that a child is started with."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from image_index.formats import Decoding
from image_index.models.names import ModelSpec
from image_index.records import Batch, EmbeddedBatch, ModelFacts, Pixels, Vectors
from image_index.workers.devices import Precision
from image_index.workers.exported import ExportedModel


class DeviceFailed(RuntimeError):
    """A device other than the CPU cannot compute; no picture is at fault, and the process that used it must end."""

    # After most CUDA errors nothing more can be computed in that process, so every later picture would fail as well.


class LoadedEncoder(Protocol):
    """A loaded model as a child uses it; `workers.encoder.Encoder` is the real one, tests bring their own."""

    @property
    def facts(self) -> ModelFacts:
        """What decides the vectors of the model."""

    def encode_images(self, pixels: Pixels, pad_to: int = 0) -> Vectors:
        """Return unit vectors (N, D) of pictures (N, H, W, 3); raises `DeviceFailed`."""

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors (N, D) of texts."""

    def export_towers(self, directory: str) -> None:
        """Write both towers to the new `directory`; raises what keeps them from being exported.

        This is the last thing that is asked of an encoder: the pool then ends the child.
        """

    def memory_bytes(self) -> int:
        """Return the memory that grows with use."""


Loader = Callable[[ModelSpec, str, str, Precision], LoadedEncoder]
"""Loads a model: spec, hex SHA-256 of its weights, device, precision."""


@dataclass(frozen=True, slots=True)
class ChildSetup:
    """Everything a child is told when it starts; `loader` None means the real encoder.

    With `exported` it runs that image tower. The digest of the weights may then be empty: the child makes it where it
    has to load the whole model after all.

    The device and the number of threads that decode are those of its slot. With 0 threads each picture is decoded when
    its turn comes, in the thread that runs the model.
    """

    spec: ModelSpec
    weights_sha256: str
    device: str = "auto"
    decode_threads: int = 0
    batch_size: int = 16
    max_pixels: float = math.inf
    decoding: Decoding = Decoding.FAST
    fetch_cloud: bool = False
    precision: Precision = Precision.AUTO
    log_level: int = logging.WARNING
    loader: Loader | None = None
    exported: ExportedModel | None = None


# Parent to child: a job, or None to stop. A job that is `alone` has no other job of its child beside or behind it.


@dataclass(frozen=True, slots=True)
class EncodeTexts:
    """Encode texts; answered by `Encoded`."""

    texts: tuple[str, ...]
    alone: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class ExportTowers:
    """Write the model's towers to `directory`, which is not there yet; answered by `Exported`."""

    directory: str
    alone: ClassVar[bool] = True


Job = Batch | EncodeTexts | ExportTowers
"""What a child is given to do; it does one after the other, and answers each with one message."""


# Child to parent:


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded."""

    facts: ModelFacts


@dataclass(frozen=True, slots=True)
class NotReady:
    """The model could not be loaded; `final` after the second try, `usage` where the device asked for is not there."""

    reason: str
    final: bool
    usage: bool = False


@dataclass(frozen=True, slots=True)
class Working:
    """A sign of life: the child is about to read file `position` of its batch, or, past the last, to embed them all."""

    position: int


@dataclass(frozen=True, slots=True)
class Embedded:
    """A batch is done."""

    result: EmbeddedBatch
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class JobFailed:
    """A job raised as a whole. The child lives on, unless `lost`: then it is the parent who says so.

    `by_system`: the system refused something, such as room on the disk, or a file of the model is damaged; the job may
    succeed another time.
    """

    reason: str
    lost: bool = False
    by_system: bool = False


@dataclass(frozen=True, slots=True)
class Encoded:
    """Texts are encoded."""

    vectors: Vectors


@dataclass(frozen=True, slots=True)
class Exported:
    """The towers are written."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A log record of the child, for the parent's logs."""

    name: str
    level: int
    text: str
