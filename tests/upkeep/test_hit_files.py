"""Links to the files of hits, and copies of them, in a directory of the user's."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from image_index.errors import StorageError, UsageError
from image_index.records import Hit
from image_index.upkeep.hit_files import put_files
from tests.support.records import image_facts

NAMES = [b"cat.jpg", b"-rf.jpg", b"new\nline.jpg", "\u202egpj.png".encode(), b"a" * 251 + b".jpg", b"no extension"]
if sys.platform != "darwin":
    NAMES += [b"\xff\xfe.jpg"]
SHOWN = [
    "001-cat.jpg",
    "002--rf.jpg",
    "003-new_nline.jpg",
    "004-_xe2_x80_xaegpj.png",
    "005-" + "a" * 247 + ".jpg",
    "006-no extension",
    "007-_xff_xfe.jpg",
][: len(NAMES)]


def hits(directory: Path, names: Sequence[bytes]) -> list[Hit]:
    """Return hits whose files have these names, with times and contents of their own."""
    directory.mkdir(exist_ok=True)
    found = []
    for rank, name in enumerate(names, 1):
        path = os.fsencode(directory) + b"/" + name
        Path(os.fsdecode(path)).write_bytes(b"%d" % rank * 10_000)
        os.utime(path, ns=(rank * 10**9, rank * 10**9 + 7))
        found.append(Hit(rank, 0.5, None, image_facts(path, rank)))
    return found


def listed(directory: Path) -> list[str]:
    """Return the names in a directory, hidden ones too."""
    return sorted(os.listdir(directory))


def test_links_have_the_rank_in_their_names(tmp_path: Path) -> None:
    """Names are such as every system takes, and no longer than the directory takes them; it is made where it lacks."""
    found, out = hits(tmp_path / "photos", NAMES), tmp_path / "new/out"
    assert put_files(found, out) == []
    assert listed(out) == SHOWN
    assert [os.fsencode(os.readlink(out / name)) for name in SHOWN] == [hit.path for hit in found]


def test_copies_have_the_content_and_the_time_of_the_file(tmp_path: Path) -> None:
    """They are files of their own: what is behind a link is copied."""
    found, out = hits(tmp_path / "photos", NAMES), tmp_path / "out"
    (tmp_path / "link.jpg").symlink_to("photos/cat.jpg")
    found[0] = Hit(1, 0.5, None, image_facts(os.fsencode(tmp_path / "link.jpg")))
    assert put_files(found, out, copies=True) == []
    assert listed(out) == ["001-link.jpg", *SHOWN[1:]]
    for name, hit in zip(listed(out), found, strict=True):
        assert not (out / name).is_symlink()
        assert (out / name).read_bytes() == Path(os.fsdecode(hit.path)).read_bytes()
        assert (out / name).stat().st_mtime_ns == os.stat(hit.path).st_mtime_ns


def test_the_order_of_names_is_that_of_ranks(tmp_path: Path) -> None:
    """However many there are."""
    found = [Hit(rank, 0.5, None, hits(tmp_path / "photos", [b"a.jpg"])[0].image) for rank in (1, 20, 1000)]
    put_files(found, tmp_path / "out")
    assert listed(tmp_path / "out") == ["0001-a.jpg", "0020-a.jpg", "1000-a.jpg"]


@pytest.mark.parametrize("copies", [False, True])
def test_nothing_is_replaced_and_nothing_begun_where_a_name_is_taken(tmp_path: Path, *, copies: bool) -> None:
    """A link that leads nowhere is a name too."""
    found, out = hits(tmp_path / "photos", [b"a.jpg", b"b.jpg"]), tmp_path / "out"
    out.mkdir()
    (out / "002-b.jpg").symlink_to("nowhere")
    with pytest.raises(UsageError, match=r"002-b.jpg is there already"):
        put_files(found, out, copies=copies)
    assert listed(out) == ["002-b.jpg"]
    (out / "002-b.jpg").unlink()
    (out / "other").touch()
    assert put_files(found, out, copies=copies) == []
    assert listed(out) == ["001-a.jpg", "002-b.jpg", "other"]


@pytest.mark.parametrize("copies", [False, True])
def test_what_is_gone_or_no_file_any_more_is_told_and_the_others_come(tmp_path: Path, *, copies: bool) -> None:
    """Between the search and the copy a file may vanish; a FIFO in its place is not waited for."""
    found, out = hits(tmp_path / "photos", [b"a.jpg", b"gone.jpg", b"fifo.jpg"]), tmp_path / "out"
    for hit in found[1:]:
        os.unlink(hit.path)
    os.mkfifo(found[2].path)
    problems = put_files(found, out, copies=copies)
    assert problems[0] == f"{tmp_path}/photos/gone.jpg: No such file or directory"
    assert [f"{tmp_path}/photos/fifo.jpg: not a regular file any more"] * copies == problems[1:]
    assert listed(out) == ["001-a.jpg", *["003-fifo.jpg"] * (not copies)]


def test_on_a_full_disk_there_is_no_copy_at_all(tmp_path: Path) -> None:
    """Neither half a file nor half of the files."""
    found, out = hits(tmp_path / "photos", [b"a.jpg", b"b.jpg"]), tmp_path / "out"
    (tmp_path / "photos/b.jpg").write_bytes(bytes(50_000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(StorageError, match="free some disk space"):
            put_files(found, out, copies=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert listed(out) == []


def test_a_directory_that_is_a_file_is_wrong_use(tmp_path: Path) -> None:
    """It stays what it is."""
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UsageError, match="is no directory"):
        put_files(hits(tmp_path / "photos", [b"a.jpg"]), tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_without_hits_no_directory_is_made(tmp_path: Path) -> None:
    """As without an answer no file is written."""
    assert put_files([], tmp_path / "out") == []
    assert listed(tmp_path) == []
