"""The state of one index, read without changing a byte of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from image_index.catalog.lock import find_holder
from image_index.catalog.reader import CatalogReader
from image_index.catalog.runs import KILLED, Runs
from image_index.errors import ImgidxError, IndexNotFound, StorageError
from image_index.models import tower_files
from image_index.models.names import locate_weights, parse_model
from image_index.records import Counts, DerivedState, KnownRun, ModelFacts, Outcome
from image_index.settings import IndexHome
from image_index.vectors import derived_file
from image_index.vectors.vector_file import vectors_state

LITTLE_SPACE_BYTES = 500_000_000
"""With less than that free on its disk, an index is near to being stopped."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be, and what to do about it; what is `derived` a rebuild mends."""

    subject: str
    problem: str
    next_step: str
    derived: bool = False

    @classmethod
    def of(cls, subject: str, error: ImgidxError) -> Problem:
        """Return what an error says of `subject`."""
        return cls(subject, error.problem, error.next_step or "see docs/reliability.md")

    def __str__(self) -> str:
        return f"{self.subject}: {self.problem}; {self.next_step}"


@dataclass(frozen=True, slots=True)
class CatalogHealth:
    """What the catalog says of itself, and how its derived files stand to it."""

    schema: int
    counts: Counts
    model: ModelFacts | None
    model_is_here: bool
    last_run: KnownRun | None
    vectors: DerivedState
    faiss: DerivedState
    moments: DerivedState
    towers: DerivedState


@dataclass(frozen=True, slots=True)
class IndexHealth:
    """The state of an index; `error` says why its catalog could not be read, None where there is none to read."""

    home: Path
    exists: bool
    writable: bool
    size_bytes: int
    free_bytes: int | None
    locked_by: str | None
    catalog: CatalogHealth | None
    error: ImgidxError | None
    read_only_disk: bool = False

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong, each with the next step."""
        if self.error:
            yield Problem.of("index", self.error)
        if self.exists and self.read_only_disk:
            yield Problem("index", "its disk is mounted read-only", "mount it for writing, or use another --index")
        elif self.exists and not self.writable:
            yield Problem("index", "this user may not write to it", "train as its owner, or with another --index")
        if self.free_bytes is not None and self.free_bytes < LITTLE_SPACE_BYTES:
            yield Problem("disk", f"{self.free_bytes / 1e6:.0f} MB are free", "free some space, or use another --index")
        if self.catalog:
            yield from _catalog_problems(self.catalog, self.home, running=self.locked_by is not None)


def examine_index(home: IndexHome) -> IndexHealth:
    """Return the state of the index at `home`, whatever is there."""
    exists, catalog = os.path.lexists(home.catalog), None
    error: ImgidxError | None = None
    try:
        with CatalogReader(home.catalog, untouched=True) as reader:
            catalog = _examine_catalog(reader, home)
    except IndexNotFound:
        pass
    except ImgidxError as refusal:
        error = refusal
    except OSError as refusal:
        problem = f"cannot read {refusal.filename or home.path}: {refusal.strerror}"
        error = StorageError(problem, "look at its owner and permissions")
    writable = os.access(home.path, os.W_OK) and (not exists or os.access(home.catalog, os.W_OK))
    return IndexHealth(
        home.path,
        exists or error is not None,
        writable,
        _size(home),
        _free(home.path),
        find_holder(home.lock),
        catalog,
        error,
        not writable and _is_read_only(home.path),
    )


def _examine_catalog(reader: CatalogReader, home: IndexHome) -> CatalogHealth:
    """Return what the catalog says, and how the derived files stand to it."""
    model, stamp = reader.read_model(), reader.stamp()
    return CatalogHealth(
        schema=reader.read_schema(),
        counts=reader.counts(),
        model=model,
        model_is_here=model is None or _is_here(model),
        last_run=Runs(reader).last(),
        vectors=vectors_state(home, stamp.catalog_id, now=stamp, thorough=False)[0],
        faiss=derived_file.state(home.faiss, stamp.catalog_id, now=stamp, thorough=False)[0],
        moments=derived_file.state(home.moments, stamp.catalog_id, now=stamp, thorough=False)[0],
        towers=tower_files.state(home.towers, model.fingerprint)[0] if model else DerivedState.ABSENT,
    )


def _is_here(model: ModelFacts) -> bool:
    """Tell whether the weights of the index's model are on this machine."""
    try:
        return locate_weights(parse_model(model.name)) is not None
    except ImgidxError:
        return False


def _is_read_only(path: Path) -> bool:
    """Tell whether the file system of a directory is mounted read-only."""
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _size(home: IndexHome) -> int:
    """Return how much disk the index takes, as far as this user can see it."""
    try:
        return home.size_bytes()
    except OSError:
        return 0


def _free(path: Path) -> int | None:
    """Return the free space where the index is, or would be made."""
    for place in (path, *path.parents):
        try:
            return shutil.disk_usage(place).free
        except OSError:
            continue
    return None


def _way_to(model: str) -> str:
    """Return how a model comes to this machine."""
    if model.startswith("local-dir:"):
        return "put its directory there, or say where it is now: imgidx train --model local-dir:DIR"
    return f"imgidx models fetch {model}"


def _catalog_problems(catalog: CatalogHealth, home: Path, *, running: bool) -> Iterator[Problem]:
    """Yield what is wrong with a catalog that can be read, and with what is derived from it."""
    if catalog.counts.failures:
        yield Problem("catalog", f"pictures that could not be read: {catalog.counts.failures}", "imgidx failures")
    if not catalog.model_is_here and catalog.model:
        yield Problem(
            "model",
            f"{catalog.model.name}, with which the index was made, is not on this machine",
            _way_to(catalog.model.name),
        )
    if running:  # what follows is then under way
        return
    run = catalog.last_run
    if run and run.outcome is Outcome.FAILED:
        how = "it was killed" if run.error == KILLED else f"it failed: {run.error}"
        yield Problem("last run", how, "imgidx train goes on where it ended")
    states = {"vectors.f16": catalog.vectors, "moments.f32": catalog.moments, "towers": catalog.towers}
    if catalog.faiss is not DerivedState.ABSENT or catalog.counts.images > derived_file.FLAT_LIMIT:
        states["index.faiss"] = catalog.faiss
    for name, state in states.items():
        if state is DerivedState.DAMAGED and name == "towers":
            yield Problem(name, f"those in {home / name} {tower_files.fault(home / name)}", tower_files.EXPORTED_AGAIN)
        elif state is DerivedState.DAMAGED:
            yield Problem(name, f"{home / name} is damaged", "imgidx verify --repair, then imgidx train")
        elif state is DerivedState.ABSENT and catalog.counts.images > catalog.counts.without_vector:
            yield Problem(name, f"{home / name} is not there, so searches are slower", "imgidx train makes it")
