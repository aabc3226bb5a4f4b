"""What runs in a child: load the model once, before the first job, then turn batches of files into unit vectors.

Nothing heavy is imported before the child needs it: the thread counts in its environment must be read first, and the
parent, which imports this module too, never loads torch.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
import warnings
from collections import deque
from contextlib import suppress
from dataclasses import replace

from image_index.errors import ModelUnavailable, UsageError
from image_index.records import Batch, StageSeconds
from image_index.workers.channel import Channel, ChannelClosed
from image_index.workers.embed import BegunBatch, Embedder, check_memory, describe
from image_index.workers.messages import (
    ChildSetup,
    DeviceFailed,
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
from image_index.workers.onnx_encoder import load_model

OUT_OF_MEMORY = 12
"""The exit code of a child that is short of memory: ENOMEM."""

DEVICE_FAILED = 5
"""The exit code of a child whose device computes no more: EIO."""

logger = logging.getLogger("image_index.worker")  # readers of logs rely on the name, wherever this module lies


class _ChannelHandler(logging.Handler):
    """Sends log records to the parent, which alone writes to the terminal."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; a parent that is gone hears nothing."""
        with suppress(ChannelClosed):
            self._channel.send(LogLine(record.name, record.levelno, record.getMessage()))


def main(descriptor: int) -> None:
    """Serve the parent on the socket `descriptor` until it says stop or is gone: here every child begins.

    The first message is its `ChildSetup`.
    """
    obey_parent()
    try:
        os.getcwd()
    except FileNotFoundError:  # torch does not load in a directory that has been deleted
        os.chdir("/")
    channel = Channel(socket.socket(fileno=descriptor))
    try:
        setup = channel.receive()
        log_to(channel, setup.log_level)
        _Child(channel, setup).serve()
    except ChannelClosed:
        pass
    except MemoryError:  # another child tries what this one held
        os._exit(OUT_OF_MEMORY)
    except DeviceFailed as error:
        logger.warning("The device computes no more: %s", error)
        os._exit(DEVICE_FAILED)
    # Leave without tearing torch down: on Metal that aborts (pytorch #82702), and it takes half a second everywhere.
    os._exit(0)


def obey_parent() -> None:
    """Leave every signal to the parent, and end with it."""
    ignore_signals()
    threading.Thread(target=_die_with_parent, daemon=True).start()


def ignore_signals() -> None:
    """Ignore what a person or the system sends to the whole run."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the parent decides: a batch in flight is finished and stored


def _die_with_parent() -> None:
    """End this process as soon as its parent is gone, whatever it is doing."""
    # The end of the channel is seen only by a child that reads from it. One that decodes or computes would go on for
    # up to minutes as an orphan, and take cores and memory from the run that is started next.
    os.read(0, 1)  # the parent holds the other end of standard input, and writes nothing to it
    os._exit(1)


def log_to(channel: Channel, level: int) -> None:
    """Send what this process logs to the parent, and nothing to stderr."""
    warnings.simplefilter("ignore")  # Pillow warns of damaged metadata; what matters comes as a failure
    root = logging.getLogger()
    root.handlers = [_ChannelHandler(channel)]
    root.setLevel(max(level, logging.WARNING))  # other people's libraries: warnings only
    logging.getLogger("image_index").setLevel(level)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # results alone go there; torch's exporter prints what it cannot do
    if level > logging.INFO:  # libtiff and libjpeg print to stderr by themselves
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


class _Child:
    """The state of a child process: its channel, its one model, and the jobs it has taken in."""

    def __init__(self, channel: Channel, setup: ChildSetup) -> None:
        self._channel = channel
        self._setup = setup
        self._embedder: Embedder | None = None
        self._jobs: deque[Job | BegunBatch | None] = deque()
        self._seconds = StageSeconds()
        """Seconds that belong to no batch (loading, waiting); they are reported with the next one."""

    def serve(self) -> None:
        """Preload the model, then answer one message after the other."""
        logger.info("Preloading embedding model in worker process")
        self._initialise(final=False)
        while (job := self._next_job()) is not None:
            embedder = self._embedder or self._initialise(final=True)
            if embedder:
                self._answer(job, embedder)

    def _next_job(self) -> Job | BegunBatch | None:
        """Return the oldest job; the threads, if there are any, begin to decode the batches that came in behind it."""
        start = time.perf_counter()
        if not self._jobs:
            self._jobs.append(self._begun(self._channel.receive()))
        self._seconds += StageSeconds(idle=time.perf_counter() - start)
        while self._setup.decode_threads and self._channel.is_readable():
            self._jobs.append(self._begun(self._channel.receive()))
        return self._jobs.popleft()

    def _begun(self, job: Job | None) -> Job | BegunBatch | None:
        return self._embedder.begin(job) if self._embedder and isinstance(job, Batch) else job

    def _initialise(self, *, final: bool) -> Embedder | None:
        """Load the model and report; an error is sent as a message, not raised. `final` at the second try."""
        from image_index.pictures import decode

        setup, start = self._setup, time.perf_counter()
        try:
            decode.prepare()
            encoder = load_model(setup)
        except Exception as error:
            if not final and not isinstance(error, UsageError):  # a device that is not there does not appear
                logger.warning("Preloading failed (%s); trying once more with the first batch", error)
            self._channel.send(NotReady(_reason(error), final, usage=isinstance(error, UsageError)))
            return None
        logger.info("Model loaded. Embedding dim: %d", encoder.facts.dim)
        logger.info("Embedding model preloaded successfully in worker process")
        self._seconds += StageSeconds(load=time.perf_counter() - start)
        self._channel.send(Ready(encoder.facts))
        self._embedder = Embedder(encoder, setup, self._report)
        return self._embedder

    def _answer(self, job: Job | BegunBatch, embedder: Embedder) -> None:
        """Do one job and send what came of it."""
        try:
            if isinstance(job, EncodeTexts):
                self._channel.send(Encoded(embedder.encoder.encode_texts(job.texts)))
            elif isinstance(job, ExportTowers):
                embedder.encoder.export_towers(job.directory)
                self._channel.send(Exported())
            else:
                result = embedder.embed(embedder.begin(job) if isinstance(job, Batch) else job)
                result = replace(result, seconds=result.seconds + self._seconds)
                self._seconds = StageSeconds()
                self._channel.send(Embedded(result, embedder.encoder.memory_bytes()))
        except (ChannelClosed, MemoryError, DeviceFailed):
            raise
        except Exception as error:
            failed = JobFailed(_reason(error), by_system=isinstance(error, OSError | ModelUnavailable))
        else:
            return
        check_memory()  # only now: the exception held on to the frames that raised it, and to their pixels
        self._channel.send(failed)

    def _report(self, position: int) -> None:
        self._channel.send(Working(position))


def _reason(error: Exception) -> str:
    """Return one line about an error: what it says of itself, or what it is where that was not expected."""
    return str(error) if isinstance(error, ModelUnavailable | UsageError) else describe(error)
