"""A library of real pictures, runs over it in processes that can be killed, and what its index is found to hold."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
from PIL import Image, ImageEnhance

from image_index.catalog.catalog import Catalog
from image_index.records import Ids, Vectors
from image_index.search.ranking import SearchOptions
from image_index.settings import IndexHome
from image_index.vectors.vector_file import VectorFile, open_vectors
from tests.faults.driver import Orders
from tests.faults.tally import Tally, verdict
from tests.support.library import search
from tests.support.photos import REPOSITORY, SAMPLE_PHOTOS
from tests.support.vector_files import are_whole

DEADLINE_S = 300.0
SIDE = 96
"""The longer side of a picture, in pixels."""


def source_photos(count: int) -> list[Path]:
    """Return up to `count` of the sample photos, spread over what there is."""
    photos = sorted(path for path in SAMPLE_PHOTOS.iterdir() if path.suffix in {".jpg", ".png"})
    return photos[:: max(1, len(photos) // count)][:count]


def make_photos(directory: Path, count: int, seed: int, prefix: str = "photo") -> None:
    """Write `count` small JPEGs, each a variation of a real photo, with times long before any read."""
    rng = random.Random(seed)
    originals = [_small(path) for path in source_photos(40)]
    for number in range(count):
        image = originals[number % len(originals)]
        left, top = rng.randrange(image.width // 2), rng.randrange(image.height // 2)
        varied = image.crop((left, top, left + image.width // 2, top + image.height // 2))
        varied = ImageEnhance.Brightness(varied).enhance(rng.uniform(0.6, 1.4))
        path = directory / f"{number % 10}" / f"{prefix}-{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        varied.save(path, quality=rng.randrange(70, 95))
        os.utime(path, (10**9 + number, 10**9 + number))


def _small(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.thumbnail((2 * SIDE, 2 * SIDE))
        return image.convert("RGB")


@dataclass(frozen=True, slots=True)
class Row:
    """What an index holds of a picture."""

    image_id: int
    sha256: bytes
    vector: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: its exit code, what its driver printed, and whether it had to be killed for its deadline."""

    code: int
    result: Mapping[str, Any]
    hung: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """A process group that works on an index."""

    process: subprocess.Popen[str]
    started: float

    def kill(self) -> None:
        """Kill the group, and wait until its leader is gone."""
        _signal_group(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def finish(self, deadline_s: float = DEADLINE_S) -> Outcome:
        """Wait for the end; past the deadline the group is killed."""
        hung = False
        try:
            output, _ = self.process.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            hung, output = True, ""
        _signal_group(self.process.pid, signal.SIGKILL)
        if hung:
            self.process.communicate()
        lines = [line for line in output.splitlines() if line.startswith("{")]
        result = json.loads(lines[-1]) if lines else {}
        return Outcome(self.process.returncode, result, hung, time.monotonic() - self.started)

    def is_over(self, within_s: float) -> bool:
        """Wait for the end, but not for long; tell whether it came."""
        try:
            self.process.wait(max(0.0, within_s))
        except subprocess.TimeoutExpired:
            return False
        return True


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):  # macOS says so of a group of zombies
        return


@dataclass(frozen=True, slots=True)
class Target:
    """Pictures and an index of them, in a directory that goes when it is left."""

    directory: Path
    count: int

    @property
    def photos(self) -> Path:
        """The root."""
        return self.directory / "photos"

    @property
    def home(self) -> IndexHome:
        """The index under attack."""
        return IndexHome(self.directory / "index")

    @property
    def journal(self) -> Path:
        """A file of one byte for each picture embedded."""
        return self.directory / "journal"

    def elsewhere(self, name: str) -> Self:
        """Return the same pictures with another index."""
        other = type(self)(self.directory / name, self.count)
        other.directory.mkdir()
        other.photos.symlink_to(self.photos.resolve())
        return other

    def start(self, pause_s: float = 0.0, **orders: Any) -> Run:
        """Start a driver."""
        photos, index = str(self.photos.resolve()), str(self.home.path)
        text = json.dumps(asdict(Orders(photos, index, **orders)))
        variables = {"FAKE_MODEL_PAUSE_S": str(pause_s), "FAKE_MODEL_JOURNAL": str(self.journal)}
        return start([sys.executable, "-m", "tests.faults.driver", text], variables)

    def run(self, deadline_s: float = DEADLINE_S, **orders: Any) -> Outcome:
        """Let a driver run to its end."""
        return self.start(**orders).finish(deadline_s)

    def rows(self) -> dict[bytes, Row]:
        """Return what the index holds, by path."""
        if not self.home.catalog.exists():
            return {}
        with Catalog(self.home.catalog) as catalog:
            known = list(catalog.known(os.fsencode(self.photos.resolve())))
            vectors = {  # read last: a run beside this may add some
                int(image_id): vector.tobytes()
                for ids, chunk in catalog.vectors_after(0)
                for image_id, vector in zip(ids, chunk.astype(np.float16), strict=True)
            }
        return {image.path: Row(image.id, image.sha256, vectors.get(image.id, b"")) for image in known}

    def failed(self) -> dict[str, str]:
        """Return the stage at which each failure failed, by the name of its file."""
        with Catalog(self.home.catalog) as catalog:
            found = [known.failure for known in catalog.failures()]
        return {os.path.basename(os.fsdecode(failure.file.path)): str(failure.stage) for failure in found}


@contextmanager
def library(count: int, seed: int) -> Iterator[Target]:
    """Give a library of `count` pictures that has no index yet."""
    with TemporaryDirectory(prefix="imgidx-faults-", ignore_cleanup_errors=True) as directory:
        made = Target(Path(directory).resolve(), count)
        make_photos(made.photos, count, seed)
        yield made


def start(command: list[str], variables: Mapping[str, str]) -> Run:
    """Start a command as the leader of its own process group."""
    environment = {**os.environ, **variables, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=None if "FAULTS_DEBUG" in os.environ else subprocess.DEVNULL,
        text=True,
        env=environment,
        cwd=REPOSITORY,
        start_new_session=True,
    )
    return Run(process, time.monotonic())


# What is checked


def compare(before: Mapping[bytes, Row], after: Mapping[bytes, Row]) -> Tally:
    """Count what was stored before and is gone, or was embedded again: that has a new id."""
    lost = sum(path not in after for path in before)
    twice = sum(path in after and after[path].image_id != row.image_id for path, row in before.items())
    return Tally("", lost=lost, embedded_twice=twice)


def answers(made: Target, rows: Mapping[bytes, Row]) -> Tally:
    """Check that the index, as a kill left it, is whole and answers."""
    if not made.home.catalog.exists():
        return Tally("")
    with Catalog(made.home.catalog) as catalog:
        count, problems, failures = (
            catalog.counts().images,
            list(catalog.integrity_problems()),
            catalog.counts().failures,
        )
        found = True
        for path, row in list(rows.items())[:: max(1, len(rows) // 4)]:
            vector = np.frombuffer(row.vector, np.float16).astype(np.float32)
            hits = search(catalog, made.home, vector / np.linalg.norm(vector), SearchOptions(limit=None))
            found &= len(hits) == count and hits[0].score > 0.999 and path in {hit.path for hit in hits}
    return verdict(
        (not problems, f"the catalog is damaged: {problems}"),
        (count == len(rows), f"{count} counted, {len(rows)} there"),
        (failures == 0, f"{failures} failures"),
        (found, "a stored picture is not found by its own vector"),
    )


def agrees(made: Target, expected: Mapping[bytes, Row]) -> Tally:
    """Check that the index equals that of an undisturbed run, and FAISS numpy."""
    rows = made.rows()
    lost = sum(path not in rows for path in expected)
    other = sum((row.sha256, row.vector) != _content(rows.get(path)) for path, row in expected.items()) - lost
    with Catalog(made.home.catalog) as catalog:
        stamp = catalog.stamp()
        index = open_vectors(made.home, stamp.catalog_id)
        ids, vectors = next(catalog.vectors_after(0, chunk=10**9))
    checks = verdict(
        (len(rows) == len(expected), f"{len(rows)} pictures instead of {len(expected)}"),
        (other == 0, f"{other} pictures have another hash or vector"),
        (index is not None and index.stamp == stamp, "vectors.f16 is not of the catalog as it is"),
        (index is not None and _agree(index, ids, vectors), "vectors.f16 does not agree with the catalog"),
        (are_whole(made.home), "vectors.f16 is damaged"),
        (not list(made.home.path.glob("*.tmp")), "a draft was left behind"),
    )
    return checks + Tally("", lost=lost)


def _agree(index: VectorFile, ids: Ids, vectors: Vectors) -> bool:
    """Tell whether the file gives every id, with the scores that numpy computes, for a sample of the vectors."""
    for vector in vectors[:: max(1, len(vectors) // 20)]:
        scores, found, _ = index.search(vector, len(ids), ids)
        exact = np.sort(vectors @ vector)[::-1]
        if sorted(found) != sorted(ids) or not np.allclose(scores, exact, atol=1e-5):
            return False
    return True


def _content(row: Row | None) -> tuple[bytes, bytes] | None:
    return (row.sha256, row.vector) if row else None
