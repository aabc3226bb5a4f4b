"""`imgidx export` as users and scripts run it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from image_index.settings import IndexHome
from tests.support.library import Library
from tests.support.shell import Done, Shell


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Return a shell with an index of two pictures and one whose file is gone."""
    shell = Shell(tmp_path_factory.mktemp("shell"))
    library = Library(shell.directory / "photos", IndexHome(shell.index))
    library.add("a.png", "b.png", "gone.png")
    library.train()
    (library.photos / "gone.png").unlink()
    library.train()
    return shell


def test_export_says_how_many_and_where(shell: Shell, tmp_path: Path) -> None:
    """Without --missing only pictures whose file is there; the directory can be read by numpy."""
    done = shell.run("export", tmp_path / "out")
    assert done == Done(0, f"exported 2 pictures in 1 part to {tmp_path / 'out'}\n".encode(), "")
    assert np.load(tmp_path / "out/img_emb/img_emb_0.npy").shape == (2, 3)
    assert shell.run("export", tmp_path / "quiet", "-q") == Done(0, b"", "")
    assert len(shell.run("export", tmp_path / "json", "--json", "--missing").records) == 1


def test_export_as_json_has_pinned_keys(shell: Shell, tmp_path: Path) -> None:
    """A relative DIR is told in full."""
    done = shell.run("export", "here", "--format", "parquet", "--json", "--glob", "a.png")
    target = os.path.realpath(shell.directory / "here")
    assert done.records == [
        {"path": target, "format": "parquet", "images": 1, "parts": 1, "dim": 3, "without_vector": 0}
        | {"gone": 0, "mark": None}
    ]
    assert list(done.records[0]) == ["path", "format", "images", "parts", "dim", "without_vector", "gone", "mark"]


def test_export_of_rows_says_from_where_the_next_goes_on(shell: Shell, tmp_path: Path) -> None:
    """In the text, in the JSON and in the directory, each of which --since takes; missing pictures are left out."""
    rows = ("--format", "parquet", "--with-vectors")
    first = shell.run("export", tmp_path / "first", *rows)
    (mark,) = re.findall(r"^mark: (\S+)$", first.out.decode(), re.MULTILINE)
    assert first.out.startswith(b"exported 2 pictures in 1 part to ")
    (second,) = shell.run("export", tmp_path / "second", *rows, "--float32", "--json").records
    assert (second["mark"], second["images"], second["gone"]) == (mark, 2, 0)
    for since in (mark, tmp_path / "first"):
        nothing = shell.run("export", tmp_path / "third", *rows, "--since", since)
        assert (nothing.code, nothing.out) == (1, b"")
        assert "nothing has changed" in nothing.complaint
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize(
    "options",
    [
        ("--with-vectors",),
        ("--format", "parquet", "--float32"),
        ("--format", "parquet", "--since", "x"),
        ("--format", "parquet", "--with-vectors", "--since", "x"),
    ],
)
def test_options_of_rows_that_make_no_sense_are_wrong_use(
    shell: Shell, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Nothing is written."""
    done = shell.run("export", tmp_path / "out", *options)
    assert done.code == 2
    assert "--" in done.complaint
    assert not (tmp_path / "out").exists()


def test_nothing_to_export_is_exit_1(shell: Shell, tmp_path: Path) -> None:
    """No directory is made."""
    done = shell.run("export", tmp_path / "out", "--glob", "none.*", "--json")
    assert (done.code, done.out) == (1, b"")
    assert "nothing to export" in done.complaint
    assert not list(tmp_path.iterdir())


def test_wrong_use_and_no_index(shell: Shell, tmp_path: Path) -> None:
    """A directory that holds something is 2, no index 4; nothing is made."""
    full = shell.run("export", shell.directory / "photos")
    assert (full.code, full.out) == (2, b"")
    assert "is not an empty directory" in full.complaint
    assert shell.run("export", tmp_path / "out", "--format", "csv").code == 2
    assert Shell(tmp_path).run("export", tmp_path / "out").code == 4
    assert not (tmp_path / "out").exists()
