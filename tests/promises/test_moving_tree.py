"""A tree that moves under the run: whatever happens between scan and read, the index ends up true."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from image_index.catalog.catalog import Catalog
from image_index.files.scan import ScanOptions, scan
from image_index.paths import resolve
from image_index.records import ImageFile, Summary
from image_index.settings import IndexHome
from image_index.training import pipeline
from tests.support.confined import run_confined
from tests.support.library import Library, contents, counts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

VICTIM = "m-victim.png"
Change = Callable[[Path], object]


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """Return a library of a victim among innocent pictures, not indexed yet."""
    made = Library(tmp_path / "photos", IndexHome(tmp_path / "index"))
    made.add("a.png", "b.png", "d/x.png", "d/y.png", VICTIM, "z.png")
    return made


def picture(path: Path, colour: str = "white", size: int = 8) -> None:
    """Write a picture unlike those of the library."""
    Image.new("RGB", (size, size), colour).save(path, "PNG")


def listen(path: Path) -> None:
    """Put a socket in the place of a file."""
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        directory = os.open(path.parent, os.O_RDONLY)  # a socket's path is limited to a hundred bytes
        before = os.open(".", os.O_RDONLY)
        try:
            os.fchdir(directory)
            server.bind(path.name)
        finally:
            os.fchdir(before)
            os.close(before)
            os.close(directory)


def replace_by(make: Change) -> Change:
    """Return what removes a file and puts what `make` makes in its place."""

    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


def fill_directory(path: Path) -> None:
    """Make a directory that holds a picture."""
    path.mkdir()
    picture(path / "inside.png", "yellow")


def to_another_picture(path: Path) -> None:
    """Make a link to a picture outside the library."""
    outside = path.parent.parent / "outside.png"
    picture(outside, "black")
    path.symlink_to(outside)


def truncate(path: Path) -> None:
    """Cut the end off."""
    path.write_bytes(path.read_bytes()[:-30])


def grow(path: Path) -> None:
    """Append what is no part of the picture."""
    path.write_bytes(path.read_bytes() + bytes(10_000))


def rename_over(path: Path) -> None:
    """Replace the file as an editor does, that writes beside it and renames."""
    draft = path.with_name("new.tmp")
    picture(draft)
    draft.replace(path)


def directory_to_file(path: Path) -> None:
    """Put a picture in the place of the directory beside the file."""
    shutil.rmtree(path.parent / "d")
    picture(path.parent / "d")


CHANGES: dict[str, Change] = {
    "deleted": Path.unlink,
    "truncated": truncate,
    "emptied": lambda path: path.write_bytes(b""),
    "replaced": picture,
    "replaced by a rename": rename_over,
    "grown": grow,
    "renamed": lambda path: path.rename(path.with_name("n-victim.png")),
    "renamed over another": lambda path: path.rename(path.with_name("z.png")),
    "a fifo": replace_by(os.mkfifo),
    "a socket": listen,
    "a directory": replace_by(fill_directory),
    "a link to itself": replace_by(lambda path: path.symlink_to(path)),
    "a link to nowhere": replace_by(lambda path: path.symlink_to("nowhere")),
    "a link to another picture": replace_by(to_another_picture),
    "garbage": lambda path: path.write_bytes(b"\xff" * 500),
    "its directory gone": lambda path: shutil.rmtree(path.parent / "d"),
    "its directory a file": directory_to_file,
    "the root renamed away": lambda path: path.parent.rename(path.parent.with_name("away")),
}


@pytest.fixture
def train_while(monkeypatch: pytest.MonkeyPatch) -> Callable[[Library, Callable[[], object]], Summary]:
    """Return what trains a library and changes it after the scan, before any file is read."""

    def train(library: Library, change: Callable[[], object]) -> Summary:
        original = pipeline.embed

        def change_and_embed(*arguments: Any) -> Any:
            change()
            return original(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(pipeline, "embed", change_and_embed)
            return library.train()

    return train


def by_path(home: IndexHome) -> dict[bytes, bytes]:
    """Return the vectors by path of the pictures that are there."""
    with Catalog(home.catalog) as catalog:
        there = {row.path for row in catalog.known(b"/") if not row.missing}
    return {path: vector for path, (_, vector) in contents(home).items() if path in there}


def failed(home: IndexHome) -> set[bytes]:
    """Return the paths of the failures."""
    with Catalog(home.catalog) as catalog:
        return {known.failure.file.path for known in catalog.failures()}


def assert_true(library: Library, tmp_path: Path) -> None:
    """Train once more in peace: the index equals one made from scratch, and no picture is embedded without need."""
    library.train()
    assert library.train().embedded == 0
    fresh = Library(library.photos, IndexHome(tmp_path / "fresh"))
    fresh.train()
    assert by_path(library.home) == by_path(fresh.home)
    assert failed(library.home) == failed(fresh.home)


TrainWhile = Callable[[Library, Callable[[], object]], Summary]


@pytest.mark.parametrize("kind", CHANGES)
def test_what_happens_between_scan_and_read_costs_no_innocent_picture(
    library: Library, tmp_path: Path, train_while: TrainWhile, kind: str
) -> None:
    """The run ends, the others are indexed, and after a quiet run the index is that of the tree as it is."""
    train_while(library, lambda: CHANGES[kind](library.photos / VICTIM))
    away = library.photos.with_name("away")
    if away.exists():
        assert by_path(library.home) == {}
        away.rename(library.photos)
    else:
        assert {resolve(library.photos / name) for name in ("a.png", "b.png")} <= by_path(library.home).keys()
    assert_true(library, tmp_path)


@pytest.mark.parametrize(
    "kind", ["deleted", "truncated", "replaced", "renamed over another", "a fifo", "its directory gone"]
)
def test_what_happens_to_a_known_picture_that_changes_costs_no_innocent_one(
    library: Library, tmp_path: Path, train_while: TrainWhile, kind: str
) -> None:
    """The same once everything is indexed, while a changed victim is about to be embedded again."""
    library.train()
    picture(library.photos / VICTIM, "purple", 9)
    before = by_path(library.home)
    train_while(library, lambda: CHANGES[kind](library.photos / VICTIM))
    for name in ("a.png", "b.png"):
        path = resolve(library.photos / name)
        assert by_path(library.home)[path] == before[path]
    assert_true(library, tmp_path)


def test_a_directory_that_vanishes_in_the_middle_of_a_scan_is_no_problem(library: Library) -> None:
    """What was listed is gone when it is visited: its pictures are not there, its neighbours are."""
    found = []
    for item in scan(resolve(library.photos), ScanOptions()):
        assert isinstance(item, ImageFile)
        found.append(os.path.basename(item.path))
        if item.path.endswith(b"/b.png"):
            shutil.rmtree(library.photos / "d")
    assert found == [b"a.png", b"b.png", VICTIM.encode(), b"z.png"]


# Names


def awkward_names() -> list[bytes]:
    """Return names at the limits of what a file system takes; one that wants UTF-8 (Apple's) gets none that is not."""
    names = [
        b"x" * 251 + b".png",
        "ü".encode() * 125 + b"x.png",
        b"new\nline\r\t.png",
        b"\x1b[31mred\x07.png",
        "\u202eright-to-left \u05d0\u0628.png".encode(),
        b" leading and trailing .png",
        b"-rf.png",
        "caf\u00e9.png".encode(),
    ]
    if sys.platform == "darwin":
        return names
    return [*names, "cafe\u0301.png".encode(), b"\xff\xfe\x80.png", b"caf\xe9.png", b"\xed\xa0\x80.png"]


def test_any_name_is_indexed_under_its_own_bytes_and_followed_when_it_moves(library: Library) -> None:
    """Names of 255 bytes, control characters, both normal forms side by side, bytes that are no UTF-8."""
    for path in (library.photos / "d", *library.photos.glob("*.png")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    names = awkward_names()
    library.add(*map(os.fsdecode, names))
    assert counts(library.train()) == {"embedded": len(names)}
    root = resolve(library.photos)
    before = by_path(library.home)
    assert before.keys() == {os.path.join(root, name) for name in names}
    inner = os.path.join(root, b"inner\xff" if sys.platform != "darwin" else b"inner")
    os.mkdir(inner)
    for name in names:
        os.rename(os.path.join(root, name), os.path.join(inner, name))
    assert counts(library.train()) == {"moved": len(names)}
    assert {os.path.basename(path): vector for path, vector in by_path(library.home).items()} == {
        os.path.basename(path): vector for path, vector in before.items()
    }


def deep_tree(root: Path, levels: int) -> int:
    """Make directories of 250 bytes inside each other, a picture in each, even where no path reaches; return how many
    of the pictures a path can name.
    """
    descriptor = os.open(root, os.O_RDONLY)
    length, reachable = len(os.fsencode(os.path.realpath(root))), 0
    source = root / "source.png"
    picture(source, "orange")
    content = source.read_bytes()
    source.unlink()
    for level in range(levels):
        name = f"{level:03d}" + "x" * 247
        os.mkdir(name, dir_fd=descriptor)
        inner = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
        with open(os.open("p.png", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=descriptor), "wb") as file:
            file.write(content + bytes(level))
        length += 251
        reachable += length + len("/p.png") < os.pathconf(root, "PC_PATH_MAX")
    os.close(descriptor)
    return reachable


def test_paths_up_to_the_limit_are_indexed_and_longer_ones_reported(library: Library) -> None:
    """What no path can name is a problem that is said, not an end; all that can be named is there."""
    reachable = deep_tree(library.photos, 20)
    assert 10 <= reachable < 20
    summary = library.train()
    assert summary.embedded == 6 + reachable
    assert len(summary.problems) == 1
    assert summary.problems[0].path.startswith(resolve(library.photos))
    again = library.train()
    assert (again.embedded, again.unchanged) == (0, 6 + reachable)


SCAN = """
import os, resource, sys
from image_index.files.scan import ScanOptions, scan
unit = 1e6 if sys.platform == "darwin" else 1e3
def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
before, last, count = peak_mb(), b"", 0
for item in scan(os.fsencode(sys.argv[1]), ScanOptions()):
    assert item.path > last
    last, count = item.path, count + 1
print(count, peak_mb() - before)
"""


def test_a_hundred_thousand_files_in_one_directory_are_scanned_in_bounded_memory(tmp_path: Path) -> None:
    """Every one of them, in path order, within 60 MB: names and directory entries, no pictures."""
    crowd = os.fsencode(tmp_path)
    for number in range(100_000):
        os.close(os.open(b"%s/%06d.jpg" % (crowd, number), os.O_CREAT | os.O_WRONLY))
    done = run_confined("-c", SCAN, crowd)
    assert done.returncode == 0, done.stderr
    count, grown_mb = done.stdout.split()
    assert int(count) == 100_000
    assert float(grown_mb) < 60
