"""What an index knows of one picture, and what has become of its file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from image_index.catalog.catalog import Catalog
from image_index.records import EmbeddedBatch, Failure, ImageFile, Stage
from image_index.settings import IndexHome
from image_index.upkeep.known import PictureState, known_picture
from tests.support.records import embedded_image, facts


def link_to(path: Path) -> Path:
    """Return a link that leads to `path`, and so, once in its place, to itself."""
    link = path.with_name("link")
    link.symlink_to(path)
    return link


BECOMES: dict[PictureState, Callable[[Path], object]] = {
    PictureState.UNCHANGED: lambda path: path.chmod(0o444),
    PictureState.CHANGED: lambda path: path.write_bytes(b"another"),
    PictureState.GONE: Path.unlink,
    PictureState.UNREADABLE: lambda path: os.replace(link_to(path), path),
}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Return a file that could be a picture."""
    path = tmp_path / "photos/in/a.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"content")
    return path


@pytest.fixture
def catalog(home: IndexHome, picture: Path) -> Catalog:
    """Return the catalog that knows it, and two of its three directories as roots."""
    home.create()
    with Catalog(home.catalog, write=True) as writer:
        writer.set_model(facts())
        vectors = np.array([[1, 0, 0, 0]], np.float32)
        writer.record(EmbeddedBatch((embedded_image(ImageFile.of(os.fsencode(picture), picture.stat())),), vectors))
        for root in (picture.parents[1], picture.parents[2], picture.parents[1] / "i"):
            writer.note_scan(os.fsencode(root), None)
        return writer


@pytest.mark.parametrize("state", BECOMES)
def test_what_became_of_the_file_is_told(catalog: Catalog, home: IndexHome, picture: Path, state: PictureState) -> None:
    """By size and time, as training goes by them; a link to itself cannot be looked at."""
    BECOMES[state](picture)
    with Catalog(home.catalog) as reader:
        known = known_picture(reader, os.fsencode(picture))
    assert known is not None
    assert known.state is state
    assert known.file.size == len(b"content")


def test_a_pipe_in_its_place_is_another_file(catalog: Catalog, home: IndexHome, picture: Path) -> None:
    """Even one of the same time."""
    times = picture.stat()
    picture.unlink()
    os.mkfifo(picture)
    os.utime(picture, ns=(times.st_atime_ns, times.st_mtime_ns))
    with Catalog(home.catalog) as reader:
        known = known_picture(reader, os.fsencode(picture))
    assert known is not None
    assert known.state is PictureState.CHANGED


def test_its_root_is_the_innermost_that_it_lies_in(catalog: Catalog, home: IndexHome, picture: Path) -> None:
    """A root whose name its directory's name begins with is none."""
    with Catalog(home.catalog) as reader:
        known = known_picture(reader, os.fsencode(picture))
    assert known is not None
    assert known.root == os.fsencode(picture.parents[1])
    assert known.model == facts()


def test_a_failure_has_no_image_and_no_model(home: IndexHome, picture: Path) -> None:
    """A picture that was never embedded has no vector that a model could have made; a stranger is not known."""
    home.create()
    file = ImageFile.of(os.fsencode(picture), picture.stat())._replace(inode=0)  # a failure has none
    with Catalog(home.catalog, write=True) as catalog:
        catalog.set_model(facts())
        failure = Failure(file, Stage.DECODE, "broken")
        catalog.record(EmbeddedBatch((), np.zeros((0, 4), np.float32), (failure,)))
        known = known_picture(catalog, file.path)
        assert known is not None
        assert known.failure is not None
        assert (known.failure.failure, known.file, known.state) == (failure, file, PictureState.UNCHANGED)
        assert (known.image, known.model, known.root, known.read_at_ns) == (None, None, None, None)
        assert known_picture(catalog, b"/elsewhere.png") is None


def test_the_other_file_of_its_shot_is_known(catalog: Catalog, home: IndexHome, picture: Path) -> None:
    """A RAW file and the JPEG beside it name each other."""
    paths = {kind: os.fsencode(picture.with_suffix(f".{kind}")) for kind in ("jpeg", "raw")}
    images = [embedded_image(ImageFile(path, 1, 1), path) for path in paths.values()]
    images = [replace(one, picture=one.picture._replace(format=kind)) for kind, one in zip(paths, images, strict=True)]
    with Catalog(home.catalog, write=True) as writer:
        writer.record(EmbeddedBatch(tuple(images), np.eye(2, 4, dtype=np.float32)))
        for kind, other in (("jpeg", "raw"), ("raw", "jpeg")):
            known = known_picture(writer, paths[kind])
            assert known is not None
            assert known.pair == paths[other]
        alone = known_picture(writer, os.fsencode(picture))
        assert alone is not None
        assert alone.pair is None
