"""What parent and child say to each other, and what a child is told when it starts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from image_index.models.names import ModelSpec
from image_index.records import EmbeddedBatch, ModelFacts, Pixels, Vectors
from image_index.workers.devices import Precision


class LoadedEncoder(Protocol):
    """What a child needs of a model; `image_index.workers.encoder.Encoder` is the real one, tests bring their own."""

    @property
    def facts(self) -> ModelFacts:
        """What the model is."""

    @property
    def device(self) -> object:
        """The device it is on; its text names it."""

    def encode_images(self, pixels: Pixels, pad_to: int = 0) -> Vectors:
        """Return unit vectors (N, D) of pictures (N, H, W, 3)."""

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors (N, D) of texts."""

    def memory_bytes(self) -> int:
        """Return the memory that grows with use."""


Loader = Callable[[ModelSpec, str, str, Precision], LoadedEncoder]
"""Loads a model: spec, hex SHA-256 of its weights, device, precision."""


@dataclass(frozen=True, slots=True)
class ChildSetup:
    """Everything a child is told when it starts; `loader` None means the real encoder.

    Its slot sets the device and the threads that decode: 0 where each picture is decoded when its turn has come.
    """

    spec: ModelSpec
    weights_sha256: str
    device: str = "auto"
    decode_threads: int = 0
    batch_size: int = 16
    max_pixels: int | None = None
    exact_decode: bool = False
    precision: Precision = Precision.AUTO
    log_level: int = logging.WARNING
    loader: Loader | None = None


# Parent to child: a Batch, EncodeTexts, ExportText, or None to stop.


@dataclass(frozen=True, slots=True)
class EncodeTexts:
    """Texts to encode."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExportText:
    """The model's text tower is wanted as files, in a directory that is not there yet."""

    directory: str


# Child to parent:


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded; `seconds` is how long that took."""

    facts: ModelFacts
    device: str
    seconds: float


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
class BatchFailed:
    """A batch raised as a whole; the child lives on."""

    reason: str


@dataclass(frozen=True, slots=True)
class Encoded:
    """Texts are encoded."""

    vectors: Vectors


NO_TOWER = "the model has no text tower to export"
"""The refusal of an encoder that does not know how."""


@dataclass(frozen=True, slots=True)
class Exported:
    """The text tower is written, or else refused, for that reason; `lost` where the child died of it."""

    refusal: str | None
    lost: bool = False


@dataclass(slots=True)
class Errand:
    """What the first child that is ready does before its first batch; `outcome` is what came of it."""

    job: ExportText
    given: bool = False
    outcome: Exported | None = None


@dataclass(frozen=True, slots=True)
class LogLine:
    """A log record of the child, for the parent's logs."""

    name: str
    level: int
    text: str
