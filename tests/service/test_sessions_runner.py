"""The server's own runner of sessions, with processes of a fake model."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from image_index.catalog.catalog import Catalog
from image_index.catalog.lock import exclusive_lock
from image_index.catalog.reader import CatalogReader
from image_index.catalog.runs import Runs, session_holder
from image_index.records import Priority, RunKind, Session, SessionState
from image_index.service import sessions_runner
from image_index.service.sessions import ENDED
from image_index.service.sessions_request import TrainingRequest
from image_index.service.sessions_runner import EmbeddedRunner
from image_index.settings import IndexHome
from tests.support import fake_command
from tests.support.library import Library
from tests.support.photos import REPOSITORY

WAIT_S = 60
NOTES = """
import os
with open({path!r}, "a") as file:
    print(os.environ["IMGIDX_SESSION"], file=file)
raise SystemExit({code})
"""


@pytest.fixture
def library(tmp_path: Path, home: IndexHome, monkeypatch: pytest.MonkeyPatch) -> Library:
    """Return an index of two pictures; what a session runs has a fake model and one child."""
    made = Library(tmp_path / "photos", home)
    made.add("a.png", "b.png")
    made.train()
    (tmp_path / "config.toml").write_text('[train]\ndevice = "cpu"\nworkers = 1\nbatch-size = 2\n')
    monkeypatch.setenv("IMGIDX_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setattr(sessions_runner, "COMMAND", fake_command.COMMAND)
    return made


@contextmanager
def opened(home: IndexHome) -> Iterator[EmbeddedRunner]:
    """Give a runner that runs what waits."""
    runner = EmbeddedRunner(home)
    runner.open()
    try:
        yield runner
    finally:
        runner.close()


def ask(home: IndexHome, priority: Priority = Priority.NORMAL) -> int:
    """Queue a session for all roots; return its number."""
    with Catalog(home.catalog, write=True) as catalog:
        return Runs(catalog).ask(RunKind.EMBEDDED, priority, TrainingRequest().model_dump_json())


def session(home: IndexHome, number: int) -> Session:
    """Return a session, which must be there."""
    with CatalogReader(home.catalog) as catalog:
        found = Runs(catalog).session(number)
    assert found is not None
    return found


def wait_until(true: Callable[[], bool]) -> None:
    """Wait for something that must come."""
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(home: IndexHome, number: int) -> Session:
    """Return a session once its end is written down."""
    wait_until(lambda: session(home, number).state in ENDED and session(home, number).ended_at_s is not None)
    return session(home, number)


def embedding(home: IndexHome, number: int) -> bool:
    """Tell whether a session has stored a batch."""
    progress = session(home, number).progress
    return progress is not None and progress.stage == "embed"


@pytest.mark.slow
def test_sessions_run_one_after_the_other_to_their_ends(library: Library) -> None:
    """Each as a process of its own, whose exit code is told; what fails to be read makes a session incomplete."""
    library.add("c.png")
    (library.photos / "broken.png").write_bytes(b"no picture")
    with opened(library.home) as runner:
        first, second = ask(library.home), ask(library.home)
        runner.start(session(library.home, first))
        found = ended(library.home, first)
        assert (found.state, found.exit_code, found.error) == (SessionState.INCOMPLETE, 3, None)
        assert found.summary is not None
        assert (found.summary.embedded, found.summary.failed) == (1, 1)
        found = ended(library.home, second)
    assert (found.state, found.exit_code) == (SessionState.DONE, 0)


def test_priority_decides_and_then_who_came_first(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever order they were asked for in."""
    code = NOTES.format(path=str(tmp_path / "order"), code=5)
    monkeypatch.setattr(sessions_runner, "COMMAND", (sys.executable, "-S", "-c", code))
    asked = [(ask(library.home, priority), priority) for priority in [Priority.LOW, Priority.HIGH, Priority.NORMAL] * 5]
    with opened(library.home):
        last = ended(library.home, asked[-3][0])
    expected = [number for priority in Priority for number, of in asked if of is priority]
    assert [int(line) for line in (tmp_path / "order").read_text().split()] == expected
    assert (last.state, last.exit_code, last.error) == (
        SessionState.FAILED,
        5,
        "it could not be begun (exit code 5); the server's log has more",
    )


def test_a_session_that_no_process_can_be_started_for_has_failed(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says why, and the next one is not kept waiting."""
    monkeypatch.setattr(sessions_runner, "COMMAND", ("/nowhere/python",))
    first, second = ask(library.home), ask(library.home)
    with opened(library.home):
        assert ended(library.home, first).state is SessionState.FAILED
        assert "No such file or directory" in (ended(library.home, second).error or "")


@pytest.mark.slow
def test_a_cancelled_session_keeps_what_it_has_stored(library: Library) -> None:
    """As after SIGINT, even if the server ignores that; to cancel one that waits leaves it alone."""
    library.add(*(f"slow-{number}.png" for number in range(40)))
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with opened(library.home) as runner:
        number, waiting = ask(library.home), ask(library.home)
        wait_until(lambda: embedding(library.home, number))
        signal.signal(signal.SIGINT, ignored)
        with Catalog(library.home.catalog, write=True) as catalog:
            assert Runs(catalog).ask_to_stop(waiting)
        runner.cancel(session(library.home, waiting))
        assert session(library.home, waiting).state is SessionState.STOPPED
        assert session(library.home, number).state is SessionState.RUNNING
        with Catalog(library.home.catalog, write=True) as catalog:
            assert Runs(catalog).ask_to_stop(number)
        assert session(library.home, number).state is SessionState.STOPPING
        runner.cancel(session(library.home, number))
        found = ended(library.home, number)
        assert (found.state, found.exit_code, found.error) == (SessionState.STOPPED, 130, None)
        assert found.summary is not None
        assert 0 < found.summary.embedded < 40
        assert len(library.rows()) == 2 + found.summary.embedded


@pytest.mark.slow
def test_a_session_whose_process_is_killed_says_so_and_the_next_one_runs(library: Library) -> None:
    """What it has stored stays."""
    library.add(*(f"slow-{number}.png" for number in range(20)))
    with opened(library.home):
        first, second = ask(library.home), ask(library.home)
        wait_until(lambda: embedding(library.home, first))
        with CatalogReader(library.home.catalog) as catalog:
            os.kill(session_holder(catalog) or 0, signal.SIGKILL)
        found = ended(library.home, first)
        assert (found.state, found.exit_code) == (SessionState.FAILED, 137)
        assert (found.error or "").startswith("its process was ended by signal 9")
        assert ended(library.home, second).state is SessionState.DONE
    assert len(library.rows()) == 22


@pytest.mark.slow
def test_a_session_waits_for_a_run_of_somebody_else_and_can_be_cancelled_meanwhile(library: Library) -> None:
    """That run is no error; the session is in the stage `wait`."""
    with opened(library.home) as runner, exclusive_lock(library.home.lock):
        number = ask(library.home)
        wait_until(lambda: session(library.home, number).state is SessionState.RUNNING)
        progress = session(library.home, number).progress
        assert progress is not None
        assert progress.stage == "wait"
        with Catalog(library.home.catalog, write=True) as catalog:
            Runs(catalog).ask_to_stop(number)
        runner.cancel(session(library.home, number))
        found = ended(library.home, number)
    assert (found.state, found.exit_code, found.summary) == (SessionState.STOPPED, 130, None)


@pytest.mark.slow
def test_two_runners_run_each_session_once(library: Library, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As two servers on one index do: nothing is embedded twice."""
    monkeypatch.setenv("FAKE_MODEL_JOURNAL", str(tmp_path / "journal"))
    library.add(*(f"{number}.png" for number in range(10)))
    with opened(library.home) as one, opened(library.home) as other:
        numbers = [ask(library.home) for _ in range(4)]
        for runner in (one, other):
            runner.start(session(library.home, numbers[0]))
        assert {ended(library.home, number).state for number in numbers} == {SessionState.DONE}
    assert (tmp_path / "journal").stat().st_size == 10


@pytest.mark.slow
def test_the_end_of_the_server_stops_what_runs_and_leaves_what_waits(library: Library) -> None:
    """It is stopped as by SIGINT; the next server goes on."""
    library.add(*(f"slow-{number}.png" for number in range(40)))
    first, second = ask(library.home), ask(library.home)
    with opened(library.home):
        wait_until(lambda: embedding(library.home, first))
    found = session(library.home, first)
    assert (found.state, found.exit_code) == (SessionState.STOPPED, 130)
    assert session(library.home, second).state is SessionState.QUEUED
