"""What a work-horse makes of a job: which session it trains, and how what comes of that is told."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from image_index.catalog.catalog import Catalog
from image_index.catalog.lock import exclusive_lock
from image_index.catalog.runs import Runs
from image_index.errors import ImgidxError, IndexLocked, Interrupted, UsageError
from image_index.records import Outcome, Priority, RunKind, Session
from image_index.service.queue_worker import next_session, train_session
from image_index.settings import SESSION_VARIABLE, IndexHome
from tests.support.library import make_index


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the environment back: a horse changes it for good."""
    monkeypatch.setenv(SESSION_VARIABLE, "")


@pytest.fixture
def home(tmp_path: Path) -> IndexHome:
    """Return an index."""
    made = IndexHome(tmp_path / "index")
    make_index(made, 2)
    return made


def ask(home: IndexHome, priority: Priority = Priority.NORMAL) -> Session:
    """Return a session that waits."""
    with Catalog(home.catalog, write=True) as catalog:
        return told(home, Runs(catalog).ask(RunKind.QUEUE, priority, '{"exclude": ["*.gif"], "time_limit": "2h"}'))


def told(home: IndexHome, number: int) -> Session:
    """Return a session as it is now."""
    with Catalog(home.catalog) as catalog:
        session = Runs(catalog).session(number)
    assert session is not None
    return session


def failing(error: Exception) -> Callable[[list[str]], int]:
    """Return a training that fails before it begins."""

    def train(_: list[str]) -> int:
        raise error

    return train


def test_the_session_whose_turn_it_is_goes_first(home: IndexHome) -> None:
    """And none where none waits."""
    assert next_session(home) is None
    ask(home)
    high = ask(home, Priority.HIGH)
    assert next_session(home) == high


def test_a_job_that_was_given_out_twice_waits_and_finds_nothing_to_do(home: IndexHome) -> None:
    """The first one runs the session meanwhile."""
    session, found = ask(home), list[Session | None]()
    with exclusive_lock(home.session_lock):
        second = threading.Thread(target=lambda: found.append(next_session(home)))
        second.start()
        with Catalog(home.catalog, write=True) as catalog, Runs(catalog).recorded(session=session.id):
            assert second.is_alive()
    second.join(30)
    assert found == [None]
    assert told(home, session.id).outcome is Outcome.DONE


def test_a_session_is_trained_by_its_command_line(home: IndexHome) -> None:
    """As if somebody had typed it; its result has the exit code."""
    given: list[str] = []

    def train(arguments: list[str]) -> int:
        given.extend(arguments)
        return 3

    session = ask(home)
    assert train_session(session, home, train) == {"session": session.id, "exit_code": 3, "error": None}
    assert given == ["--wait=1y", f"--index={home.path}", "--exclude=*.gif", "--time-limit=2h", "--"]


def test_an_error_of_ours_is_returned_and_not_raised(home: IndexHome) -> None:
    """So no queue tries again what would fail again; the session has failed, with the exit code."""
    session = ask(home)
    result = train_session(session, home, failing(UsageError("no such directory: /gone")))
    assert result == {"session": session.id, "exit_code": 2, "error": "no such directory: /gone"}
    ended = told(home, session.id)
    assert (ended.outcome, ended.exit_code) == (Outcome.FAILED, 2)
    assert ended.error == "it could not be begun: no such directory: /gone"


def test_any_other_error_is_raised_and_written_down(home: IndexHome) -> None:
    """The session does not wait for ever for a training that cannot begin."""
    session = ask(home)
    with pytest.raises(ZeroDivisionError):
        train_session(session, home, failing(ZeroDivisionError("by zero")))
    ended = told(home, session.id)
    assert (ended.outcome, ended.error) == (Outcome.FAILED, "it could not be begun: ZeroDivisionError: by zero")


@pytest.mark.parametrize(
    ("error", "outcome", "is_tried_again"),
    [
        (IndexLocked("another imgidx is writing"), Outcome.QUEUED, True),
        (Interrupted(signal.SIGTERM), Outcome.QUEUED, False),
        (Interrupted(signal.SIGINT), Outcome.STOPPED, False),
    ],
)
def test_a_session_that_could_not_begin_yet_waits(
    home: IndexHome, error: ImgidxError, outcome: Outcome, is_tried_again: bool
) -> None:
    """For the process that was faster, or for the next worker; one that somebody stops has ended."""
    session = ask(home)
    assert (train_session(session, home, failing(error)) is None) == is_tried_again
    assert told(home, session.id).outcome is outcome
