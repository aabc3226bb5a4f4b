"""Loaders that stand in for the real encoder in spawned children; some of them misbehave.

A child imports this module by name. `load` also puts a hook around `read.read_file`, the narrowest seam at which a
picture can do harm, so that a file's name says what reading it does to the process.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from image_index.files import read
from image_index.models.names import ModelSpec
from image_index.records import ModelFacts, Pixels, Preprocess, Vectors
from image_index.workers.devices import Precision
from image_index.workers.messages import DeviceFailed

SPEC = ModelSpec("fake", "fake", None)
FACTS = ModelFacts("fake", "0" * 64, "{}", Preprocess((8, 8), (0, 0, 0), (1, 1, 1)), 3)
RED = (255, 0, 0)
"""A picture of this colour kills its child in the forward pass."""

GREY = (128, 128, 128)
"""A picture of this colour has no direction for the model, as a flat grey has none for the bundled one."""

FIRST_TRY = "FAKE_MODEL_FIRST_TRY"
"""Environment variable with the path of a file that marks that a load was tried."""

PAUSE_S = "FAKE_MODEL_PAUSE_S"
"""Environment variable with the seconds that reading any picture takes."""

JOURNAL = "FAKE_MODEL_JOURNAL"
"""Environment variable with the path of a file that grows by one byte for each picture embedded."""

EATEN_BYTES = 256 << 20
"""How much more a picture that eats memory may have before its child has none left."""


class Unpicklable(Exception):
    """An exception that no pipe can carry."""

    def __init__(self) -> None:
        super().__init__("cannot be pickled")
        self.lock = threading.Lock()


class FakeEncoder:
    """Gives each picture the unit vector of its mean colour, and one of `GREY` a vector of zeros."""

    def __init__(self, spec: ModelSpec, weights_sha256: str, device: str = "fake") -> None:
        self.device = device
        self.facts = replace(FACTS, name=spec.name, weights_sha256=weights_sha256)
        self.batches = 0

    def encode_images(self, pixels: Pixels, pad_to: int = 0) -> Vectors:  # noqa: ARG002  # the real one's signature
        """Return the mean colours (N, 3) at unit length."""
        self.batches += 1
        means = pixels.mean(axis=(1, 2)).astype(np.float32)
        if (means == RED).all(axis=1).any():
            os.kill(os.getpid(), signal.SIGKILL)
        is_grey = (means == GREY).all(axis=1)
        means += 1e-3
        vectors: Vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
        vectors[is_grey] = 0
        if JOURNAL in os.environ:
            with open(os.environ[JOURNAL], "ab", buffering=0) as journal:
                journal.write(b"." * len(means))
        return vectors

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return a vector (N, 3) that tells the length of each text; some texts do harm, one asks for threads."""
        if "unpicklable" in texts:
            raise Unpicklable
        if "deadly" in texts:
            os.kill(os.getpid(), signal.SIGKILL)
        if "device" in texts:
            return np.array([[float(self.device.rpartition(":")[2]), 0, 0]], np.float32)
        if "threads" in texts:
            return np.array([[int(os.environ["OMP_NUM_THREADS"]), "HF_HUB_OFFLINE" in os.environ, 0]], np.float32)
        return np.array([[len(text), 0, 0] for text in texts], np.float32)

    def export_towers(self, directory: str) -> None:  # noqa: ARG002  # the real one's signature
        """Refuse."""
        raise RuntimeError("a fake model has no text tower")

    def memory_bytes(self) -> int:
        """Pretend to grow by a megabyte a batch."""
        return self.batches << 20


_read_file = read.read_file


def _read_or_harm(path: bytes, *, fetch_cloud: bool = False) -> read.FileContent:
    """Do what the file's name says, then read it."""
    name = os.path.basename(path).decode(errors="replace")
    time.sleep(float(os.environ.get(PAUSE_S, "0")))
    if name.startswith("dies-"):
        os.kill(os.getpid(), signal.Signals[re.split("[-.]", name)[1]])
        time.sleep(60)
    if name.startswith("kills-parent"):
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    if name.startswith("hangs"):
        time.sleep(600)
    if name.startswith("eats"):
        _eat_memory()
    if name.startswith("raises-unpicklable"):
        raise Unpicklable
    if name.startswith("slow"):
        time.sleep(0.2)
    if name.startswith("unreadable"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return _read_file(path, fetch_cloud=fetch_cloud)


def _eat_memory() -> None:
    """Take memory until there is no more; the limit stays, so that whatever comes next has to live with it."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + EATEN_BYTES, resource.RLIM_INFINITY))
    eaten = []
    while True:
        eaten.append(bytearray(16 << 20))


def load(spec: ModelSpec, weights_sha256: str, device: str, precision: Precision = Precision.AUTO) -> FakeEncoder:
    """Load a model that works, with the hook around reading."""
    read.read_file = _read_or_harm
    return FakeEncoder(spec, weights_sha256, device)


def load_at_second_try(
    spec: ModelSpec, weights_sha256: str, device: str, precision: Precision = Precision.AUTO
) -> FakeEncoder:
    """Fail once per test."""
    mark = Path(os.environ[FIRST_TRY])
    if not mark.exists():
        mark.touch()
        raise OSError("not yet")
    return FakeEncoder(spec, weights_sha256, device)


class SlowExporter(FakeEncoder):
    """Takes longer for an export than for a batch, as real ones do."""

    def export_towers(self, directory: str) -> None:
        """Refuse, after a while."""
        time.sleep(0.5)
        super().export_towers(directory)


def load_slow_exporter(
    spec: ModelSpec, weights_sha256: str, device: str, precision: Precision = Precision.AUTO
) -> FakeEncoder:
    """Load a model that exports slowly."""
    return SlowExporter(spec, weights_sha256, device)


class FailingDevice(FakeEncoder):
    """Computes on a device that fails, once per test where the environment names a mark for that."""

    def encode_images(self, pixels: Pixels, pad_to: int = 0) -> Vectors:
        """Fail, or return the mean colours."""
        mark = os.environ.get(FIRST_TRY)
        if mark is None or not Path(mark).exists():
            Path(mark or os.devnull).touch()
            raise DeviceFailed("CUDA error: an illegal memory access was encountered")
        return super().encode_images(pixels, pad_to)


def load_on_failing_device(
    spec: ModelSpec, weights_sha256: str, device: str, precision: Precision = Precision.AUTO
) -> FakeEncoder:
    """Load a model onto a device that fails."""
    return FailingDevice(spec, weights_sha256, device)


def load_never(spec: ModelSpec, weights_sha256: str, device: str, precision: Precision = Precision.AUTO) -> FakeEncoder:
    """Fail with an exception that cannot be pickled."""
    raise Unpicklable


def load_and_die(
    spec: ModelSpec, weights_sha256: str, device: str, precision: Precision = Precision.AUTO
) -> FakeEncoder:
    """Die as a forked child does in Metal's compiler service."""
    os.kill(os.getpid(), signal.SIGABRT)
    raise AssertionError


def load_and_hang(
    spec: ModelSpec, weights_sha256: str, device: str, precision: Precision = Precision.AUTO
) -> FakeEncoder:
    """Never come back."""
    time.sleep(600)
    raise AssertionError


def load_and_kill_all(
    spec: ModelSpec, weights_sha256: str, device: str, precision: Precision = Precision.AUTO
) -> FakeEncoder:
    """Kill the whole process group, the parent included."""
    os.killpg(0, signal.SIGKILL)
    raise AssertionError


class MeasuredEncoder(FakeEncoder):
    """Tells how much memory its process has really taken at most."""

    def memory_bytes(self) -> int:
        """Return the largest resident size so far."""
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def load_measured(
    spec: ModelSpec, weights_sha256: str, device: str, precision: Precision = Precision.AUTO
) -> FakeEncoder:
    """Load a model that works, in a process whose memory is watched."""
    return MeasuredEncoder(spec, weights_sha256, device)
