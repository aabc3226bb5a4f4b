"""What machines say of files, against what the driver sees itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from image_index.cluster.trust import Trust
from image_index.records import EmbeddedBatch, Failure, ImageFile, Stage
from tests.support.records import embedded_image

MakeFile = Callable[[str], ImageFile]


@pytest.fixture
def make_file(tmp_path: Path) -> MakeFile:
    """Return what writes a file and tells how it looks."""

    def make(name: str) -> ImageFile:
        path = tmp_path / name
        path.write_bytes(b"picture")
        return ImageFile.of(os.fsencode(path), path.stat())

    return make


def images(*files: ImageFile) -> EmbeddedBatch:
    """Return a batch of embedded files; the vector of each is its number."""
    vectors = np.array([[number, 0, 0] for number in range(len(files))], np.float32).reshape(len(files), 3)
    return EmbeddedBatch(tuple(embedded_image(file) for file in files), vectors)


def held(*files: ImageFile) -> dict[bytes, ImageFile]:
    """Return files by their path."""
    return {file.path: file for file in files}


NOTHING = EmbeddedBatch((), np.zeros((0, 3), np.float32))


def test_an_image_has_the_inode_that_the_driver_saw(make_file: MakeFile) -> None:
    """Inodes differ where the file system is mounted in another way; the catalog compares them with this machine's."""
    file = make_file("a.jpg")
    owed = held(file)
    checked = Trust().check(images(file._replace(inode=file.inode + 1)), owed)
    assert [image.file for image in checked.result.images] == [file]
    assert not owed


def test_what_nobody_asked_for_is_left_out(make_file: MakeFile) -> None:
    """A file that has gone to another machine meanwhile comes back from there; vectors stay with their images."""
    stray, file = make_file("stray.jpg"), make_file("a.jpg")
    checked = Trust().check(images(stray, file), held(file))
    assert [image.file for image in checked.result.images] == [file]
    assert checked.result.vectors.tolist() == [[1, 0, 0]]


def test_a_file_that_has_changed_since_the_scan_is_stored_as_it_is_now(make_file: MakeFile) -> None:
    """The machine and the driver see the same, only later."""
    file = make_file("a.jpg")
    planned = file._replace(size=3)
    checked = Trust().check(images(file), held(planned))
    assert [image.file for image in checked.result.images] == [file]


def test_another_file_at_the_same_path_is_not_stored(make_file: MakeFile) -> None:
    """A second machine is to try it; what two of them see is believed."""
    file, trust = make_file("a.jpg"), Trust()
    other = images(file._replace(mtime_ns=1))
    checked = trust.check(other, held(file))
    assert not checked.result.images
    assert checked.disputed == [file]
    assert not trust.check(other, held(file)).disputed


def test_what_the_driver_can_read_has_not_vanished_and_is_readable(make_file: MakeFile) -> None:
    """Failures to read and vanished files say more of a mount than of a file."""
    gone, unreadable = make_file("gone.jpg"), make_file("unreadable.jpg")
    failure = Failure(unreadable, Stage.READ, "Permission denied")
    result = EmbeddedBatch((), NOTHING.vectors, failures=(failure,), vanished=(gone,))
    trust = Trust()
    checked = trust.check(result, held(gone, unreadable))
    assert checked.disputed == [unreadable, gone]
    assert not checked.result.failures
    assert not checked.result.vanished
    again = trust.check(result, held(gone, unreadable))
    assert (again.result.failures, again.result.vanished) == ((failure,), (gone,))


def test_what_the_driver_cannot_read_either_is_believed(make_file: MakeFile) -> None:
    """And a failure to decode is the file's own."""
    file, broken = make_file("a.jpg"), make_file("broken.jpg")
    Path(os.fsdecode(file.path)).unlink()
    result = EmbeddedBatch(
        (), NOTHING.vectors, failures=(Failure(broken, Stage.DECODE, "no picture"),), vanished=(file,)
    )
    checked = Trust().check(result, held(file, broken))
    assert not checked.disputed
    assert checked.result.vanished == (file,)
    assert len(checked.result.failures) == 1
