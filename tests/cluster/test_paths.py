"""Where files lie on another machine, and whether it sees them as this one does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from image_index.cluster.paths import PathMap, choose_map, parse_map
from image_index.errors import UsageError, WorkersFailed
from image_index.records import ImageFile


def file_at(path: Path) -> ImageFile:
    """Return the file at a path as this machine sees it."""
    return ImageFile.of(os.fsencode(path), path.stat())


@pytest.mark.parametrize(
    ("path", "there"),
    [
        (b"/mnt/photos/a.jpg", b"/srv/photos/a.jpg"),
        (b"/mnt/photos", b"/srv/photos"),
        (b"/mnt/photos-2/a.jpg", b"/mnt/photos-2/a.jpg"),
        (b"/mnt/photos/\xff.jpg", b"/srv/photos/\xff.jpg"),
        (b"/other/a.jpg", b"/elsewhere/a.jpg"),
    ],
)
def test_a_map_leads_from_one_directory_to_another(path: bytes, there: bytes) -> None:
    """Whole names of directories only."""
    assert PathMap((parse_map("/mnt/photos=/srv/photos/"), parse_map("/other=/elsewhere"))).there(path) == there


@pytest.mark.parametrize("text", ["/mnt/photos", "photos=/srv", "/mnt=srv", "=", ""])
def test_a_map_needs_two_absolute_directories(text: str) -> None:
    """What it is relative to on another machine nobody knows."""
    with pytest.raises(UsageError, match="--map"):
        parse_map(text)


def test_a_machine_that_sees_the_files_needs_no_map(tmp_path: Path) -> None:
    """Some machines of a cluster may have the mount where this one has it, others elsewhere."""
    (tmp_path / "there").mkdir()
    picture = tmp_path / "there/a.jpg"
    picture.write_bytes(b"picture")
    asked = PathMap((parse_map(f"{tmp_path}/here={tmp_path}/there"),))
    assert choose_map([file_at(picture)], asked) == PathMap()
    elsewhere = file_at(picture)._replace(path=os.fsencode(tmp_path / "here/a.jpg"))
    assert choose_map([elsewhere], asked) == asked


def test_a_machine_that_sees_none_or_another_file_says_which(tmp_path: Path) -> None:
    """Same path, size and time: nothing less is the same file."""
    picture = tmp_path / "a.jpg"
    picture.write_bytes(b"picture")
    seen = file_at(picture)
    choose_map([seen], PathMap())
    for other in (seen._replace(size=3), seen._replace(mtime_ns=3)):
        with pytest.raises(WorkersFailed, match=r"another file at .*a\.jpg"):
            choose_map([other], PathMap())
    with pytest.raises(WorkersFailed, match=r"does not see .*b\.jpg: No such file"):
        choose_map([seen._replace(path=os.fsencode(tmp_path / "b.jpg"))], PathMap())
