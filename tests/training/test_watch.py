"""Watching roots: what is told to be brought up to date, while files really change, and what comes of it."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import watchfiles

from image_index.catalog.catalog import Catalog
from image_index.files.scan import ScanOptions
from image_index.paths import resolve
from image_index.settings import IndexHome
from image_index.stop import StopRequest
from image_index.training import pipeline
from image_index.training import watch as watching
from image_index.training.pipeline import UpdateRequest, update_index
from image_index.training.watch import watch
from tests.support.library import Library
from tests.support.pool_here import PoolHere
from tests.support.storm import Storm, pictures_by_names

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make what takes a second take a fifth, and let no child be started for the towers."""
    monkeypatch.setattr(watching, "STILL_S", 0.2)
    monkeypatch.setattr(watching, "MOST_WAIT_S", 2.0)
    monkeypatch.setattr(watching, "TICK_MS", 40)
    monkeypatch.setattr(pipeline, "export_alone", lambda *_: False)


class Watched:
    """A library that is watched."""

    def __init__(self, directory: Path, *roots: str, **scan: Any) -> None:
        self.library = Library(directory / "photos", IndexHome(directory / "index"))
        self.library.add("a.png", "sub/b.png", "other/c.png")
        self.photos, self.pool, self.stop = self.library.photos, PoolHere(), StopRequest()
        self.request = self.library.request(*(self.photos / root for root in roots), make_pool=self.pool.made)
        self.request = replace(self.request, survey=replace(self.request.survey, scan=ScanOptions(**scan)))

    def requests(self, rescan_s: float = 1000) -> Iterator[UpdateRequest]:
        """Yield what was to be brought up to date, when it has been."""
        for due in watch(self.request, self.stop, rescan_s):
            update_index(due, stop=self.stop)
            yield due

    def path(self, name: str) -> bytes:
        """Return the path of a file."""
        return os.fsencode(self.photos / name)


def changed(due: UpdateRequest, watched: Watched) -> set[str]:
    """Return the relative paths that are told to have changed."""
    assert due.survey.changed is not None
    return {os.path.relpath(os.fsdecode(path), watched.photos) for path in due.survey.changed}


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    """Return a library of three pictures that is not indexed yet."""
    return Watched(tmp_path)


def test_first_everything_is_due_and_then_what_has_changed(watched: Watched) -> None:
    """A new, a renamed and a deleted file; the index then holds what is there."""
    due = watched.requests()
    first = next(due)
    assert (first.survey, first.wait_s) == (watched.request.survey, 0)
    threading.Timer(0.1, lambda: watched.library.add("d.png")).start()
    second = next(due)
    assert changed(second, watched) == {"d.png"}
    assert (second.wait_s, second.register_roots) == (math.inf, False)
    (watched.photos / "a.png").rename(watched.photos / "sub/a.png")
    (watched.photos / "other/c.png").unlink()
    assert changed(next(due), watched) == {"a.png", "sub/a.png", "other/c.png"}
    assert set(watched.library.rows()) == {"photos/d.png", "photos/sub/a.png", "photos/sub/b.png"}


def test_what_changes_while_an_update_runs_is_due_after_it(watched: Watched) -> None:
    """The watch begins before the first look at anything."""
    due = watch(watched.request, watched.stop)
    update_index(next(due))
    watched.library.add("d.png")
    assert changed(next(due), watched) == {"d.png"}


def test_a_file_that_is_still_being_written_is_not_taken_half(watched: Watched) -> None:
    """Its writer pauses, but for less long than a file has to be still."""
    due = watched.requests()
    next(due)
    content = (watched.photos / "a.png").read_bytes()

    def write() -> None:
        with (watched.photos / "slow.png").open("wb", buffering=0) as file:
            for byte in range(0, len(content), 8):
                file.write(content[byte : byte + 8])
                threading.Event().wait(0.05)

    writer = threading.Thread(target=write)
    writer.start()
    assert changed(next(due), watched) == {"slow.png"}
    writer.join()
    assert watched.pool.cut == []


def test_what_is_still_does_not_wait_for_ever_for_what_is_not(watched: Watched) -> None:
    """A file that grows all day keeps no other out, nor does it keep a directory out but its own."""
    due = watched.requests()
    next(due)
    over = threading.Event()
    (watched.photos / "new").mkdir()

    def grow() -> None:
        with (watched.photos / "new/growing.png").open("wb", buffering=0) as file:
            while not over.wait(0.02):
                file.write(b"more")

    writer = threading.Thread(target=grow)
    writer.start()
    watched.library.add("d.png")
    assert changed(next(due), watched) == {"d.png"}
    over.set()
    writer.join()
    assert changed(next(due), watched) == {"new", "new/growing.png"}


def test_a_tree_that_is_moved_is_due_as_one(watched: Watched, tmp_path: Path) -> None:
    """Nothing is told of what is inside; its pictures keep their vectors."""
    due = watched.requests()
    next(due)
    (watched.photos / "sub").rename(watched.photos / "moved")
    assert changed(next(due), watched) == {"sub", "moved"}
    (watched.photos / "moved").rename(tmp_path / "out")
    assert changed(next(due), watched) == {"moved"}
    assert set(watched.library.rows()) == {"photos/a.png", "photos/other/c.png"}


def test_what_is_no_picture_is_due_for_nothing(tmp_path: Path) -> None:
    """Nor is what is hidden, or what the updates write into an index inside the root."""
    watched = Watched(tmp_path)
    watched.library.home = IndexHome(watched.photos / "index")
    watched.request = replace(watched.request, home=watched.library.home)
    due = watched.requests()
    next(due)
    (watched.photos / "notes.txt").write_text("no picture")
    (watched.photos / "notes.txt").unlink()
    (watched.photos / "gone.png").touch()
    (watched.photos / "gone.png").unlink()
    (watched.photos / ".hidden").mkdir()
    (watched.photos / ".hidden/x.png").touch()
    (watched.photos / "sub").chmod(0o700)
    watched.library.add("d.png")
    assert changed(next(due), watched) == {"d.png"}


def test_hidden_files_are_due_where_they_are_asked_for(tmp_path: Path) -> None:
    """As a scan with the option takes them."""
    watched = Watched(tmp_path, hidden=True)
    due = watched.requests()
    next(due)
    watched.library.add(".d.png")
    assert changed(next(due), watched) == {".d.png"}


def test_where_an_ignore_file_changes_its_directory_is_due(watched: Watched) -> None:
    """Its rules hold for all inside."""
    due = watched.requests()
    next(due)
    (watched.photos / "sub/.imgidxignore").write_text("*.png")
    assert changed(next(due), watched) == {"sub"}


def test_a_root_that_is_gone_costs_no_row_and_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The others go on meanwhile; when it is back everything is looked at."""
    watched = Watched(tmp_path, "other", "sub")
    due = watched.requests()
    next(due)
    other, sub = (resolve(watched.photos / name) for name in ("other", "sub"))
    (watched.photos / "other").rename(tmp_path / "away")
    assert next(due).survey == replace(watched.request.survey, roots=(other, sub))
    watched.library.add("sub/d.png")
    assert changed(next(due), watched) == {"sub/d.png"}
    (watched.photos / "sub").rename(tmp_path / "aside")
    assert next(due).survey.roots == (sub,)
    (tmp_path / "aside").rename(watched.photos / "sub")
    assert next(due).survey.roots == (sub,)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [os.fsencode(text.partition(": ")[0]) for text in said] == [other, sub]
    (tmp_path / "away").rename(watched.photos / "other")
    assert next(due).survey.roots == (other, sub)
    watched.library.add("other/e.png")
    next(due)
    rows = {f"photos/{name}.png" for name in ("other/c", "other/e", "sub/b", "sub/d")}
    assert set(watched.library.rows()) == rows


def test_a_name_that_the_library_cannot_tell_leads_to_a_look_at_everything(watched: Watched) -> None:
    """Paths are bytes, and watchfiles gives text."""
    due = watched.requests()
    next(due)
    try:
        (watched.photos / "caf\udce9.png").write_bytes((watched.photos / "a.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes no such name")
    assert next(due).survey == watched.request.survey
    assert "photos/caf\udce9.png" in watched.library.rows()


def test_a_storm_of_too_many_changes_leads_to_a_look_at_everything(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system may have dropped some of them."""
    monkeypatch.setattr(watching, "MOST_CHANGES", 3)
    due = watched.requests()
    next(due)
    watched.library.add(*(f"{number}.png" for number in range(10)))
    assert next(due).survey == watched.request.survey


def test_everything_is_due_from_time_to_time(watched: Watched) -> None:
    """Whether the system tells anything or not; other runs are then waited for."""
    due = watched.requests(rescan_s=0.1)
    assert next(due).wait_s == 0
    assert (next(due).survey, next(due).wait_s) == (watched.request.survey, math.inf)


def test_a_system_that_tells_nothing_costs_only_time(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a limit forbids to watch, that is said once with what to do, and everything is looked at in turn."""

    def refuse(*_: object, ignore_permission_denied: bool, **__: object) -> Iterator[Any]:
        while ignore_permission_denied:  # watchfiles 1.3 then passes over every error
            yield set()
        raise OSError('OS file watch limit reached. about ["/photos"]')

    monkeypatch.setattr(watchfiles, "watch", refuse)
    due = watched.requests(rescan_s=0.1)
    next(due)
    watched.library.add("d.png")
    next(due)
    assert "photos/d.png" in watched.library.rows()
    assert caplog.text.count("max_user_watches") == 1


def test_a_directory_that_may_not_be_read_keeps_nothing_else_from_being_watched(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """watchfiles refuses to begin, unless it is told not to mind."""
    real = watchfiles.watch

    def refuse(*paths: str, ignore_permission_denied: bool, **options: Any) -> Iterator[Any]:
        if not ignore_permission_denied:
            raise PermissionError("Permission denied (os error 13)")
        yield from real(*paths, **options)

    monkeypatch.setattr(watchfiles, "watch", refuse)
    due = watched.requests()
    next(due)
    watched.library.add("d.png")
    assert changed(next(due), watched) == {"d.png"}


def test_a_root_that_no_text_can_name_is_looked_at_in_turn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It cannot be watched, and is trained all the same."""
    root = tmp_path / "caf\udce9"
    try:
        root.mkdir()
    except OSError:
        pytest.skip("this file system takes no such name")
    watched = Watched(tmp_path, root.as_posix())
    due = watched.requests(rescan_s=0.1)
    assert next(due).survey == next(due).survey
    assert "does not tell of changes" in caplog.text


@pytest.mark.parametrize("when", ["during an update", "between updates"])
def test_a_signal_ends_the_watch(watched: Watched, when: str) -> None:
    """After the update that runs, or from the wait for changes."""
    due = watched.requests()
    next(due)
    timer = threading.Timer(0.3, lambda: setattr(watched.stop, "signal_number", signal.SIGTERM))
    if when == "during an update":
        watched.stop.signal_number = signal.SIGTERM
    timer.start()
    assert list(due) == []
    timer.join()


def test_the_end_of_the_time_ends_the_watch(watched: Watched) -> None:
    """Also while nothing changes."""
    due = watched.requests()
    next(due)
    watched.stop.deadline = 0.0
    assert list(due) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_after_a_storm_the_index_is_that_of_a_fresh_training(tmp_path: Path, seed: int) -> None:
    """Whatever was written, linked, renamed, moved in and deleted, and whenever it was looked at."""
    watched = Watched(tmp_path)
    storm = Storm(watched.photos, seed)

    def blow() -> None:
        storm.blow(150)
        for name in ("last.png", "very-last.png"):
            watched.library.add(name)
            threading.Event().wait(1)

    blowing = threading.Thread(target=blow)
    for number, _ in enumerate(watched.requests()):
        if number == 0:
            blowing.start()
        elif "photos/very-last.png" in watched.library.rows():
            break
    blowing.join()
    fresh = Library(watched.photos, IndexHome(tmp_path / "fresh"))
    fresh.train(make_pool=watched.pool.made)
    assert pictures_by_names(watched.library.home) == pictures_by_names(fresh.home)
    with Catalog(watched.library.home.catalog) as catalog, Catalog(fresh.home.catalog) as other:
        assert list(catalog.failures()) == list(other.failures()) == []
