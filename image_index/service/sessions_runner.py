"""Who runs the sessions that wait: by default the server itself, one after the other, as `imgidx train` processes."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from contextlib import suppress
from threading import Event, Thread
from time import monotonic
from typing import Protocol

from image_index.catalog.catalog import Catalog
from image_index.catalog.reader import CatalogReader
from image_index.catalog.runs import KILLED, Runs, session_holder
from image_index.errors import ImgidxError, IndexLocked
from image_index.records import Outcome, RunKind, Session
from image_index.service.sessions_command import train_arguments
from image_index.settings import SESSION_VARIABLE, IndexHome

LOOK_EVERY_S = 2.0
"""How often the runner looks for sessions that other servers were asked for, and for the end of those they run."""

CHECK_EVERY_S = 0.1
"""How often it looks whether its process has ended."""

STOP_S = 6.0
"""How long a session may take to stop once the server ends; then it stops at once, without the batches in flight."""

KILL_S = 7.5
"""When it is killed: what is stored stays."""

COMMAND = (sys.executable, "-m", "image_index")
"""What a session is run by."""

logger = logging.getLogger(__name__)


class Runner(Protocol):
    """Who runs sessions; each has a row in the catalog before it is told of here, and says there how far it is."""

    @property
    def kind(self) -> RunKind:
        """What the rows of its sessions say."""

    def open(self) -> None:
        """Take up the sessions that wait already, until `close`."""

    def start(self, session: Session) -> None:
        """Have a session run that has just been queued, when its turn comes. Not called on the event loop's thread."""

    def cancel(self, session: Session) -> None:
        """Stop a session that has been asked to stop in its row, as SIGINT does; one that waited has ended there."""

    def end(self) -> None:
        """Begin to stop what runs: the server has got a signal. Called in the signal handler."""

    def close(self) -> None:
        """Return once what ran has stopped; what waits is left for the next start."""


def interrupt(home: IndexHome, session: Session) -> None:
    """Send SIGINT to the process of a session, if it is running.

    A foreign run gets none: its process may be some program that calls `update_index`. It finds what it is asked for in
    its row, when it stores its next batch.
    """
    if session.kind is RunKind.FOREIGN:
        return
    with CatalogReader(home.catalog) as catalog:
        holder = session_holder(catalog)
        running = Runs(catalog).session(session.id)
    # looked at after the lock: while the session runs, it and no other one holds that
    if holder is not None and running is not None and running.outcome is Outcome.RUNNING:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(holder, signal.SIGINT)


def adopt_sessions(home: IndexHome, kind: RunKind) -> None:
    """Take over the sessions that wait for another kind of runner, whose server ran before this one."""
    try:
        with Catalog(home.catalog, write=True) as catalog:
            Runs(catalog).adopt(kind)
    except ImgidxError as error:  # the index may be read-only, or busy for a minute: the server can do all else
        logger.warning("Sessions that wait cannot be taken over: %s", error)


class EmbeddedRunner:
    """Runs the sessions of an index one after the other, in a thread that waits for their processes.

    Other servers may do the same beside it: a process takes its session under a lock, and goes if another has it.
    """

    kind = RunKind.EMBEDDED

    def __init__(self, home: IndexHome) -> None:
        self._home = home
        self._wake = Event()
        self._ending = False
        self._thread = Thread(target=self._work, daemon=True, name="sessions")

    def open(self) -> None:
        """Take up the sessions that wait already, until `close`."""
        adopt_sessions(self._home, self.kind)
        self._thread.start()

    def start(self, _: Session) -> None:
        """Have a session run that has just been queued, when its turn comes."""
        self._wake.set()

    def cancel(self, session: Session) -> None:
        """Stop a session that has been asked to stop in its row; one that waited has ended there."""
        interrupt(self._home, session)

    def end(self) -> None:
        """Begin to stop what runs; nothing else is begun."""
        self._ending = True

    def close(self) -> None:
        """Return once what ran has stopped."""
        self._ending = True
        self._wake.set()
        self._thread.join(KILL_S)

    def _work(self) -> None:
        """Run what waits, until the end."""
        while not self._ending:
            is_idle = True
            try:
                session = self._next()
                # with that exit code a process of another server was first
                is_idle = session is None or self._run(session) == IndexLocked.exit_code
            except ImgidxError as error:  # the index may be gone, and come back
                logger.debug("No session can be run now: %s", error)
            except Exception:
                logger.exception("A session could not be run")
            if is_idle:
                self._wake.wait(LOOK_EVERY_S)
                self._wake.clear()

    def _next(self) -> Session | None:
        """Return the session whose turn it is, None where there is none or one runs."""
        with CatalogReader(self._home.catalog) as catalog:
            waiting, begun = Runs(catalog).queued(self.kind), Runs(catalog).begun()
        for session in (one for one in begun if one.outcome is Outcome.FAILED):
            self._give_up(session, KILLED)
        is_busy = any(one.outcome is Outcome.RUNNING and one.kind is not RunKind.FOREIGN for one in begun)
        return waiting[0] if waiting and not is_busy else None

    def _run(self, session: Session) -> int:
        """Train what a session asks for; return the exit code of its process."""
        try:
            process = subprocess.Popen(
                (*COMMAND, "train", "--quiet", *train_arguments(session, self._home)),
                env={**os.environ, SESSION_VARIABLE: str(session.id)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # errors and warnings go where those of the server go
                start_new_session=True,  # so that Ctrl-C reaches the server alone, which then asks it to stop
            )
        except (OSError, ValueError, ImgidxError) as error:
            self._give_up(session, f"it could not be begun: {error}")
            return 1
        code = self._await(process)
        if self._ending:  # what our signals have hit before it was begun goes on waiting
            return code
        if code < 0:
            self._give_up(session, f"its process was ended by signal {-code}; everything stored stays", 128 - code)
        elif code != IndexLocked.exit_code:
            self._give_up(session, f"it could not be begun (exit code {code}); the server's log has more", code)
        return code

    def _await(self, process: subprocess.Popen[bytes]) -> int:
        """Return how a process ended; once the server is to end, have it stop."""
        ending_since, to_send = 0.0, [(KILL_S, signal.SIGKILL), (STOP_S, signal.SIGINT), (0.0, signal.SIGINT)]
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(CHECK_EVERY_S)
            if self._ending:
                ending_since = ending_since or monotonic()
                if to_send and monotonic() >= ending_since + to_send[-1][0]:
                    process.send_signal(to_send.pop()[1])

    def _give_up(self, session: Session, error: str, code: int | None = None) -> None:
        """Write down how a session ended whose process has not done so."""
        try:
            with Catalog(self._home.catalog, write=True) as catalog:
                Runs(catalog).give_up(session.id, error, code)
        except ImgidxError:
            logger.exception("The end of session %d could not be written down", session.id)
