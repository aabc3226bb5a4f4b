"""The table of runs: what each says of itself, whose turn it is, and which are dead."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from image_index.catalog import runs as runs_module
from image_index.catalog.catalog import Catalog
from image_index.catalog.lock import exclusive_lock
from image_index.catalog.runs import KILLED, SCAN_NOTED_EVERY_S, Run, Runs
from image_index.errors import Interrupted, ModelUnavailable, UsageError
from image_index.records import (
    KnownRun,
    Outcome,
    Priority,
    Progress,
    RunKind,
    ScanProblem,
    Session,
    StageSeconds,
    Summary,
)
from image_index.settings import IndexHome
from image_index.stop import StopRequest
from tests.support.records import batch


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


def test_a_run_is_running_until_its_block_ends(catalog: Catalog, path: Path) -> None:
    """A run that was killed is seen as such, for nobody ends its block."""
    with exclusive_lock(IndexHome(path.parent).lock), Runs(catalog).recorded() as run:
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
        assert last_run(reopened).error == KILLED


# Sessions


def asked(catalog: Catalog, kind: RunKind = RunKind.QUEUE) -> int:
    """Return the number of a session that waits."""
    return Runs(catalog).ask(kind, Priority.NORMAL, "{}")


def ask(catalog: Catalog, priority: Priority = Priority.NORMAL) -> int:
    """Return the number of a session that waits for the server to run it."""
    return Runs(catalog).ask(RunKind.EMBEDDED, priority, "{}")


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


def test_sessions_wait_in_the_order_of_priority_and_then_of_arrival(catalog: Catalog) -> None:
    """Those of another kind wait elsewhere."""
    asked = [(ask(catalog, priority), priority) for priority in reversed(Priority) for _ in range(2)]
    Runs(catalog).ask(RunKind.QUEUE, Priority.HIGH, "{}")
    expected = [number for priority in Priority for number, of in asked if of is priority]
    assert [session.id for session in Runs(catalog).queued(RunKind.EMBEDDED)] == expected


def test_a_session_is_taken_once(catalog: Catalog) -> None:
    """Whoever comes second is told, and so is who comes for one that was cancelled."""
    taken, cancelled = ask(catalog), ask(catalog)
    assert Runs(catalog).ask_to_stop(cancelled)
    Run(catalog, StopRequest()).claim(taken)
    for number in (taken, cancelled, 99):
        with pytest.raises(UsageError, match=f"no session {number} that waits"):
            Run(catalog, StopRequest()).claim(number)
    assert Runs(catalog).queued(RunKind.EMBEDDED) == []


def test_the_last_run_is_the_one_that_was_begun_last(catalog: Catalog, path: Path) -> None:
    """A session that waits, or was cancelled while it did, is none; who has let go of the lock is dead."""
    ask(catalog)
    Runs(catalog).ask_to_stop(ask(catalog))
    assert Runs(catalog).last() is None
    with exclusive_lock(IndexHome(path.parent).lock):
        Run(catalog, StopRequest()).begin()
        ask(catalog)
        assert last_run(catalog).outcome == "running"
    assert (last_run(catalog).outcome, last_run(catalog).error) == ("failed", KILLED)


def test_who_takes_a_lock_finds_those_dead_who_had_it_before(catalog: Catalog, path: Path) -> None:
    """A session takes that of sessions, a foreign run that of runs; neither judges the other."""
    session = ask(catalog)
    Run(catalog, StopRequest()).claim(session)
    foreign = Run(catalog, StopRequest())
    foreign.begin()
    home = IndexHome(path.parent)
    with exclusive_lock(home.session_lock), exclusive_lock(home.lock):
        assert [told(catalog, number).state for number in (session, foreign.id or 0)] == ["running", "running"]
        Run(catalog, StopRequest()).begin()
        assert [told(catalog, number).state for number in (session, foreign.id or 0)] == ["running", "failed"]
        Run(catalog, StopRequest()).claim(ask(catalog))
        assert [told(catalog, number).state for number in (session, foreign.id or 0)] == ["failed", "failed"]


def test_to_give_up_leaves_what_lives_and_what_has_ended(catalog: Catalog, path: Path) -> None:
    """What waits and what is dead has failed."""
    runs, waiting, running, cancelled = Runs(catalog), ask(catalog), ask(catalog), ask(catalog)
    Run(catalog, StopRequest()).claim(running)
    runs.ask_to_stop(cancelled)
    with exclusive_lock(IndexHome(path.parent).session_lock):
        for number in (waiting, running, cancelled):
            runs.give_up(number, "why", 5)
        assert [told(catalog, number).state for number in (waiting, running, cancelled)] == [
            "failed",
            "running",
            "stopped",
        ]
    runs.give_up(running, "why", 137)
    found = runs.session(running)
    assert found is not None
    assert (found.state, found.error, found.exit_code) == ("failed", "why", 137)


def test_a_run_finds_in_its_row_that_it_is_to_stop(catalog: Catalog) -> None:
    """With its next batch, whoever has asked for that; a signal that came first keeps its number."""
    stop = StopRequest()
    run = Run(catalog, stop)
    run.begin()
    catalog.record(batch({b"/a": [1, 0, 0, 0]}), run.noting(Progress("embed", 1, 3)))
    assert not stop()
    assert Runs(catalog).ask_to_stop(run.id or 0)
    catalog.record(batch({b"/b": [1, 0, 0, 0]}), run.noting(Progress("embed", 2, 3)))
    assert stop.signal_number == signal.SIGINT
    stop.signal_number = signal.SIGTERM
    catalog.record(batch({b"/c": [1, 0, 0, 0]}), run.noting(Progress("embed", 3, 3)))
    assert stop.signal_number == signal.SIGTERM


def test_progress_is_written_at_each_new_stage_and_with_each_batch(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan, which stores nothing, says now and then how far it is; whoever listens hears all of it."""
    clock = [1000.0]
    monkeypatch.setattr(runs_module.time, "monotonic", lambda: clock[0])  # type: ignore[attr-defined]
    heard: list[Progress] = []
    run = Run(catalog, StopRequest())
    run.begin()
    report = run.reporting(heard.append)

    def written() -> tuple[str, int]:
        session = Runs(catalog).session(run.id or 0)
        assert session is not None
        assert session.progress is not None
        return session.progress.stage, session.progress.done

    report(Progress("scan", 1000))
    assert written() == ("scan", 0)
    clock[0] += SCAN_NOTED_EVERY_S
    report(Progress("scan", 2000))
    assert written() == ("scan", 2000)
    report(Progress("load", 0, 9))
    assert written() == ("load", 0)
    catalog.record(batch({b"/a": [1, 0, 0, 0]}), run.noting(Progress("embed", 4, 9)))
    report(Progress("embed", 8, 9))
    assert written() == ("embed", 4)
    assert [progress.done for progress in heard] == [1000, 2000, 0, 8]


def test_states_are_counted(catalog: Catalog, path: Path) -> None:
    """Each session once; one that could not read everything is incomplete, and one whose process is gone has failed."""
    ask(catalog)
    Runs(catalog).ask_to_stop(ask(catalog))
    for summary in (SUMMARY, replace(SUMMARY, problems=()), replace(SUMMARY, problems=(), failed=1)):
        with Runs(catalog).recorded() as run:
            run.begin()
            run.summary = summary
    Run(catalog, StopRequest()).begin()
    counted = {"queued": 1, "stopped": 1, "done": 1, "incomplete": 2}
    assert Runs(catalog).count_states() == counted | {"failed": 1}
    with exclusive_lock(IndexHome(path.parent).lock):
        assert Runs(catalog).count_states() == counted | {"running": 1}


def test_old_runs_that_nobody_asked_for_are_forgotten(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch makes one for each batch, for years; sessions stay, and no number is given out again."""
    monkeypatch.setattr(runs_module, "FOREIGN_KEPT", 3)
    runs = Runs(catalog)
    session = runs.ask(RunKind.QUEUE, Priority.NORMAL, "{}")
    for _ in range(6):
        with runs.recorded() as run:
            run.begin()
    assert [known.id for known in runs.page(before=100, limit=100)] == [7, 6, 5, session]
