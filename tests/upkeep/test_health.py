"""The state of an index, whatever it is in, and that looking changes nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from image_index.catalog import schema
from image_index.catalog.catalog import Catalog
from image_index.catalog.lock import exclusive_lock, find_holder
from image_index.catalog.runs import Run, Runs
from image_index.catalog.schema import MIGRATIONS, SCHEMA_VERSION
from image_index.errors import ModelUnavailable
from image_index.records import DerivedState
from image_index.settings import IndexHome
from image_index.stop import StopRequest
from image_index.upkeep.health import LITTLE_SPACE_BYTES, examine_index
from tests.catalog.test_lock import holder_of
from tests.support.library import make_index, random_batch


def snapshot(directory: Path) -> dict[str, tuple[bytes, int]]:
    """Return the content and modification time of every file below a directory."""
    return {
        str(path.relative_to(directory)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def home(home: IndexHome) -> IndexHome:
    """Return an index of twenty pictures."""
    make_index(home)
    return home


def test_a_good_index_has_no_problem(tmp_path: Path, home: IndexHome) -> None:
    """But for the towers, which this one was made without."""
    before = snapshot(tmp_path)
    found = examine_index(home)
    assert found.catalog is not None
    assert (found.catalog.counts.images, found.catalog.model_is_here) == (20, True)
    assert (found.catalog.vectors, found.catalog.moments) == (DerivedState.CURRENT, DerivedState.CURRENT)
    assert [problem.subject for problem in found.problems()] == ["towers"]
    assert snapshot(tmp_path) == before


def test_derived_files_are_told_apart(home: IndexHome) -> None:
    """One that is behind is no problem: a search makes up for it."""
    with Catalog(home.catalog, write=True) as catalog:
        catalog.record(random_batch(5, seed=2))
    damaged = bytearray(home.moments.read_bytes())
    damaged[0] ^= 1
    home.moments.write_bytes(damaged)
    found = examine_index(home)
    assert found.catalog is not None
    assert (found.catalog.vectors, found.catalog.moments, found.catalog.towers) == ("behind", "damaged", "absent")
    assert [problem.subject for problem in found.problems()] == ["moments.f32", "towers"]


@pytest.mark.parametrize(
    ("model", "step"),
    [("local-dir:/gone", "put its directory there"), ("hf-hub:a/b", "imgidx models fetch hf-hub:a/b")],
)
def test_a_model_that_is_not_here_is_a_problem(home: IndexHome, model: str, step: str) -> None:
    """It is fetched from the hub; a directory of one's own is not."""
    with Catalog(home.catalog, write=True) as catalog:
        facts = catalog.read_model()
        assert facts is not None
        catalog.set_model(replace(facts, name=model))
    (found,) = (problem for problem in examine_index(home).problems() if problem.subject == "model")
    assert found.next_step.startswith(step)


@pytest.mark.parametrize(
    ("error", "problem"), [(None, "it was killed"), (ModelUnavailable("no model"), "it failed: no model")]
)
def test_how_the_last_run_ended_is_a_problem(home: IndexHome, error: Exception | None, problem: str) -> None:
    """A killed run left nothing behind; one that failed said why."""
    with Catalog(home.catalog, write=True) as catalog:
        if error is None:
            Run(catalog, StopRequest()).begin()
        else:
            with suppress(ModelUnavailable), Runs(catalog).recorded() as run:
                run.begin()
                raise error
    assert [found.problem for found in examine_index(home).problems() if found.subject == "last run"] == [problem]


def test_what_a_killed_run_left_in_the_journal_is_read_and_left_there(tmp_path: Path, home: IndexHome) -> None:
    """A reader that is not told to keep still would move the journal into the catalog and delete it."""
    with Catalog(home.catalog, write=True) as catalog:
        catalog.record(random_batch(5, seed=2))
        copy = IndexHome(tmp_path / "copy")
        shutil.copytree(home.path, copy.path)  # as a power cut would leave it
    assert copy.catalog.with_name("catalog.sqlite3-wal").stat().st_size
    before = snapshot(copy.path)
    found = examine_index(copy)
    assert found.catalog is not None
    assert found.catalog.counts.images == 25
    assert snapshot(copy.path) == before


def test_an_old_schema_stays_as_it_is(home: IndexHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte: it is described, and not migrated."""
    before = snapshot(home.path)
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, ("CREATE TABLE later (a)",)))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    found = examine_index(home)
    assert found.catalog is not None
    assert (found.catalog.schema, found.catalog.counts.images) == (SCHEMA_VERSION, 20)
    assert snapshot(home.path) == before


def test_another_programs_database_is_said_to_be_one(tmp_path: Path) -> None:
    """It is not touched."""
    home = IndexHome(tmp_path)
    with closing(sqlite3.connect(home.catalog)) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
    before = snapshot(tmp_path)
    found = examine_index(home)
    (problem,) = found.problems()
    assert "is not an imgidx catalog" in problem.problem
    assert problem.next_step == "use another --index"
    assert snapshot(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_index_is_read(home: IndexHome) -> None:
    """With a word on it."""
    home.path.chmod(0o500)
    try:
        found = examine_index(home)
    finally:
        home.path.chmod(0o700)
    assert found.catalog is not None
    assert any("may not write" in problem.problem for problem in found.problems())


@pytest.mark.parametrize(("flag", "problem"), [(os.ST_RDONLY, "mounted read-only"), (0, "this user may not write")])
def test_a_read_only_disk_is_not_the_users_fault(
    home: IndexHome, monkeypatch: pytest.MonkeyPatch, flag: int, problem: str
) -> None:
    """Nobody may write to one, its owner included."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    disk = SimpleNamespace(f_flag=flag, f_frsize=4096, f_blocks=1 << 30, f_bfree=1 << 29, f_bavail=1 << 29)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    found = examine_index(home)
    assert not found.writable
    (said,) = (one.problem for one in found.problems() if one.subject == "index")
    assert problem in said


def test_the_holder_of_the_lock_is_named(home: IndexHome) -> None:
    """And the lock can be taken afterwards, and was never made where there was none."""
    assert find_holder(home.lock) is None
    assert not home.lock.exists()
    with holder_of(home.lock) as process:
        assert examine_index(home).locked_by == str(process.pid)
        process.kill()
        process.wait()
    assert examine_index(home).locked_by is None
    with exclusive_lock(home.lock):
        pass


def test_a_disk_that_is_nearly_full_is_a_problem(home: IndexHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it stops a run; one with room is none."""
    for free, problems in ((LITTLE_SPACE_BYTES - 1, ["500 MB are free"]), (LITTLE_SPACE_BYTES, [])):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        found = examine_index(home)
        assert found.free_bytes == free
        assert [problem.problem for problem in found.problems() if problem.subject == "disk"] == problems


def test_an_index_that_is_not_there_has_no_problem(tmp_path: Path) -> None:
    """And the free space is that of the disk where it would be made."""
    found = examine_index(IndexHome(tmp_path / "not/there/yet"))
    assert (found.exists, found.catalog, found.size_bytes) == (False, None, 0)
    assert found.free_bytes is not None
    assert list(found.problems()) == []


def test_while_a_run_writes_what_it_will_mend_is_no_problem(home: IndexHome) -> None:
    """Its run is not over, and its files are not there yet."""
    home.vector_table.unlink()
    with Catalog(home.catalog, write=True) as catalog:
        Run(catalog, StopRequest()).begin()
    with holder_of(home.lock):
        assert list(examine_index(home).problems()) == []
    assert {problem.subject for problem in examine_index(home).problems()} == {"last run", "vectors.f16", "towers"}
