"""The worker of a queue: it takes the jobs of indexes, and each trains one session in a process of its own."""

from __future__ import annotations

import logging
import os
import pickle
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

from redis.exceptions import RedisError
from rq import Queue, SpawnWorker
from rq.command import parse_payload
from rq.exceptions import DeserializationError, InvalidJobOperation
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer

from image_index.catalog.catalog import Catalog
from image_index.catalog.lock import exclusive_lock
from image_index.catalog.reader import CatalogReader
from image_index.catalog.runs import Runs, session_holder
from image_index.dates import duration_s
from image_index.errors import ImgidxError, IndexLocked, WorkersFailed
from image_index.paths import printable
from image_index.present.sessions import session_record
from image_index.records import INCOMPLETE, Outcome, RunKind, Session
from image_index.service.index_queue import QUEUES, TrainingJob, offer, queue, training
from image_index.service.redis_server import Patience, check_address, connect, greet, shown_address
from image_index.service.sessions_command import WAIT, train_arguments
from image_index.settings import SESSION_VARIABLE, IndexHome

LOOK_EVERY_S = 2
"""How often a worker looks at the session that it runs: for how far it is, and whether it is to stop."""

WORKER_TTL_S = 60
"""After how long a worker is gone that says no more that it is there; an idle one says so every 45 s."""

Train = Callable[[list[str]], int]
"""Runs `imgidx train` with these arguments in this process. Returns its exit code, or raises its errors."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Where the queue is and what to take from it; `train` is a function at the top of a module, for it is pickled."""

    url: str
    train: Train
    queues: tuple[str, ...] = QUEUES
    allow_open: bool = False
    quiet: bool = False


def work(options: WorkerOptions) -> None:
    """Take jobs and run them, until a signal ends that.

    Raises `UsageError` for a Redis that does not let us in, `WorkersFailed` where something else has ended it.
    """
    check_address(options.url, allow_open=options.allow_open)
    logger.info("Starting RQ worker with priority queues")
    logger.info("Redis URL: %s", shown_address(options.url))
    greet(options.url)
    patience = Patience()
    redis = connect(options.url, patience)
    logger.info("Processing queues in order: %s", list(options.queues))
    queues = [queue(redis, name) for name in options.queues]
    for each in queues:
        logger.info("RQ queue '%s' initialized", each.name)
    worker = EmbeddingPreloadWorker(
        queues,
        connection=redis,
        job_class=TrainingJob,
        serializer=JSONSerializer,
        worker_ttl=WORKER_TTL_S,
        maintenance_interval=WORKER_TTL_S,
        job_monitoring_interval=LOOK_EVERY_S,
    )
    worker.patience, worker.train, worker.quiet = patience, options.train, options.quiet
    worker.work(logging_level="WARNING")
    worker.wait_for_horse()  # where Redis was away at the end, the loop may have left it alone
    if not patience.is_over:  # RQ logs an error that it has not foreseen, such as of a job it cannot read, and returns
        raise WorkersFailed("the worker was ended by the error above", "start it again; rq info shows its queues")


class EmbeddingPreloadWorker(SpawnWorker):
    """An RQ worker whose jobs train: the model is loaded in the processes that use it, before their first batch.

    Three kinds of process take part, on every platform:

    - The *main worker* takes jobs from Redis. It loads no model and not even torch.
    - The *work-horse*, a new interpreter for each job, runs `imgidx train`: it scans, plans and stores.
    - The *children* of the horse's pool are spawned by it, and they preload: each loads the model, and then embeds.

    RQ's hook `execute_job`, where a preload is often put, runs in the main worker. What it loads there is not in a
    spawned horse at all; a forked one inherits it, hangs in torch's threads on Linux, and dies in Metal on macOS. The
    first method that runs in the horse is `main_work_horse`.
    """

    patience: Patience
    train: Train
    quiet: bool = False
    log_result_lifespan = False
    asked_to_stop: int | None = None
    """The session that its horse has been told to stop."""
    signals: int = 0

    # The main worker

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Have a horse run a job, then see to it that the next session of its index gets a job too."""
        super().execute_job(job, queue)
        try:
            offer(self.connection, training(job).home)
        # The server of the index offers it every few seconds too. RQ's StopRequested, of a signal, must go on its way.
        except (ImgidxError, RedisError, DeserializationError, InvalidJobOperation, ValueError) as error:
            logger.warning("The next session of job %s gets no job yet: %s", job.id, error)

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Spawn the horse; one that a signal was too early for is told of it now."""
        super().fork_work_horse(job, queue)
        if self.patience.is_over:
            self._signal_horse(signal.SIGTERM)

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """Say that horse and worker live and how far the session is, and stop it where its row says so."""
        super().maintain_heartbeats(job, execution)
        with suppress(ImgidxError):  # the catalog may be gone, or busy
            session = self._session(training(job))
            if session is not None:
                job.meta = session_record(session)
                job.save_meta()  # type: ignore[no-untyped-call]
                if session.stop_asked and session.id != self.asked_to_stop:
                    self.asked_to_stop = session.id
                    self._signal_horse(signal.SIGINT)

    def _session(self, job: TrainingJob) -> Session | None:
        """Return the session that the horse runs, None where it waits for another or has ended it."""
        with CatalogReader(job.home.catalog) as catalog:
            begun = Runs(catalog).begun()
            mine = (one for one in begun if one.kind is RunKind.QUEUE and session_holder(catalog) == self.horse_pid)
            return next(mine, None)

    def handle_payload(self, message: dict[str, Any]) -> None:
        """Obey a command of `rq` or a dashboard; to stop a job is to stop its session as SIGINT does."""
        payload = parse_payload(message)
        if payload["command"] not in {"stop-job", "stop-execution"}:
            super().handle_payload(message)  # type: ignore[no-untyped-call]
        elif payload.get("job_id") == self.get_current_job_id():
            self._signal_horse(signal.SIGINT)

    def handle_warm_shutdown_request(self) -> None:
        """Have the horse store its batches in flight and end; its session waits for the next worker."""
        self.patience.is_over = True
        self._signal_horse(signal.SIGTERM)

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """Have the horse end at once after a second signal, and kill it after a third one."""
        self.signals += 1
        if self.horse_pid and self.signals == 1:
            self._signal_horse(signal.SIGTERM)
        else:
            super().request_force_stop(signum, frame)

    def set_shutdown_requested_date(self) -> None:
        """Note for monitors that the worker ends, if Redis is there."""
        with suppress(RedisError):
            super().set_shutdown_requested_date()  # type: ignore[no-untyped-call]

    def teardown(self) -> None:
        """Say goodbye, if Redis is there."""
        with suppress(RedisError):
            super().teardown()  # type: ignore[no-untyped-call]

    def _signal_horse(self, number: signal.Signals) -> None:
        """Send a signal to the horse alone: the children of its pool are its own business."""
        if self.horse_pid:
            with suppress(ProcessLookupError):
                os.kill(self.horse_pid, number)

    def _dump_worker_config(self) -> bytes:
        """Return what the horse is to know of this worker; RQ's own list leaves out what is ours."""
        kind, attributes = pickle.loads(super()._dump_worker_config())
        return pickle.dumps((kind, {**attributes, "train": self.train, "quiet": self.quiet}))

    # The work-horse

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """Run a job, in the horse, whose logging nobody else has set up."""
        logging.basicConfig(format="%(message)s", level=logging.WARNING, force=True)
        logging.getLogger("image_index").setLevel(logging.ERROR if self.quiet else logging.INFO)
        logging.getLogger("rq.worker").setLevel(logging.WARNING)
        training(job).train = self.train_next
        super().main_work_horse(job, queue)

    def setup_work_horse_signals(self) -> None:
        """Leave signals as a new interpreter has them: `imgidx train` takes SIGINT and SIGTERM to stop cleanly."""

    def train_next(self, home: IndexHome) -> dict[str, Any]:
        """Train the next session of an index, and return how that ended; errors of ours are no reason to try again."""
        try:
            while (session := next_session(home)) is not None:
                result = train_session(session, home, self.train)
                if result is not None:
                    return result
            logger.info("No session of %s waits", printable(os.fsencode(home.path)))
            return {"session": None, "exit_code": 0, "error": None}
        except ImgidxError as error:
            return _result(None, error.exit_code, str(error))


def next_session(home: IndexHome) -> Session | None:
    """Return the session whose turn it is, once no other one runs; a job that was given out twice waits here."""
    with exclusive_lock(home.session_lock, duration_s(WAIT, "--wait")):
        pass
    with CatalogReader(home.catalog) as catalog:
        return next(iter(Runs(catalog).queued(RunKind.QUEUE)), None)


def train_session(session: Session, home: IndexHome, train: Train) -> dict[str, Any] | None:
    """Train what a session asks for; return how that ended, None where another process has begun one first."""
    logger.info("Training session %d of %s", session.id, printable(os.fsencode(home.path)))
    os.environ[SESSION_VARIABLE] = str(session.id)
    try:
        code, error = train(train_arguments(session, home)), None
    except ImgidxError as raised:
        code, error = raised.exit_code, str(raised)
    except Exception as raised:
        _settle(session, home, 1, f"{type(raised).__name__}: {raised}")
        raise
    if _settle(session, home, code, error):
        return None
    return _result(session.id, code, error)


def _settle(session: Session, home: IndexHome, code: int, error: str | None) -> bool:
    """Write down how a session ended that could not be begun; tell whether it is to be tried again."""
    with Catalog(home.catalog, write=True) as catalog:
        runs = Runs(catalog)
        now = runs.session(session.id)
        if now is None or now.outcome is not Outcome.QUEUED or code == 128 + signal.SIGTERM:
            return False
        if code == IndexLocked.exit_code:
            return True
        if code == 128 + signal.SIGINT:
            runs.ask_to_stop(session.id)
        else:
            runs.give_up(session.id, f"it could not be begun: {error or f'exit code {code}'}", code)
        return False


def _result(session: int | None, code: int, error: str | None) -> dict[str, Any]:
    """Return what the result of a job says, and log it."""
    if code in {0, INCOMPLETE}:
        logger.info("Job completed successfully")
    else:
        logger.warning("Job ended with exit code %d: %s", code, error or "")
    return {"session": session, "exit_code": code, "error": error}
