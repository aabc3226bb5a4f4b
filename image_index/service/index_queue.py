"""The job of an index: a note in Redis that sessions of that index wait, one at a time for each index.

Sessions are rows of the catalog. Redis holds nothing that is not there too, so that a Redis that has lost all it knew
costs no session: whoever calls `offer` next puts the job back.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from redis import Redis
from rq import Queue
from rq.exceptions import DuplicateJobError, NoSuchJobError
from rq.job import Job, JobStatus, Retry
from rq.serializers import JSONSerializer

from image_index.catalog.catalog import Catalog
from image_index.catalog.reader import CatalogReader
from image_index.catalog.runs import KILLED, Runs
from image_index.paths import printable
from image_index.records import Outcome, Priority, RunKind, Session
from image_index.settings import IndexHome

QUEUES = ("training-high", "training-normal", "training-low", "default")
"""The queues in the order in which workers take from them. Nothing of ours goes to `default`."""

RESULT_S, FAILURE_S = 86_400, 7 * 86_400
"""How long Redis keeps how a job ended. Sessions stay in the catalog."""

RETRIES = 2
"""How often RQ gives out a job again whose process or worker was killed."""

LOCK_S = 10
"""After how long the lock of an offer is let go of, should its holder have died."""

LOCK_WAIT_S = 1.0
"""How long an offer waits for another one of its index: whoever ends a server or a worker waits as long."""

LOST_AFTER_S = 10.0
"""After how long a job is lost that no queue holds and no worker has: one that takes it says so much earlier."""

SEEN_S = 30
"""For how long it is remembered when a job was first seen lost."""

logger = logging.getLogger(__name__)

FUNCTION = "image_index.service.index_queue.TrainingJob"
"""What a job says that it runs, for monitors; no worker of ours imports what a job names."""


class TrainingJob(Job):
    """A job that can do one thing: train what waits in the index whose directory is its argument.

    RQ imports the function and the callbacks that a job names, and sends its webhooks. Here nothing of that is done:
    who can write to Redis can have sessions run that wait already, and cannot run code.
    """

    success_callback = failure_callback = stopped_callback = None
    train: Callable[[IndexHome], dict[str, Any]]

    @property
    def home(self) -> IndexHome:
        """The index. Raises RQ's `DeserializationError` or `ValueError` for a job that is none of ours."""
        (index,) = self.args
        return IndexHome(Path(index))

    def restore(self, raw_data: Any) -> None:
        """Take over what Redis says of a job. One that cannot be read is none: RQ would end the worker for it."""
        try:
            super().restore(raw_data)
        except Exception as error:  # as many kinds as there are fields
            logger.warning("The job %s in Redis cannot be read and is left out: %s", self.id, error)
            raise NoSuchJobError(f"No such job: {self.id}") from error

    def perform(self) -> dict[str, Any]:
        """Train, and return what the result says."""
        return self.train(self.home)

    def send_webhooks(self, *_: object, **__: object) -> None:
        """Send none."""


def training(job: Job) -> TrainingJob:
    """Return a job as what it is: RQ is told to make no other."""
    assert isinstance(job, TrainingJob)
    return job


def queue(redis: Redis, name: str) -> Queue:
    """Return a queue of training jobs."""
    return Queue(name, connection=redis, serializer=JSONSerializer, job_class=TrainingJob)


def job_id(home: IndexHome) -> str:
    """Return the id of the job of an index: the same for all names of its directory."""
    return f"index-{sha256(os.path.realpath(os.fsencode(home.path))).hexdigest()[:32]}"


def queue_name(priority: Priority) -> str:
    """Return the queue for sessions of a priority."""
    return f"training-{priority}"


def offer(redis: Redis, home: IndexHome) -> None:
    """Have a job of an index wait in the queue of its next session if one waits, and else in none.

    Called whenever that may have changed, and every few seconds. Where another process offers the same index, or died
    while it did, nothing is done. Raises `ImgidxError` and redis-py's `RedisError`.
    """
    lock = redis.lock(f"imgidx:{job_id(home)}", timeout=LOCK_S, blocking_timeout=LOCK_WAIT_S)
    if not lock.acquire():  # without it two offers could take each other's job away
        return
    try:
        waiting = _next_session(home)
        wanted = None if waiting is None else queue_name(waiting.priority)
        for name in QUEUES:  # gives out again, or fails, what a worker held that died
            queue(redis, name).started_job_registry.cleanup()
        job = _job(redis, home)
        if job is None or _may_be_replaced(redis, job, wanted):
            if job is not None:
                _delete(redis, job)
            if wanted is not None:
                _enqueue(redis, home, wanted)
    finally:
        lock.release()


def _next_session(home: IndexHome) -> Session | None:
    """Return the session whose turn it is, None where there is none or one runs; write down which ones have failed."""
    with CatalogReader(home.catalog) as catalog:
        begun, waiting = Runs(catalog).begun(), Runs(catalog).queued(RunKind.QUEUE)
    for session in begun:
        if session.outcome is Outcome.FAILED:
            with Catalog(home.catalog, write=True) as catalog:
                Runs(catalog).give_up(session.id, KILLED)
    is_busy = any(one.outcome is Outcome.RUNNING and one.kind is not RunKind.FOREIGN for one in begun)
    return waiting[0] if waiting and not is_busy else None


def _job(redis: Redis, home: IndexHome) -> TrainingJob | None:
    """Return the job of an index, None where there is none; what cannot be read makes room for another."""
    try:
        job = TrainingJob.fetch(job_id(home), connection=redis, serializer=JSONSerializer)
    except NoSuchJobError:
        redis.delete(TrainingJob.key_for(job_id(home)))
        return None
    return training(job)


def _may_be_replaced(redis: Redis, job: TrainingJob, wanted: str | None) -> bool:
    """Tell whether a job has ended, is lost, or was in another queue than `wanted`, out of which it is taken here."""
    mine, status = queue(redis, job.origin), job.get_status(refresh=False)
    if status is not JobStatus.QUEUED:
        return status is not JobStatus.STARTED
    if job.get_position() is None:  # a worker has taken it, and is about to say so, or died before it could
        return job.id not in mine.started_job_registry and _is_lost(redis, job)
    return job.origin != wanted and bool(mine.remove(job))  # a worker may be faster


def _is_lost(redis: Redis, job: TrainingJob) -> bool:
    """Tell whether a job was seen in no queue and with no worker a while ago already; note that it is seen now."""
    now, key = time.time(), f"imgidx:{job.id}:{job.enqueued_at}"
    redis.set(key, now, nx=True, ex=SEEN_S)
    return now - float(redis.get(key) or now) > LOST_AFTER_S


def _delete(redis: Redis, job: TrainingJob) -> None:
    """Delete a job, without what RQ knows of processes that ran it: that has an end of life, and may have met it."""
    redis.delete(job.execution_registry.key)
    job.delete()


def _enqueue(redis: Redis, home: IndexHome, name: str) -> None:
    """Put the job of an index into a queue."""
    try:
        queue(redis, name).enqueue_call(
            FUNCTION,
            (os.fsdecode(home.path),),
            timeout=-1,
            result_ttl=RESULT_S,
            failure_ttl=FAILURE_S,
            description=f"imgidx train, for {printable(os.fsencode(home.path))}",
            job_id=job_id(home),
            retry=Retry(max=RETRIES),
            unique=True,
        )
    except DuplicateJobError:  # RQ itself has given it out again meanwhile
        return
