"""The table of runs: what each says of itself, whose turn it is, and which are dead."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from image_index.catalog.catalog import Catalog
from image_index.catalog.lock import exclusive_lock
from image_index.catalog.runs import KILLED, Run, Runs
from image_index.errors import Interrupted, ModelUnavailable
from image_index.records import (
    KnownRun,
    Outcome,
    Priority,
    RunKind,
    ScanProblem,
    Session,
    StageSeconds,
    Summary,
)
from image_index.settings import IndexHome
from image_index.stop import StopRequest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the catalog is."""
    return tmp_path / "catalog.sqlite3"


@pytest.fixture
def catalog(path: Path) -> Iterator[Catalog]:
    """Return a new catalog."""
    with Catalog(path, write=True) as made:
        yield made


def last_run(catalog: Catalog) -> KnownRun:
    """Return the newest run, which must be there."""
    last = Runs(catalog).last()
    assert last is not None
    return last


SUMMARY = Summary(planned=4, embedded=3, stages=StageSeconds(scan=0.25), problems=(ScanProblem(b"/\xff", "gone"),))


def test_a_run_is_running_until_its_block_ends(catalog: Catalog) -> None:
    """A run that was killed is seen as such, for nobody ends its block."""
    with Runs(catalog).recorded() as run:
        run.begin()
        last = last_run(catalog)
        assert (last.outcome, last.ended_at_s, last.error) == ("running", None, None)
        run.summary = SUMMARY
    last = last_run(catalog)
    assert (last.outcome, last.summary, last.error) == ("done", replace(SUMMARY, problems=()), None)
    assert last.ended_at_s is not None
    assert last.started_at_s <= last.ended_at_s
    with Runs(catalog).recorded() as run:
        run.begin()
        run.outcome = Outcome.STOPPED
    assert last_run(catalog).outcome == "stopped"


@pytest.mark.parametrize(
    ("error", "outcome", "message"),
    [
        (ModelUnavailable("it cannot be fetched; try again"), "failed", "it cannot be fetched; try again"),
        (ZeroDivisionError("by zero"), "failed", "ZeroDivisionError: by zero"),
        (Interrupted(15), "stopped", None),
        (KeyboardInterrupt(), "stopped", None),
    ],
)
def test_a_run_that_an_error_ends_says_so(
    catalog: Catalog, error: BaseException, outcome: str, message: str | None
) -> None:
    """The error goes on to the caller; what was done before it is kept in the summary."""

    def fail() -> None:
        with Runs(catalog).recorded() as run:
            run.begin()
            run.summary = SUMMARY
            raise error

    with pytest.raises(type(error)):
        fail()
    last = last_run(catalog)
    assert (last.outcome, last.summary, last.error) == (outcome, replace(SUMMARY, problems=()), message)
    assert last.ended_at_s is not None


def test_an_error_is_not_hidden_by_a_disk_on_which_it_cannot_be_recorded(catalog: Catalog, path: Path) -> None:
    """Then the run looks killed, and the caller hears of the first error."""

    def fail() -> None:
        with Runs(catalog).recorded() as run:
            run.begin()
            catalog.close()
            raise ModelUnavailable("gone")

    with pytest.raises(ModelUnavailable):
        fail()
    with Catalog(path, write=True) as reopened:
        assert last_run(reopened).outcome == "running"


def asked(catalog: Catalog, kind: RunKind = RunKind.QUEUE) -> int:
    """Return the number of a session that waits."""
    return Runs(catalog).ask(kind, Priority.NORMAL, "{}")


def killed(catalog: Catalog, session: int) -> None:
    """Begin a session, and leave its row as a process does that is killed."""
    with exclusive_lock(IndexHome(catalog.path.parent).session_lock):
        Run(catalog, StopRequest()).claim(session)


def told(catalog: Catalog, number: int) -> Session:
    """Return a session, which must be there."""
    session = Runs(catalog).session(number)
    assert session is not None
    return session


def test_a_session_of_a_queue_whose_process_is_killed_waits_again(catalog: Catalog) -> None:
    """Twice; the third time it has failed. While it waits, others may go first."""
    session, other = asked(catalog), asked(catalog)
    for tries in (1, 2):
        killed(catalog, session)
        assert (told(catalog, session).outcome, told(catalog, session).tries) == (Outcome.QUEUED, tries)
        assert [one.id for one in Runs(catalog).queued(RunKind.QUEUE)] == [session, other]
    killed(catalog, other)
    assert [one.id for one in Runs(catalog).queued(RunKind.QUEUE)] == [session, other]
    killed(catalog, session)
    assert (told(catalog, session).outcome, told(catalog, session).error) == (Outcome.FAILED, KILLED)
    assert [one.id for one in Runs(catalog).queued(RunKind.QUEUE)] == [other]


def test_a_session_that_was_asked_to_stop_and_is_killed_has_failed(catalog: Catalog) -> None:
    """Nobody wants it to go on."""
    session = asked(catalog)
    killed(catalog, session)
    assert Runs(catalog).ask_to_stop(session)
    assert told(catalog, session).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("kind", "number", "outcome"),
    [
        (RunKind.QUEUE, signal.SIGTERM, Outcome.QUEUED),
        (RunKind.QUEUE, signal.SIGINT, Outcome.STOPPED),
        (RunKind.EMBEDDED, signal.SIGTERM, Outcome.STOPPED),
    ],
)
def test_only_a_worker_that_is_told_to_end_puts_its_session_back(
    catalog: Catalog, kind: RunKind, number: signal.Signals, outcome: Outcome
) -> None:
    """That costs it no try, however often."""
    session = asked(catalog, kind)

    def stop() -> None:
        with exclusive_lock(IndexHome(catalog.path.parent).session_lock), Runs(catalog).recorded(session=session):
            raise Interrupted(number)

    with pytest.raises(Interrupted):
        stop()
    assert told(catalog, session).outcome is outcome
    assert told(catalog, session).tries == (0 if outcome is Outcome.QUEUED else 1)
    assert (told(catalog, session).ended_at_s is None) == (outcome is Outcome.QUEUED)


def test_sessions_that_wait_are_taken_over_by_another_kind(catalog: Catalog) -> None:
    """A server with a queue follows one without, or the other way round."""
    session = asked(catalog, RunKind.EMBEDDED)
    Runs(catalog).adopt(RunKind.QUEUE)
    assert [one.id for one in Runs(catalog).queued(RunKind.QUEUE)] == [session]
    assert not Runs(catalog).queued(RunKind.EMBEDDED)
