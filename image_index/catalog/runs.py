"""The runs of an index: those that are, that were, and the sessions that wait to be run.

A row of `runs` is written by the process that runs it, so that whoever looks sees the same, be the run one of `cron` or
a session that a server was asked for. Whether that process is still there, the lock says that it holds until its row
has ended: locks die with their holders, and process numbers are given out again.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from image_index.catalog.database import Database
from image_index.catalog.lock import find_holder
from image_index.errors import ImgidxError, Interrupted, StorageError, UsageError
from image_index.records import (
    KnownRun,
    MachineShare,
    Outcome,
    Priority,
    Progress,
    Report,
    RunKind,
    Session,
    StageSeconds,
    Summary,
    session_state,
)
from image_index.settings import IndexHome
from image_index.stop import StopRequest

SCAN_NOTED_EVERY_S = 1.0
"""How often a scan, which stores nothing else, writes down how far it has come."""

KILLED = "it was killed; everything embedded until then is stored, and the next training goes on from there"
"""Why a run failed that has not ended its row."""

MOST_TRIES = 3
"""How often a session of a queue is begun whose process is killed each time; then it has failed."""

FOREIGN_KEPT = 10_000
"""How many numbers of runs a run is remembered that nobody asked for: a watch makes one for each batch of changes."""

_COLUMNS = (
    "id, kind, outcome, priority, request, asked_at_s, started_at_s, ended_at_s, stop_asked_at_s IS NOT NULL,"
    " exit_code, error, tries, progress, summary"
)
_GIVE_OUT_AGAIN = (
    "UPDATE runs SET outcome = 'queued' WHERE outcome = 'running' AND kind = 'queue'"
    f" AND tries < {MOST_TRIES} AND stop_asked_at_s IS NULL"
)
_PUT_BACK = (
    "UPDATE runs SET outcome = 'queued', tries = tries - 1 WHERE id = ? AND kind = 'queue' AND stop_asked_at_s IS NULL"
)
_SETTLE = "UPDATE runs SET outcome = 'failed', error = ?, ended_at_s = ? WHERE outcome = 'running'"
_IN_TURN = "instr('high, normal, low', priority), id"


class Runs:
    """The runs in an open catalog."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def last(self) -> KnownRun | None:
        """Return the run that was begun last, None where there was none; one whose process is gone has failed."""
        sql = "SELECT id FROM runs WHERE started_at_s IS NOT NULL ORDER BY started_at_s DESC, id DESC"
        row = self._database.one(sql)
        run = self.session(row[0]) if row else None
        if run is None or run.started_at_s is None:
            return None
        is_lost = run.outcome is Outcome.QUEUED  # a worker will begin it again
        outcome, error = (Outcome.FAILED, KILLED) if is_lost else (run.outcome, run.error)
        return KnownRun(run.started_at_s, run.ended_at_s, outcome, error, run.summary)

    def ask(self, kind: RunKind, priority: Priority, request: str) -> int:
        """Queue a session and return its number; `request`, JSON, is for whoever will run it."""
        with self._database.transaction() as connection:
            sql = "INSERT INTO runs (kind, priority, request, asked_at_s, outcome) VALUES (?, ?, ?, ?, ?)"
            row = (kind, priority, request, int(time.time()), Outcome.QUEUED)
            return int(connection.execute(sql, row).lastrowid or 0)

    def session(self, number: int) -> Session | None:
        """Return the session or foreign run of that number, None where there is none.

        One whose process is gone is told as what it will be, whether or not that has been written down yet: `failed`,
        or `queued` again where it is one of a queue, which gives it out `MOST_TRIES` times.
        """
        session = self._read(number)
        if session is None or not self._is_dead(session):
            return session
        # Its process may have ended its row, and only then let go of the lock, since the row was read.
        again = self._read(number)
        if again != session:
            return again
        if session.kind is RunKind.QUEUE and session.tries < MOST_TRIES and not session.stop_asked:
            return replace(session, outcome=Outcome.QUEUED)
        return replace(session, outcome=Outcome.FAILED, error=KILLED)

    def page(self, before: int, limit: int) -> list[Session]:
        """Return the newest sessions and foreign runs whose number is below `before`, newest first."""
        return self._sessions("id < ? ORDER BY id DESC LIMIT ?", before, limit)

    def queued(self, kind: RunKind) -> list[Session]:
        """Return the sessions that wait, the one whose turn is next first."""
        found = self._sessions(f"ended_at_s IS NULL AND kind = ? ORDER BY {_IN_TURN}", kind)
        return [session for session in found if session.outcome is Outcome.QUEUED]

    def begun(self) -> list[Session]:
        """Return what has been begun and has not ended its row; those are `failed` whose process is gone."""
        return self._sessions("ended_at_s IS NULL AND outcome = 'running'")

    def adopt(self, kind: RunKind) -> None:
        """Let whoever runs sessions of this kind run those that wait, though they were asked for as another kind."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE runs SET kind = ? WHERE outcome = 'queued'", (kind,))

    def give_up(self, number: int, error: str, exit_code: int | None = None) -> None:
        """Write down that a session has failed that waits or is dead; one that lives or has ended stays as it is."""
        session = self._read(number)
        if session is not None and (session.outcome is Outcome.QUEUED or self._is_dead(session)):
            sql = (
                "UPDATE runs SET outcome = 'failed', error = ?, exit_code = ?, ended_at_s = ?"
                " WHERE id = ? AND outcome = ?"
            )
            with self._database.transaction() as connection:
                connection.execute(sql, (error, exit_code, int(time.time()), number, session.outcome))

    def ask_to_stop(self, number: int) -> bool:
        """End a session that waits, and ask one that runs to stop; return False where there is nothing to stop."""
        now = int(time.time())
        with self._database.transaction() as connection:
            ended = connection.execute(
                "UPDATE runs SET outcome = 'stopped', ended_at_s = ?1, stop_asked_at_s = ?1"
                " WHERE id = ?2 AND outcome = 'queued'",
                (now, number),
            ).rowcount
            asked = connection.execute(
                "UPDATE runs SET stop_asked_at_s = coalesce(stop_asked_at_s, ?) WHERE id = ? AND outcome = 'running'",
                (now, number),
            ).rowcount
        return bool(ended or asked)

    def count_states(self) -> dict[str, int]:
        """Return how many sessions and foreign runs there are in each state."""
        counts = Counter(str(session.state) for session in self.begun())  # those of dead processes are not running
        groups = "SELECT outcome, exit_code, count(*) FROM runs WHERE outcome != 'running' GROUP BY 1, 2"
        for outcome, exit_code, count in self._database.rows(groups):
            counts[session_state(Outcome(outcome), exit_code, stop_asked=False)] += count
        return counts

    @contextmanager
    def recorded(self, stop: StopRequest | None = None, session: int | None = None) -> Iterator[Run]:
        """Record a run: `running` from `begin` until the block ends, then the outcome and summary that it was given.

        A `session` is running from here on; whoever calls this holds the lock of sessions. A block that raises is
        recorded as `failed`, with the error's message, or as `stopped` where a signal ended it. `stop` is set where
        somebody asks the run to stop. Raises `UsageError` for a session that does not wait.
        """
        run = Run(self._database, stop or StopRequest())
        if session is not None:
            run.claim(session)
        try:
            yield run
        except BaseException as error:
            with suppress(StorageError):  # on a full disk this fails too, and the first error says more
                if isinstance(error, Interrupted) or not isinstance(error, Exception):
                    run.finish(Outcome.STOPPED, getattr(error, "exit_code", 128 + signal.SIGINT))
                else:
                    run.finish(Outcome.FAILED, getattr(error, "exit_code", 1), _message(error))
            raise
        run.finish(run.outcome, run.summary.exit_code if run.summary else 0)

    def _is_dead(self, session: Session) -> bool:
        """Tell whether a run has lost its process."""
        return session.outcome is Outcome.RUNNING and find_holder(_lock_of(self._database, session.kind)) is None

    def _read(self, number: int) -> Session | None:
        """Return the session as it is written down."""
        row = self._database.one(f"SELECT {_COLUMNS} FROM runs WHERE id = ?", (number,))
        return None if row is None else self._session(row)

    def _sessions(self, condition: str, *parameters: Any) -> list[Session]:
        """Return the sessions that meet a condition in SQL, as `session` does."""
        numbers = list(self._database.rows(f"SELECT id FROM runs WHERE {condition}", parameters))
        found = (self.session(number) for (number,) in numbers)
        return [session for session in found if session is not None]

    def _session(self, row: Any) -> Session:
        """Return the session of a row of `_COLUMNS`."""
        with self._database.damage_errors():
            number, kind, outcome, priority, *rest, progress, summary = row
            known: list[Any] = [number, RunKind(kind), Outcome(outcome), Priority(priority), *rest]
            known += [_read_progress(progress), _read_summary(summary)]
            return Session(*known)


@dataclass(slots=True)
class Run:
    """A run that is being recorded: what its block sets here is stored when the block ends."""

    database: Database
    stop: StopRequest
    id: int | None = None
    outcome: Outcome = Outcome.DONE
    summary: Summary | None = None
    noted: Progress = field(default_factory=lambda: Progress("wait"))
    noted_at: float = 0.0

    def claim(self, session: int) -> None:
        """Take a session that waits; the caller holds the lock of sessions, so no other one is running."""
        now = int(time.time())
        with self.database.transaction() as connection:
            connection.execute(_GIVE_OUT_AGAIN)
            connection.execute(f"{_SETTLE} AND kind != 'foreign'", (KILLED, now))
            sql = (
                "UPDATE runs SET outcome = 'running', started_at_s = ?, tries = tries + 1"
                " WHERE id = ? AND outcome = 'queued'"
            )
            if not connection.execute(sql, (now, session)).rowcount:
                raise UsageError(f"there is no session {session} that waits")
            self.id = session
            self.noting(self.noted)(connection)

    def begin(self) -> None:
        """Record that the run has the index to itself: its caller holds the lock. A foreign run is new in the table."""
        now = int(time.time())
        with self.database.transaction() as connection:
            connection.execute(f"{_SETTLE} AND kind = 'foreign'", (KILLED, now))
            if self.id is None:
                sql = "INSERT INTO runs (kind, asked_at_s, started_at_s, outcome) VALUES (?1, ?2, ?2, ?3)"
                self.id = connection.execute(sql, (RunKind.FOREIGN, now, Outcome.RUNNING)).lastrowid
                forget = "DELETE FROM runs WHERE kind = 'foreign' AND id <= ?1 - ?2"
                connection.execute(forget, (self.id, FOREIGN_KEPT))
            self.noting(Progress("scan"))(connection)

    def noting(self, progress: Progress) -> Callable[[sqlite3.Connection], None]:
        """Return what writes down, in a transaction of the caller's, how far the run has come."""

        def note(connection: sqlite3.Connection) -> None:
            self.noted_at = time.monotonic()
            self.noted = replace(
                progress,
                pictures_per_second=progress.pictures_per_second or self.noted.pictures_per_second,
                stages=progress.stages or self.noted.stages,
            )
            sql = "UPDATE runs SET progress = ? WHERE id = ? RETURNING stop_asked_at_s IS NOT NULL"
            if (True,) in connection.execute(sql, (_stored(self.noted), self.id)).fetchall():
                self.stop.signal_number = self.stop.signal_number or signal.SIGINT

        return note

    def reporting(self, report: Report) -> Report:
        """Return `report`, which also writes down each new stage, and from time to time how far a scan is."""

        def told(progress: Progress) -> None:
            scanned = progress.stage == "scan" and time.monotonic() >= self.noted_at + SCAN_NOTED_EVERY_S
            if scanned or progress.stage != self.noted.stage:
                with self.database.transaction() as connection:
                    self.noting(progress)(connection)
            report(progress)

        return told

    def finish(self, outcome: Outcome, exit_code: int, error: str | None = None) -> None:
        """Record how the run ended, if it was begun; `error` says why it failed.

        A session of a queue that SIGTERM has stopped waits again: it is the worker that ends, not the session.
        """
        with self.database.transaction() as connection:
            if exit_code == 128 + signal.SIGTERM and connection.execute(_PUT_BACK, (self.id,)).rowcount:
                return
            sql = "UPDATE runs SET ended_at_s = ?, outcome = ?, exit_code = ?, error = ?, summary = ? WHERE id = ?"
            row = (int(time.time()), outcome, exit_code, error, _stored_summary(self.summary), self.id)
            connection.execute(sql, row)


def session_holder(database: Database) -> int | None:
    """Return the process that runs a session, None where there is none."""
    holder = find_holder(_lock_of(database, RunKind.EMBEDDED))
    return int(holder) if holder and holder.isdecimal() else None


def _lock_of(database: Database, kind: RunKind) -> Path:
    """Return the file that a run of this kind holds locked until its row has ended."""
    home = IndexHome(database.path.parent)
    return home.lock if kind is RunKind.FOREIGN else home.session_lock


def _message(error: BaseException) -> str:
    """Return what an error says, behind its type where it is none of ours."""
    return str(error) if isinstance(error, ImgidxError) else f"{type(error).__name__}: {error}"


def _stored(progress: Progress) -> str:
    """Return what the column `runs.progress` holds: the fields by name."""
    return json.dumps(asdict(progress))


def _read_progress(text: str) -> Progress | None:
    """Return what `_stored` was given."""
    fields = json.loads(text)
    if not fields:
        return None
    stages = StageSeconds(**fields["stages"]) if fields["stages"] else None
    return Progress(**{**fields, "stages": stages, "machines": _read_machines(fields)})


def _stored_summary(summary: Summary | None) -> str:
    """Return a summary as the column `runs.summary` holds it: its fields by name, but the problems."""
    return "{}" if summary is None else json.dumps(asdict(replace(summary, problems=())))


def _read_summary(text: str) -> Summary | None:
    """Return what `_stored_summary` was given."""
    fields = json.loads(text)
    if not fields:
        return None
    stages, machines = StageSeconds(**fields["stages"]), _read_machines(fields)
    return Summary(**{**fields, "stages": stages, "problems": (), "machines": machines})


def _read_machines(fields: dict[str, Any]) -> tuple[MachineShare, ...]:
    """Return the machines of a progress or summary, which JSON makes lists of."""
    return tuple(MachineShare(*share) for share in fields["machines"])
