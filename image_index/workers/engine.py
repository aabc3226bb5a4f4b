"""The settings of the embedding: they decide what the children of a pool are told, and how files become batches."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from image_index.errors import UsageError
from image_index.formats import Decoding
from image_index.models.names import ModelSpec, digest_weights, ensure_model
from image_index.records import Batch, ImageFile
from image_index.stop import StopRequest
from image_index.workers.devices import (
    EncoderKind,
    Precision,
    Slot,
    default_batch_size,
    default_max_pixels,
    plan_slots,
)
from image_index.workers.exported import ExportedModel, most_files
from image_index.workers.messages import ChildSetup, Loader
from image_index.workers.pool import ChildPool, PoolLimits, PoolPlan

logger = logging.getLogger(__name__)

MAX_BATCH_BYTES = 64_000
"""The largest message of a batch: two of them must fit into the socket's buffer, so that sending never waits."""

_FILE_BYTES = 32
"""The bytes of a file in the message of its batch, without its path (measured: 28)."""


@dataclass(frozen=True, slots=True)
class Engine:
    """How pictures are embedded: the device, how many children, how many pictures each takes at a time, and how.

    None means what suits the machine. `max_pixels` is the largest picture that is decoded, `math.inf` for no limit.
    With `fetch_cloud` children read files that are not on this disk, which downloads them.
    """

    device: str = "auto"
    workers: int | None = None
    batch_size: int | None = None
    max_pixels: float | None = None
    precision: Precision = Precision.AUTO
    decoding: Decoding = Decoding.FAST
    fetch_cloud: bool = False
    decode_threads: int | None = None
    limits: PoolLimits = field(default_factory=PoolLimits)
    loader: Loader | None = None
    encoder: EncoderKind = EncoderKind.AUTO

    def pool(
        self, spec: ModelSpec, stop: StopRequest, exported: ExportedModel | None = None, *, quiet: bool
    ) -> ChildPool:
        """Return a pool of children for `spec` that starts when it is told to, or given work.

        `exported` is the image tower that they may run in place of the whole model.
        """
        return ChildPool(partial(self.plan, spec, exported, quiet=quiet), self.limits, stop)

    def enough_to_start(self, exported: ExportedModel | None) -> int:
        """Return how many files have to be found before it is certain what the children are to run."""
        most = self._most_exported(exported)
        return 1 if math.isinf(most) else int(most) + 1

    def _most_exported(self, exported: ExportedModel | None) -> float:
        """Return for how many files at most the children run the exported image tower."""
        return most_files(self.encoder, self.device, self.precision, exported)

    def plan(
        self, spec: ModelSpec, exported: ExportedModel | None = None, files: float = math.inf, *, quiet: bool
    ) -> PoolPlan:
        """Return what the children of a pool for `spec` are told to embed at most so many files.

        For the whole model this downloads it if it is not there. Raises `ModelUnavailable` if it cannot be had.
        """
        if exported and files <= self._most_exported(exported):
            return self._plan_exported(spec, exported, files)
        if self.encoder is EncoderKind.ONNX:
            logger.warning("There is no exported image tower that could be used: torch runs the model")
        weights = ensure_model(spec, quiet=quiet)
        slots = plan_slots(self.device, self.workers, weights.stat().st_size)
        if self.decode_threads is not None:
            slots = tuple(replace(slot, decode_threads=self.decode_threads) for slot in slots)
        return PoolPlan(self._setup(spec, digest_weights(weights), slots), slots)

    def _plan_exported(self, spec: ModelSpec, exported: ExportedModel, files: float) -> PoolPlan:
        """Return what children that run the exported image tower are told."""
        few = files <= self.files_per_batch()
        slots = plan_slots("cpu", self.workers or (1 if few else None))
        if self.decode_threads is not None:
            slots = tuple(replace(slot, decode_threads=self.decode_threads) for slot in slots)
        exported = replace(exported, facts=replace(exported.facts, name=spec.name))
        return PoolPlan(replace(self._setup(spec, "", slots), exported=exported), slots)

    def _setup(self, spec: ModelSpec, weights_sha256: str, slots: Sequence[Slot]) -> ChildSetup:
        """Return what every child is told."""
        return ChildSetup(
            spec=spec,
            weights_sha256=weights_sha256,
            batch_size=self.files_per_batch(),
            max_pixels=self.max_pixels or default_max_pixels(slots),
            decoding=self.decoding,
            fetch_cloud=self.fetch_cloud,
            precision=self.precision,
            log_level=logging.getLogger("image_index").getEffectiveLevel(),
            loader=self.loader,
        )

    def alone(self) -> Engine:
        """Return this engine with one child."""
        return replace(self, workers=1)

    def batches(self, files: Iterable[ImageFile]) -> Iterator[Batch]:
        """Yield `files` in batches for a pool of this engine."""
        return make_batches(files, self.files_per_batch())

    def files_per_batch(self) -> int:
        """Return how many pictures a child takes at a time."""
        return self.batch_size or default_batch_size(self.device)


def make_batches(files: Iterable[ImageFile], size: int) -> Iterator[Batch]:
    """Yield `files` in batches of at most `size` pictures and about `MAX_BATCH_BYTES` of message."""
    if size < 1:
        raise UsageError("--batch-size must be at least 1")
    held: list[ImageFile] = []
    held_bytes = 0
    for file in files:
        file_bytes = len(file.path) + _FILE_BYTES
        if held and (len(held) == size or held_bytes + file_bytes > MAX_BATCH_BYTES):
            yield Batch(tuple(held))
            held, held_bytes = [], 0
        held.append(file)
        held_bytes += file_bytes
    if held:
        yield Batch(tuple(held))
