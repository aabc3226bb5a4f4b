"""Storage that comes and goes: a disk half there costs no row, and the message says what is kept and how to drop it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from image_index.paths import resolve
from image_index.settings import IndexHome
from image_index.upkeep.maintenance import forget
from tests.support.confined import run_confined
from tests.support.library import Library, contents, counts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

TRAIN = """
import sys
from pathlib import Path
from image_index.settings import IndexHome
from tests.support.library import Library
Library(Path(sys.argv[1]), IndexHome(Path(sys.argv[2]))).train()
"""
"""What takes new pictures in, by a model that costs nothing; the command is asked where there is none."""


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """Return an indexed library of two disks with two pictures each, and one beside them."""
    made = Library(tmp_path / "photos", IndexHome(tmp_path / "index"))
    made.add("a.png", "disk-1/b.png", "disk-1/c.png", "disk-2/in/d.png", "disk-2/e.png")
    made.train()
    return made


def test_half_a_root_that_cannot_be_read_costs_no_row_and_not_the_other_half(library: Library) -> None:
    """A directory refused, as a failing disk does: exit 3, its rows kept, new pictures of the other half taken in.

    The message names what could not be read, says that all known there is kept, and how to drop it on purpose.
    """
    before = contents(library.home)
    library.add("disk-1/new.png")
    shut = library.photos / "disk-2"
    shut.chmod(0)
    try:
        assert run_confined("-c", TRAIN, library.photos, library.home.path).returncode == 0
        done = run_confined("-m", "image_index", "train", library.photos, "--index", library.home.path)
    finally:
        shut.chmod(0o700)
    assert done.returncode == 3, done.stderr
    assert f"imgidx: {shut}: Permission denied; everything known there is kept" in done.stderr
    assert f"imgidx forget {shut}" in done.stderr
    assert "2 unreachable but kept" in done.stdout
    after = contents(library.home)
    assert before.items() <= after.items()
    assert after.keys() - before.keys() == {resolve(library.photos / "disk-1/new.png")}
    assert counts(library.train()) == {"unchanged": 6}


@pytest.mark.parametrize("loss", ["missing", "empty mount point", "a file", "unreadable"])
def test_a_root_that_is_gone_keeps_its_rows_and_the_message_says_so(library: Library, loss: str) -> None:
    """However a disk goes: exit 3, every row and vector kept, nothing embedded when it is back."""
    before = contents(library.home)
    away = library.photos.with_name("away")
    library.photos.rename(away)
    if loss == "empty mount point":
        library.photos.mkdir()
    elif loss == "a file":
        os.mkfifo(library.photos)
    elif loss == "unreadable":
        library.photos.mkdir(mode=0)
    done = run_confined("-m", "image_index", "train", "--index", library.home.path)
    assert done.returncode == 3, done.stderr
    assert f"everything known there is kept; to drop it on purpose: imgidx forget {library.photos}" in done.stderr
    assert "5 unreachable but kept" in done.stdout
    assert contents(library.home) == before
    if library.photos.is_dir():
        library.photos.rmdir()
    elif loss == "a file":
        library.photos.unlink()
    away.rename(library.photos)
    assert counts(library.train()) == {"unchanged": 5}
    assert contents(library.home) == before


def test_forgetting_what_is_gone_is_what_the_message_says(library: Library) -> None:
    """After `imgidx forget ROOT` its rows are gone, and the next run has nothing to complain of."""
    library.add("../other/x.png")
    library.train(library.photos.with_name("other"))
    shutil.rmtree(library.photos)
    assert forget(library.home, (resolve(library.photos),)) == 5
    done = run_confined("-m", "image_index", "train", "--index", library.home.path)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(contents(library.home)) == {resolve(library.photos.with_name("other") / "x.png")}


@pytest.mark.skipif(sys.platform == "darwin", reason="names there are UTF-8")
def test_the_command_in_the_message_can_be_typed_whatever_the_name(tmp_path: Path) -> None:
    """A name with a space is quoted as a shell wants it."""
    library = Library(tmp_path / "old disk", IndexHome(tmp_path / "index"))
    library.add("a.png")
    library.train()
    shutil.rmtree(library.photos)
    done = run_confined("-m", "image_index", "train", "--index", library.home.path)
    assert f"imgidx forget '{library.photos}'" in done.stderr
