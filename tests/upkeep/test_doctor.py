"""What `imgidx doctor` sees of an installation and of an index in any state, and that it only looks."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import tomllib
from contextlib import closing, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from image_index.catalog import schema
from image_index.catalog.catalog import Catalog
from image_index.catalog.lock import exclusive_lock, find_holder
from image_index.catalog.schema import MIGRATIONS, SCHEMA_VERSION
from image_index.errors import ModelUnavailable
from image_index.present.doctor import short_home
from image_index.records import DerivedState
from image_index.settings import IndexHome
from image_index.upkeep import doctor
from image_index.upkeep.health import examine_index
from tests.catalog.test_lock import holder_of
from tests.support.library import make_index, random_batch
from tests.support.shell import Shell
from tests.test_architecture import HEAVY, loaded_by

pytestmark = pytest.mark.slow


def snapshot(directory: Path) -> dict[str, tuple[bytes, int]]:
    """Return the content and modification time of every file below a directory."""
    return {
        str(path.relative_to(directory)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in directory.rglob("*")
        if path.is_file()
    }


def seen(shell: Shell) -> dict[str, Any]:
    """Return what `imgidx doctor --json` says."""
    done = shell.run("doctor", "--json")
    assert (done.code, done.err) == (0, "")
    (record,) = done.records
    return record


@pytest.fixture
def home(tmp_path: Path) -> IndexHome:
    """Return an index of twenty pictures."""
    made = IndexHome(tmp_path / "index")
    make_index(made)
    return made


def test_without_an_index_it_describes_the_machine(tmp_path: Path) -> None:
    """There is no problem in having none yet; nothing is made, and the home directory is not named."""
    record = seen(Shell(tmp_path, {"IMGIDX_INDEX": str(tmp_path / "none"), "NO_COLOR": "1"}))
    assert record["index"]["path"] == "~/none"
    assert (record["index"]["exists"], record["index"]["catalog"]) == (False, None)
    assert record["packages"]["torch"] == metadata.version("torch")
    assert record["packages"]["sqlite"] == sqlite3.sqlite_version
    assert record["environment"]["NO_COLOR"] == "1"
    assert record["models"]["bundled"] == ["starter"]
    assert record["problems"] == []
    assert str(tmp_path) not in str(record)
    assert not (tmp_path / "none").exists()


def test_a_good_index_has_no_problem(tmp_path: Path, home: IndexHome) -> None:
    """But for the text tower, which this one was made without."""
    before = snapshot(tmp_path)
    found = examine_index(home)
    assert found.catalog is not None
    assert (found.catalog.counts.images, found.catalog.model_is_here) == (20, True)
    assert (found.catalog.faiss, found.catalog.moments) == (DerivedState.CURRENT, DerivedState.CURRENT)
    assert [problem.subject for problem in found.problems()] == ["text"]
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
    assert (found.catalog.faiss, found.catalog.moments, found.catalog.text) == ("behind", "damaged", "absent")
    assert [problem.subject for problem in found.problems()] == ["moments.f32", "text"]


@pytest.mark.parametrize(
    ("error", "problem"), [(None, "it was killed"), (ModelUnavailable("no model"), "it failed: no model")]
)
def test_how_the_last_run_ended_is_a_problem(home: IndexHome, error: Exception | None, problem: str) -> None:
    """A killed run left nothing behind; one that failed said why."""
    with Catalog(home.catalog, write=True) as catalog:
        if error is None:
            catalog.start_run()
        else:
            with suppress(ModelUnavailable), catalog.run():
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


@pytest.mark.parametrize("content", [b"SQLite format 3\0" + b"\xff" * 5000, b"", b"no database at all" * 100])
def test_a_damaged_catalog_is_a_problem_with_a_next_step(tmp_path: Path, content: bytes) -> None:
    """And still everything else is shown."""
    shell = Shell(tmp_path)
    shell.index.mkdir()
    (shell.index / "catalog.sqlite3").write_bytes(content)
    done = shell.run("doctor")
    assert done.code == 0
    lines = done.out.decode().splitlines()
    assert any(line.startswith("! index: ") for line in lines)
    assert any(line.startswith("packages ") for line in lines)
    assert (shell.index / "catalog.sqlite3").read_bytes() == content


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


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import time; time.sleep(60)", "did not answer in 0.5 s"),
        ("raise ImportError('no libcuda')", "no libcuda"),
        ("print('hello')", "no answer that can be read"),
    ],
)
def test_a_torch_that_does_not_work_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, error: str
) -> None:
    """It never takes the report with it."""
    monkeypatch.setattr(doctor, "ASK_TORCH", code)
    seconds = 0.5 if "sleep" in code else 20
    report = doctor.examine(IndexHome(tmp_path / "none"), seconds)
    (problem,) = report.problems()
    assert problem.subject == "devices"
    assert error in problem.problem


def test_it_loads_nothing_heavy(tmp_path: Path) -> None:
    """torch is asked in a process of its own; the index is of no picture, but there."""
    home = IndexHome(tmp_path / "index")
    make_index(home)
    assert not loaded_by("doctor", index=home.path) & (HEAVY | {"PIL"})


def test_the_extras_are_those_of_the_project() -> None:
    """And each is looked for by a package that it brings."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: brings for name, brings in project["optional-dependencies"].items() if name != "all"}
    brought = {name: [re.split("[<>=]", package)[0] for package in brings] for name, brings in extras.items()}
    assert set(doctor.EXTRAS) == set(brought)
    assert all(package in brought[name] for name, package in doctor.EXTRAS.items())


def test_the_home_directory_is_shortened_where_a_path_begins_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nowhere else."""
    monkeypatch.setenv("HOME", "/home/ada")
    assert short_home("/home/ada/x and (/home/ada)") == "~/x and (~)"
    assert short_home("/mnt/home/ada/x /home/ada.old /home/adam") == "/mnt/home/ada/x /home/ada.old /home/adam"


def test_a_torch_py_in_the_working_directory_is_not_run(tmp_path: Path) -> None:
    """A directory of pictures may hold anything."""
    (tmp_path / "torch.py").write_text("open('run', 'w')", encoding="utf-8")
    record = seen(Shell(tmp_path, {"IMGIDX_INDEX": str(tmp_path / "none")}))
    assert record["devices"]["error"] is None
    assert not (tmp_path / "run").exists()
