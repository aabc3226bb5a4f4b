"""What `imgidx doctor` sees of an installation and says of an index."""

from __future__ import annotations

import re
import sqlite3
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from image_index.present.doctor import short_home
from image_index.settings import IndexHome
from image_index.upkeep import doctor
from tests.support.library import make_index
from tests.support.shell import Shell
from tests.test_architecture import HEAVY, loaded_by

pytestmark = pytest.mark.slow


def seen(shell: Shell) -> dict[str, Any]:
    """Return what `imgidx doctor --json` says."""
    done = shell.run("doctor", "--json")
    assert (done.code, done.err) == (0, "")
    (record,) = done.records
    return record


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
    brought = {name: [re.split(r"[\[<>=]", package)[0] for package in brings] for name, brings in extras.items()}
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
