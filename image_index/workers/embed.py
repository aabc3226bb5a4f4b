"""Batch to `EmbeddedBatch`: read, hash, decode, forward; a file that fails is a `Failure`, never an exception."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from image_index.errors import DecodeError
from image_index.files import read
from image_index.records import (
    Batch,
    EmbeddedBatch,
    EmbeddedImage,
    Failure,
    ImageFile,
    Pixels,
    Stage,
    StageSeconds,
)
from image_index.workers.messages import ChildSetup, LoadedEncoder

SPARE_BYTES = 64 << 20
"""A child that cannot allocate this much is itself short of memory: what fails in it is not the picture's fault."""


SHORT = 0.99
"""An encoder leaves a vector shorter than this that has no direction: its picture is stored without one."""


class Prepared(NamedTuple):
    """A file before the forward pass: an image and its pixels (H, W, 3); a failure; or neither, if the file is gone."""

    seconds: StageSeconds
    image: EmbeddedImage | None = None
    pixels: Pixels | None = None
    failure: Failure | None = None


@dataclass(slots=True)
class BegunBatch:
    """A batch being decoded; calling `results[i]` waits until file i is ready, and returns it."""

    batch: Batch
    results: tuple[Callable[[], Prepared], ...]


@dataclass(slots=True)
class _Gathered:
    """The files of a batch before the forward pass, by what became of them; `pixels[i]` are those of `images[i]`."""

    images: list[EmbeddedImage] = field(default_factory=list)
    pixels: list[Pixels] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    vanished: list[ImageFile] = field(default_factory=list)
    seconds: StageSeconds = field(default_factory=StageSeconds)


class Embedder:
    """A loaded model, and the threads that decode the next pictures while it computes."""

    def __init__(self, encoder: LoadedEncoder, setup: ChildSetup, report: Callable[[int], None]) -> None:
        """Report each file by its position in the batch before waiting for it, and once more before the forward pass.

        Without threads, and for a batch that is `alone`, a file is opened only after it has been reported.
        """
        self.encoder = encoder
        self._setup = setup
        self._report = report
        self._threads = ThreadPoolExecutor(setup.decode_threads) if setup.decode_threads else None

    def begin(self, batch: Batch) -> BegunBatch:
        """Begin to read and decode the files of `batch`, where there are threads for that."""
        if self._threads is None or batch.alone:
            return BegunBatch(batch, tuple(partial(self._prepare, file) for file in batch.files))
        return BegunBatch(batch, tuple(self._threads.submit(self._prepare, file).result for file in batch.files))

    def embed(self, begun: BegunBatch) -> EmbeddedBatch:
        """Return what became of a batch; raises `MemoryError` if this process is itself short of memory."""
        gathered, waited_s = self._gather(begun)
        self._report(len(begun.batch.files))
        start = time.perf_counter()
        if gathered.pixels:
            vectors = self.encoder.encode_images(np.stack(gathered.pixels), pad_to=self._setup.batch_size)
        else:
            vectors = np.zeros((0, self.encoder.facts.dim), np.float32)
        forward_s = time.perf_counter() - start
        lengths = np.linalg.norm(vectors, axis=1)
        finite = np.isfinite(lengths)
        for image in (image for image, good in zip(gathered.images, finite, strict=True) if not good):
            gathered.failures.append(Failure(image.file, Stage.EMBED, "the model gave no finite vector"))
        return EmbeddedBatch(
            images=tuple(image for image, good in zip(gathered.images, finite, strict=True) if good),
            vectors=np.where(lengths[finite, np.newaxis] < SHORT, np.float32(0), vectors[finite]),
            failures=tuple(gathered.failures),
            vanished=tuple(gathered.vanished),
            seconds=gathered.seconds + StageSeconds(forward=forward_s, idle=waited_s),
        )

    def _gather(self, begun: BegunBatch) -> tuple[_Gathered, float]:
        """Wait for the files; return them, and how many seconds the model waited for the threads."""
        gathered, start = _Gathered(), time.perf_counter()
        for position, (file, result) in enumerate(zip(begun.batch.files, begun.results, strict=True)):
            self._report(position)
            prepared = result()
            gathered.seconds += prepared.seconds
            if prepared.failure:
                gathered.failures.append(prepared.failure)
                check_memory()  # only now: what an exception holds on to is free again
            elif prepared.image is None or prepared.pixels is None:
                gathered.vanished.append(file)
            else:
                gathered.images.append(prepared.image)
                gathered.pixels.append(prepared.pixels)
        in_threads = self._threads is not None and not begun.batch.alone
        return gathered, time.perf_counter() - start if in_threads else 0.0

    def _prepare(self, file: ImageFile) -> Prepared:
        """Read and decode one file."""
        from image_index.pictures import decode

        start = time.perf_counter()
        content = image = pixels = failure = None
        try:
            content = read.read_file(file.path, fetch_cloud=self._setup.fetch_cloud)
            has_read = time.perf_counter()
            picture = decode.decode(
                content, self.encoder.facts.preprocess, self._setup.max_pixels, self._setup.decoding
            )
        except (FileNotFoundError, read.DatalessError):  # gone since the scan, from the disk or into a cloud
            pass
        except OSError as error:
            failure = Failure(file, Stage.READ, error.strerror or describe(error))
        except Exception as error:  # a decoder's bug must cost this file, not its batch
            reason = str(error) if isinstance(error, DecodeError) else describe(error)
            failure = Failure(file, Stage.DECODE, reason)
        else:
            image = EmbeddedImage(content.file, content.sha256, content.read_at_ns, picture.facts, picture.grid)
            pixels = picture.pixels
        end = time.perf_counter()
        read_until = has_read if content else end
        return Prepared(StageSeconds(read=read_until - start, decode=end - read_until), image, pixels, failure)


def describe(error: BaseException) -> str:
    """Return one line about an unexpected error: its type and its text."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def check_memory() -> None:
    """Raise `MemoryError` if this process is itself short of memory."""
    bytes(SPARE_BYTES)  # these zeros are never touched: they take address space, but no time
