"""What runs in a child: load the model once, before the first job, then turn batches of files into unit vectors.

Nothing heavy is imported before the child needs it, so
that the thread counts in its environment hold and that the parent, which imports this module, never loads torch.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import parent_process

import numpy as np

from image_index.channel import Channel, ChannelClosed
from image_index.errors import DecodeError, ModelUnavailable, UsageError
from image_index.messages import (
    BatchFailed,
    ChildSetup,
    Embedded,
    Encoded,
    EncodeTexts,
    LoadedEncoder,
    Loader,
    LogLine,
    NotReady,
    Ready,
    Working,
)
from image_index.records import (
    Batch,
    EmbeddedBatch,
    EmbeddedImage,
    Failure,
    ImageFile,
    ModelFacts,
    Pixels,
    Stage,
    StageSeconds,
)

OUT_OF_MEMORY = 12
"""The exit code of a child that is short of memory: ENOMEM."""

SPARE_BYTES = 64 << 20
"""A child that cannot get as much is short of memory itself: what fails in it is no picture's fault."""

logger = logging.getLogger(__name__)


class _ChannelHandler(logging.Handler):
    """Sends log records to the parent, which alone writes to the terminal."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; a parent that is gone hears nothing."""
        with suppress(ChannelClosed):
            self._channel.send(LogLine(record.name, record.levelno, record.getMessage()))


def run_child(channel: Channel, setup: ChildSetup) -> None:
    """Serve the parent on `channel` until it says stop or is gone; the entry point of every child."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the parent decides: a batch in flight is finished and stored
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _log_to(channel, setup.log_level)
    try:
        _Child(channel, setup).serve()
    except ChannelClosed:
        pass
    except MemoryError:  # another child tries what this one held
        os._exit(OUT_OF_MEMORY)
    # Leave without tearing torch down: on Metal that aborts (pytorch #82702), and it takes half a second everywhere.
    os._exit(0)


def _die_with_parent() -> None:
    """End this process as soon as its parent is gone, whatever it is doing."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _log_to(channel: Channel, level: int) -> None:
    """Send what this process logs or warns of to the parent."""
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers = [_ChannelHandler(channel)]
    root.setLevel(max(level, logging.WARNING))  # other people's libraries: warnings only
    logging.getLogger("image_index").setLevel(level)
    if level > logging.INFO:  # libtiff and libjpeg print to stderr by themselves; what matters comes as a failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    logging.getLogger("py.warnings").setLevel(logging.ERROR if level > logging.DEBUG else logging.WARNING)


class _Child:
    """The state of a child process: its channel and its one model."""

    def __init__(self, channel: Channel, setup: ChildSetup) -> None:
        self._channel = channel
        self._setup = setup
        self._encoder: LoadedEncoder | None = None

    def serve(self) -> None:
        """Preload the model, then answer one message after the other."""
        logger.info("Preloading embedding model in worker process")
        self._initialise(final=False)
        while (job := self._channel.receive()) is not None:
            if self._encoder is None and not self._initialise(final=True):
                continue
            self._answer(job)

    def _initialise(self, *, final: bool) -> bool:
        """Load the model and report; nothing is raised across the process border."""
        from image_index import decode

        setup, start = self._setup, time.perf_counter()
        try:
            decode.prepare()
            self._encoder = encoder = (setup.loader or _real_loader())(setup.spec, setup.weights_sha256, setup.device)
        except Exception as error:
            if not final and not isinstance(error, UsageError):  # a device that is not there does not appear
                logger.warning("Preloading failed (%s); trying once more with the first batch", error)
            reason = str(error) if isinstance(error, ModelUnavailable | UsageError) else describe(error)
            self._channel.send(NotReady(reason, final, usage=isinstance(error, UsageError)))
            return False
        logger.info("Model loaded. Embedding dim: %d", encoder.facts.dim)
        logger.info("Embedding model preloaded successfully in worker process")
        self._channel.send(Ready(encoder.facts, str(encoder.device), time.perf_counter() - start))
        return True

    def _answer(self, job: Batch | EncodeTexts) -> None:
        """Do one job and send what came of it."""
        assert self._encoder is not None
        try:
            if isinstance(job, EncodeTexts):
                self._channel.send(Encoded(self._encoder.encode_texts(job.texts)))
            else:
                result = embed_batch(job, self._encoder, self._setup, self._report)
                self._channel.send(Embedded(result, self._encoder.memory_bytes()))
        except (ChannelClosed, MemoryError):
            raise
        except Exception as error:
            failed = BatchFailed(describe(error))
        else:
            return
        _insist_on_memory()
        self._channel.send(failed)

    def _report(self, position: int) -> None:
        self._channel.send(Working(position))


def _real_loader() -> Loader:
    """Import torch, in this process, now."""
    from image_index.encoder import load_encoder

    return load_encoder


def describe(error: BaseException) -> str:
    """Return one line about an unexpected error: its type and its text."""
    return " ".join(f"{type(error).__name__}: {error}".split())


@dataclass(slots=True)
class _Prepared:
    """What a batch has come to before its forward pass."""

    images: list[EmbeddedImage]
    pixels: list[Pixels]
    failures: list[Failure]
    vanished: list[ImageFile]
    seconds: StageSeconds


def embed_batch(
    batch: Batch, encoder: LoadedEncoder, setup: ChildSetup, report: Callable[[int], None]
) -> EmbeddedBatch:
    """Read, hash, decode and embed the files of `batch`; a file that fails is a `Failure`, never an exception.

    `report` is called with the position of each file before it is opened, and once more before the forward pass.
    """
    done = _Prepared([], [], [], [], StageSeconds())
    for position, file in enumerate(batch.files):
        report(position)
        failed_before = len(done.failures)
        _prepare(file, encoder.facts, setup, done)
        if len(done.failures) > failed_before:
            _insist_on_memory()  # only now: what an exception holds on to is free again
    report(len(batch.files))
    start = time.perf_counter()
    if done.pixels:
        vectors = encoder.encode_images(np.stack(done.pixels), pad_to=setup.batch_size)
    else:
        vectors = np.zeros((0, encoder.facts.dim), np.float32)
    finite = np.asarray(np.isfinite(vectors).all(axis=1))
    for image in (image for image, good in zip(done.images, finite, strict=True) if not good):
        done.failures.append(Failure(image.file, Stage.EMBED, "the model gave no finite vector"))
    return EmbeddedBatch(
        images=tuple(image for image, good in zip(done.images, finite, strict=True) if good),
        vectors=vectors[finite],
        failures=tuple(done.failures),
        vanished=tuple(done.vanished),
        seconds=replace(done.seconds, forward=time.perf_counter() - start),
    )


def _prepare(file: ImageFile, facts: ModelFacts, setup: ChildSetup, done: _Prepared) -> None:
    """Read and decode one file into `done`."""
    from image_index import decode

    start = time.perf_counter()
    read = start
    try:
        content = decode.read_file(file.path)
        read = time.perf_counter()
        picture = decode.decode(content, facts.preprocess, setup.max_pixels)
    except FileNotFoundError:
        done.vanished.append(file)
    except OSError as error:
        done.failures.append(Failure(file, Stage.READ, error.strerror or describe(error)))
    except Exception as error:  # a decoder's bug must cost this file, not its batch
        reason = str(error) if isinstance(error, DecodeError) else describe(error)
        done.failures.append(Failure(file, Stage.DECODE, reason))
    else:
        done.pixels.append(picture.pixels)
        facts_of_file = (content.sha256, content.read_at_ns, picture.width, picture.height, picture.format)
        done.images.append(EmbeddedImage(content.file, *facts_of_file))
    done.seconds += StageSeconds(read=read - start, decode=time.perf_counter() - read)


def _insist_on_memory() -> None:
    """Raise `MemoryError` where this process is short of memory itself."""
    bytes(SPARE_BYTES)  # zeros that are never touched take address space, and no time
