"""A pool without children: it reads files in this process, and makes a vector of what a file contains, undecoded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Self

import numpy as np

from image_index.errors import DecodeError
from image_index.files.read import read_file
from image_index.records import (
    Batch,
    EmbeddedBatch,
    EmbeddedImage,
    Failure,
    ImageFile,
    MachineShare,
    ModelFacts,
    PictureFacts,
    Stage,
)
from image_index.workers.messages import Exported, ExportTowers, JobFailed
from tests.support.fake_models import FACTS
from tests.support.library import starter_digest

PNG_END = b"IEND\xaeB`\x82"
"""How every whole PNG ends: what does not is a failure."""


class PoolHere:
    """Embeds in this process; `cut` are the paths of files that were not whole when they were read."""

    is_local = True

    def __init__(self) -> None:
        self.facts: ModelFacts | None = replace(FACTS, name="starter", weights_sha256=starter_digest())
        self.machines: tuple[MachineShare, ...] = ()
        self.cut: list[bytes] = []

    def made(self, *_: object) -> Self:
        """Return itself: what `UpdateRequest.make_pool` is for."""
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self, files: float = math.inf) -> None:
        """Nothing takes time."""

    def embed(
        self,
        jobs: Iterable[Batch | ExportTowers],
        files: float = math.inf,  # noqa: ARG002  # that of any pool
    ) -> Iterator[EmbeddedBatch | Exported | JobFailed]:
        """Yield what becomes of the batches."""
        for job in jobs:
            if isinstance(job, Batch):
                yield self._embed(job)

    def _embed(self, batch: Batch) -> EmbeddedBatch:
        images, failures, vanished = list[EmbeddedImage](), list[Failure](), list[ImageFile]()
        for file in batch.files:
            try:
                content = read_file(file.path)
            except FileNotFoundError:
                vanished.append(file)
            except (OSError, DecodeError) as error:
                failures.append(Failure(file, Stage.READ, str(error)))
            else:
                if content.data.endswith(PNG_END):
                    facts = PictureFacts(8, 8, "png")
                    images.append(EmbeddedImage(content.file, content.sha256, content.read_at_ns, facts))
                else:
                    self.cut.append(file.path)
                    failures.append(Failure(content.file, Stage.DECODE, "the file is cut short"))
        seeds = [np.frombuffer(image.sha256[:24], np.int64).astype(np.float32) for image in images]
        vectors = np.array([seed / np.linalg.norm(seed) for seed in seeds], np.float32).reshape(-1, 3)
        return EmbeddedBatch(tuple(images), vectors, tuple(failures), tuple(vanished))
