"""Indexes that the tests of several commands look at, and a shell to look with."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.photos import real_photos
from tests.support.shell import Done, Shell


@dataclass(frozen=True)
class Trained:
    """Photos under awkward names and a broken one, and the training that indexed them."""

    photos: Path
    broken: Path
    good: list[bytes]
    index: Path
    log: Path
    trained: Done

    def like_plain(self, *more: str) -> tuple[str | Path, ...]:
        """Return a search by a picture of the index, which costs no model."""
        return ("search", "--image", self.photos / "plain.jpg", "-n", "100", "--include-query", *more)


def awkward_names() -> list[bytes]:
    """Return file names that trip scripts; a file system that wants UTF-8 (Apple's) gets none that is not."""
    names = [b"plain.jpg", b"with space.jpg", b"qu\"o'te.jpg", b"new\nline.jpg", b"-n.jpg", "写真 é.jpg".encode()]
    return names if sys.platform == "darwin" else [*names, b"invalid-\xff.jpg"]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Return a shell without an index."""
    return Shell(tmp_path)


@pytest.fixture(scope="session")
def library(sample_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train the starter once, on a few photos, in a process of its own."""
    shell = Shell(tmp_path_factory.mktemp("library"))
    photos = shell.directory / "photos"
    photos.mkdir()
    names = awkward_names()
    for name, photo in zip(names, real_photos(sample_photos, len(names) + 3), strict=False):
        shutil.copy(photo, photos / os.fsdecode(name))
    broken = photos / "broken.jpg"
    broken.write_bytes((photos / "plain.jpg").read_bytes()[:2000])
    log = shell.directory / "log"
    options = ("--model", "starter", "--device", "cpu", "--workers", "1", "--log-file", log, "--json")
    trained = shell.spawn("train", photos, *options)
    real = os.path.realpath(os.fsencode(photos))
    return Trained(photos, broken, sorted(os.path.join(real, name) for name in names), shell.index, log, trained)


@pytest.fixture
def searcher(shell: Shell, library: Trained) -> Shell:
    """Return a shell with the library's index, which tests leave as it is."""
    shell.variables["IMGIDX_INDEX"] = str(library.index)
    return shell
