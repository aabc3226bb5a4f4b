"""`imgidx forget`, `prune`, `backup`, `verify` and durations, as users and scripts run them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from image_index.catalog.catalog import Catalog
from image_index.settings import IndexHome
from tests.support.library import contents, make_index
from tests.support.shell import Shell

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Return a shell whose index holds four pictures below /photos, which are not there any more."""
    made = Shell(tmp_path)
    home = IndexHome(made.index)
    make_index(home, 4)
    with Catalog(home.catalog, write=True) as catalog:
        catalog.mark_missing(list(catalog.known(b"/photos/1-0.jpg")))
    return made


def test_forgetting_says_how_many_and_names_what_it_does_not_know(shell: Shell) -> None:
    """A dry run first; a slip beside a right path drops nothing and is exit 2."""
    home = IndexHome(shell.index)
    before = contents(home)
    assert shell.run("forget", "-n", "/photos").out == b"would forget 4 pictures\n"
    slip = shell.run("forget", "/photos", "/photo")
    assert (slip.code, slip.out) == (2, b"")
    assert "knows nothing of /photo; imgidx status lists its roots" in slip.complaint
    assert contents(home) == before
    assert shell.run("forget", "/photos/1-0.jpg", "/photos/1-1.jpg").out == b"forgot 2 pictures\n"
    assert set(contents(home)) == {b"/photos/1-2.jpg", b"/photos/1-3.jpg"}


def test_pruning_takes_a_duration(shell: Shell) -> None:
    """What went missing just now is not older than the default; with 0 it is."""
    assert shell.run("prune").out == b"dropped 0 missing pictures\n"
    assert shell.run("prune", "--older-than", "0s", "--dry-run").out == b"would drop 1 missing pictures\n"
    assert shell.run("prune", "--older-than", "0", "--quiet").out == b""
    assert b"/photos/1-0.jpg" not in contents(IndexHome(shell.index))


def test_a_backup_is_used_with_index(shell: Shell, tmp_path: Path) -> None:
    """Status and verify work on the copy; a second backup to the same place is exit 2."""
    copy = tmp_path / "copy"
    done = shell.run("backup", copy)
    assert done.code == 0
    assert done.out.startswith(b"copied ")
    assert shell.run("status", "--json", "--index", copy).records[0]["images"] == 3
    assert shell.run("verify", "--index", copy).out == b"all is well\n"
    again = shell.run("backup", copy)
    assert again.code == 2
    assert "name a new directory" in again.complaint


def test_verifying_ends_in_9_with_the_step_that_mends(shell: Shell) -> None:
    """A line for each finding, then the next step; after that step all is well."""
    home = IndexHome(shell.index)
    before = contents(home)
    home.vector_table.unlink()
    done = shell.run("verify")
    assert (done.code, done.out) == (9, b"")
    finding, step = done.err.splitlines()
    assert finding == "imgidx: vectors.f16: is missing; imgidx verify --repair rebuilds it"
    assert step.endswith("imgidx verify --repair mends that")
    mended = shell.run("verify", "--repair")
    assert (mended.code, mended.out, mended.err) == (0, b"all is well\n", "")
    assert home.vector_table.exists()
    assert contents(home) == before


def test_what_no_repair_mends_asks_for_a_backup(shell: Shell) -> None:
    """A damaged catalog is exit 9 with or without --repair, and stays as it is."""
    catalog = IndexHome(shell.index).catalog
    catalog.write_bytes(catalog.read_bytes()[:8192])
    before = catalog.read_bytes()
    for options in ((), ("--repair",)):
        done = shell.run("verify", *options)
        assert (done.code, done.out) == (9, b"")
        assert "backup" in done.err
    assert catalog.read_bytes() == before


def test_a_model_that_is_gone_asks_for_no_backup(shell: Shell) -> None:
    """The index is whole; the line about the model says what to do."""
    with Catalog(IndexHome(shell.index).catalog, write=True) as catalog:
        model = catalog.read_model()
        assert model is not None
        catalog.set_model(replace(model, name="local-dir:/gone"))
    done = shell.run("verify")
    assert done.code == 9
    assert "/gone" in done.err.splitlines()[0]
    assert "backup" not in done.err


@pytest.mark.parametrize("words", [("forget", "/photos"), ("prune",), ("backup", "copy"), ("verify", "--repair")])
def test_where_there_is_no_index_it_is_exit_4(tmp_path: Path, words: tuple[str, ...]) -> None:
    """And nothing is made, neither there nor where a copy was to go."""
    shell = Shell(tmp_path)
    done = shell.run(*words)
    assert (done.code, done.out) == (4, b"")
    assert "imgidx train" in done.complaint
    assert not shell.index.exists()
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    "words", [("train", ".", "--wait", "soon"), ("train", ".", "--time-limit", "-5m"), ("prune", "--older-than", "1x")]
)
def test_a_duration_that_is_none_is_exit_2_and_names_the_option(shell: Shell, words: tuple[str, ...]) -> None:
    """Before anything is done."""
    before = contents(IndexHome(shell.index))
    done = shell.run(*words)
    assert (done.code, done.out) == (2, b"")
    assert f"{words[-2]} takes a duration such as 90s, 5m, 2h or 30d, not '{words[-1]}'" in done.complaint
    assert contents(IndexHome(shell.index)) == before
