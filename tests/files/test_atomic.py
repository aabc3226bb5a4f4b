"""A file or a directory is there as before or as written, whatever happens in between."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from image_index.errors import StorageError
from image_index.files import atomic
from image_index.files.atomic import draft_of, replacing_directory, replacing_file

Replacing = Callable[[Path], AbstractContextManager[Path]]

BOTH = pytest.mark.parametrize("replacing", [replacing_file, replacing_directory])


def write(place: Path, text: str) -> None:
    """Write a text to a file, or to a file in a directory."""
    (place / "inside" if place.is_dir() else place).write_text(text)


def read(place: Path) -> str:
    """Return what `write` wrote."""
    return (place / "inside" if place.is_dir() else place).read_text()


def write_and_raise(place: Path, error: type[BaseException]) -> None:
    """Write half a text, and fail."""
    write(place, "half")
    raise error


def names(directory: Path) -> list[str]:
    """Return what is in a directory."""
    return sorted(os.listdir(directory))


@BOTH
def test_what_is_new_appears_at_the_end_of_the_block_alone(replacing: Replacing, tmp_path: Path) -> None:
    """Until then a reader has what was there before, and afterwards nothing else lies about."""
    place = tmp_path / "place"
    for old, new in (("", "first"), ("first", "second")):
        with replacing(place) as draft:
            write(draft, new)
            assert (read(place) if place.exists() else "") == old
        assert read(place) == new
        assert names(tmp_path) == ["place"]


@BOTH
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_block_that_raises_leaves_what_was_there(
    replacing: Replacing, error: type[BaseException], tmp_path: Path
) -> None:
    """And no draft."""
    with replacing(tmp_path / "place") as draft:
        write(draft, "before")
    with pytest.raises(error), replacing(tmp_path / "place") as draft:
        write_and_raise(draft, error)
    assert read(tmp_path / "place") == "before"
    assert names(tmp_path) == ["place"]


@BOTH
@pytest.mark.parametrize("sync_number", [1, 2])
def test_a_disk_that_refuses_late_leaves_what_was_there_or_what_is_new(
    replacing: Replacing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync_number: int
) -> None:
    """Delayed writes fail at the sync: the cause and the next step are named."""
    with replacing(tmp_path / "place") as draft:
        write(draft, "before")
    synced: list[Path] = []

    def failing_sync(path: Path) -> None:
        synced.append(path)
        if len(synced) == sync_number:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "sync", failing_sync)
    refused = pytest.raises(StorageError, match=r"place: No space left on device; free some disk space")
    with refused, replacing(tmp_path / "place") as draft:
        write(draft, "after")
    assert read(tmp_path / "place") in ("before", "after")
    assert names(tmp_path) == ["place"]


@BOTH
def test_a_place_that_cannot_be_written_is_a_storage_error(replacing: Replacing, tmp_path: Path) -> None:
    """Also where the directory around it is not there; the name of the place cannot command a terminal."""
    refused = pytest.raises(StorageError, match=r"^cannot write [^\x1b]*nowhere[^\x1b]*No such file")
    with refused, replacing(tmp_path / "nowhere" / "a\x1b[2J"):
        raise AssertionError("nothing to write to")


@BOTH
def test_what_is_written_is_for_its_owner_alone(replacing: Replacing, tmp_path: Path) -> None:
    """Whatever the umask, and whatever stood there; another mode must be asked for."""
    before = os.umask(0)
    try:
        (tmp_path / "place").touch(0o644)
        with replacing(tmp_path / "place") as draft:
            write(draft, "secret")
        assert stat.S_IMODE((tmp_path / "place").stat().st_mode) in (0o600, 0o700)
        with replacing_file(tmp_path / "open", mode=0o666):
            pass
        assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o666
    finally:
        os.umask(before)


@BOTH
def test_two_writers_at_once_do_not_mix(replacing: Replacing, tmp_path: Path) -> None:
    """Each has a draft of its own; whoever ends last is what is there."""
    place = tmp_path / "place"
    code = (
        "import sys; from pathlib import Path; from image_index.files import atomic\n"
        f"with atomic.{replacing.__name__}(Path(sys.argv[1])) as draft:\n"
        "    (draft / 'inside' if draft.is_dir() else draft).write_text('theirs')\n"
    )
    with replacing(place) as draft:
        write(draft, "ours")
        subprocess.run([sys.executable, "-c", code, place], check=True)
        assert read(place) == "theirs"
    assert read(place) == "ours"
    assert names(tmp_path) == ["place"]


@BOTH
def test_the_draft_of_a_killed_process_is_removed_by_the_next(replacing: Replacing, tmp_path: Path) -> None:
    """That of one that still runs is not, nor anything that is only called like it."""
    code = (
        "import os, sys; from pathlib import Path; from image_index.files import atomic\n"
        f"with atomic.{replacing.__name__}(Path(sys.argv[1])) as draft:\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, tmp_path / "place"], check=False)
    assert killed.returncode == -9
    assert len(names(tmp_path)) == 1
    others = [f".place.{os.getppid()}.tmp", ".place.tmp", ".place.x.tmp", ".other.1.tmp", "place.1.tmp"]
    for name in others:
        (tmp_path / name).touch()
    with replacing(tmp_path / "place") as draft:
        write(draft, "new")
    assert names(tmp_path) == sorted([*others, "place"])


def test_what_a_killed_process_of_our_own_number_left_is_removed(tmp_path: Path) -> None:
    """In a container every run may have the same process id."""
    for end in ("tmp", "old"):
        (tmp_path / f".place.{os.getpid()}.{end}").mkdir()
        (tmp_path / f".place.{os.getpid()}.{end}" / "inside").touch()
    assert draft_of(tmp_path / "place").parent == tmp_path
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["file", "full directory", "link to nowhere"])
def test_a_directory_takes_any_place_or_only_an_empty_one(kind: str, tmp_path: Path) -> None:
    """What may be the user's own is not removed with `keep_full`."""
    place = tmp_path / "place"
    if kind == "full directory":
        place.mkdir()
        (place / "mine").touch()
    elif kind == "file":
        place.touch()
    else:
        place.symlink_to("nowhere")
    before = names(place) if place.is_dir() else place.lstat()
    with pytest.raises(StorageError, match="cannot write"), replacing_directory(place, keep_full=True) as draft:
        write(draft, "new")
    assert (names(place) if place.is_dir() else place.lstat()) == before
    with replacing_directory(place) as draft:
        write(draft, "new")
    assert names(place) == ["inside"]
    assert names(tmp_path) == ["place"]
