"""`imgidx dupes` as users and scripts run it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from image_index.settings import IndexHome
from tests.support.photos import real_photos
from tests.support.shell import Done, Shell

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, sample_photos: Path, starter_index: IndexHome) -> Shell:
    """Return a shell with an index of four photos, a copy of the first, and a smaller version of the second."""
    shell = Shell(tmp_path_factory.mktemp("shell"))
    shell.copy_index(starter_index)
    photos = shell.directory / "photos"
    photos.mkdir()
    for number, path in enumerate(real_photos(sample_photos, 4)):
        with Image.open(path) as picture:
            picture.convert("RGB").save(photos / f"{number}.png")
    shutil.copy(photos / "0.png", photos / "copy\n\xff.png")
    with Image.open(photos / "1.png") as picture:
        picture.resize((picture.width * 3 // 4, picture.height * 3 // 4)).save(photos / "small.jpg", quality=85)
    assert shell.run("train", photos, "--model", "starter", "--device", "cpu", "-j", "1", "-q").code == 0
    return shell


def base(shell: Shell) -> bytes:
    """Return the directory of the photos as the index knows it."""
    return os.fsencode(os.path.realpath(shell.directory / "photos")) + b"/"


COPY = "copy\n\xff.png".encode()


def test_groups_are_apart_and_best_first(trained: Shell) -> None:
    """One path a line, byte for byte; an empty line, or an empty entry with -0, ends a group."""
    here = base(trained)
    done = trained.run("dupes", "-0")
    assert done.out == b"".join((here, b"0.png\0", here, COPY, b"\0\0", here, b"1.png\0", here, b"small.jpg\0\0"))
    assert trained.run("dupes").out == done.out.replace(b"\0", b"\n")
    assert trained.run("dupes", "-f", "-0").out == b"".join((here, COPY, b"\0", here, b"small.jpg\0"))


def test_json_is_a_group_a_line(trained: Shell) -> None:
    """What is equal, and how near the rest is."""
    equal, near = trained.run("dupes", "--json").records
    assert [picture["exact"] for picture in equal["pictures"]] == [True, True]
    assert [picture["exact"] for picture in near["pictures"]] == [True, False]
    assert 0.8 <= near["pictures"][1]["similarity"] < 1
    assert near["pictures"][0]["width"] > near["pictures"][1]["width"]
    (kept,) = trained.run("dupes", "--exact", "--json").records
    assert kept == equal
    assert len(trained.run("dupes", "--similarity", "1", "--json").records) == 1


def test_filters_choose_who_takes_part(trained: Shell) -> None:
    """Nothing left is exit 1, without a word."""
    assert trained.run("dupes", "--glob", "0.png") == Done(1, b"", "")
    assert len(trained.run("dupes", "--glob", "*.png", "--json").records) == 1


def test_a_terminal_gets_a_table_without_control_characters(trained: Shell) -> None:
    """How near, how large, and where; a blank line between groups."""
    code, shown = trained.on_terminal("dupes")
    assert code == 0
    assert [line.split()[0] for line in shown.splitlines() if line.strip()][:2] == ["best", "equal"]
    assert trained.on_terminal("dupes", "-f")[1].split()[0] == "equal"
    assert "copy\\n" in shown
    assert all(character.isprintable() or character in "\r\n" for character in shown)


def test_a_contact_sheet_has_every_group(trained: Shell) -> None:
    """And nothing is printed beside it."""
    done = trained.run("dupes", "--html", "page.html")
    assert (done.code, done.out) == (0, b"")
    page = (trained.directory / "page.html").read_text(encoding="utf-8")
    assert page.count("<img") == 4


def test_kept_pictures_are_shown_no_more(trained: Shell) -> None:
    """But with --all, and after --no-keep; the other group stays."""
    photos = trained.directory / "photos"
    pair = (photos / "1.png", photos / "small.jpg")
    before = trained.run("dupes", "--json").records
    assert trained.run("dupes", "--keep", *pair) == Done(0, b"", "")
    assert trained.run("dupes", "--json").records == before[:1]
    assert trained.run("dupes", "--all", "--json").records == before
    assert trained.run("dupes", "--no-keep", *pair) == Done(0, b"", "")
    assert trained.run("dupes", "--json").records == before


@pytest.mark.parametrize("paths", [(), ("photos/1.png",), ("photos/1.png", "photos/nothing.png")])
def test_what_is_kept_are_two_pictures_that_the_index_knows(trained: Shell, paths: tuple[str, ...]) -> None:
    """The message says which is not; and paths mean nothing without --keep."""
    assert trained.run("dupes", "--keep", *paths).code == 2
    assert trained.run("dupes", "photos/1.png", "photos/small.jpg").code == 2


@pytest.mark.parametrize(
    "options",
    [("--json", "-0"), ("--open",), ("--similarity", "2"), ("--html", "/nonexistent/page.html")],
    ids=" ".join,
)
def test_what_makes_no_sense_is_exit_2(trained: Shell, options: tuple[str, ...]) -> None:
    """Nothing is printed."""
    done = trained.run("dupes", *options)
    assert (done.code, done.out) == (2, b"")


def test_nothing_is_ever_deleted(trained: Shell) -> None:
    """Whatever was run above."""
    assert len(list((trained.directory / "photos").iterdir())) == 6


def test_without_an_index_it_is_exit_4(tmp_path: Path) -> None:
    """The message says how one is made."""
    assert Shell(tmp_path).run("dupes").code == 4
