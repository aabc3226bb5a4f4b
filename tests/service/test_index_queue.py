"""The job of an index in a real Redis: there is one exactly when sessions wait, and in the queue of the next one."""

from __future__ import annotations

import json
import os
import pickle
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis
from rq.exceptions import DeserializationError
from rq.job import JobStatus
from rq.serializers import JSONSerializer

from image_index.catalog.catalog import Catalog
from image_index.catalog.lock import exclusive_lock
from image_index.catalog.runs import Runs
from image_index.errors import StorageError
from image_index.records import Outcome, Priority, RunKind
from image_index.service import index_queue
from image_index.service.index_queue import QUEUES, TrainingJob, job_id, offer, queue, training
from image_index.settings import IndexHome
from tests.support.library import make_index
from tests.support.redis_servers import RedisServer, redis_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Give a Redis for all tests here."""
    with redis_server(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture
def redis(server: RedisServer) -> Redis:
    """Return a connection to a Redis that knows nothing."""
    server.forget()
    return server.client


@pytest.fixture
def home(tmp_path: Path) -> IndexHome:
    """Return an index."""
    made = IndexHome(tmp_path / "index")
    make_index(made, 2)
    return made


def ask(home: IndexHome, priority: Priority = Priority.NORMAL) -> int:
    """Return the number of a session that waits."""
    with Catalog(home.catalog, write=True) as catalog:
        return Runs(catalog).ask(RunKind.QUEUE, priority, "{}")


def cancel(home: IndexHome, session: int) -> None:
    """End a session that waits."""
    with Catalog(home.catalog, write=True) as catalog:
        assert Runs(catalog).ask_to_stop(session)


def waiting(redis: Redis) -> dict[str, list[str]]:
    """Return the ids of the jobs in each queue that has some."""
    return {name: jobs for name in QUEUES if (jobs := queue(redis, name).get_job_ids())}


def job_of(redis: Redis, home: IndexHome) -> TrainingJob:
    """Return the job of an index, which must be there."""
    return training(TrainingJob.fetch(job_id(home), redis, JSONSerializer))


def test_there_is_a_job_when_a_session_waits_and_else_none(redis: Redis, home: IndexHome) -> None:
    """However often it is offered."""
    offer(redis, home)
    assert waiting(redis) == {}
    session = ask(home)
    for _ in range(3):
        offer(redis, home)
        assert waiting(redis) == {"training-normal": [job_id(home)]}
    cancel(home, session)
    offer(redis, home)
    assert waiting(redis) == {}
    assert not TrainingJob.exists(job_id(home), redis)


def test_the_job_waits_in_the_queue_of_the_session_whose_turn_it_is(redis: Redis, home: IndexHome) -> None:
    """A session of a higher priority takes it along, and lets it go when it is cancelled."""
    ask(home, Priority.LOW)
    offer(redis, home)
    assert waiting(redis) == {"training-low": [job_id(home)]}
    high = ask(home, Priority.HIGH)
    ask(home)
    offer(redis, home)
    assert waiting(redis) == {"training-high": [job_id(home)]}
    cancel(home, high)
    offer(redis, home)
    assert waiting(redis) == {"training-normal": [job_id(home)]}


def test_an_index_has_one_job_by_whatever_name_it_is_called(redis: Redis, home: IndexHome, tmp_path: Path) -> None:
    """And each index its own."""
    (tmp_path / "link").symlink_to(home.path)
    other = IndexHome(tmp_path / "other")
    make_index(other, 2)
    ask(home)
    ask(other)
    for each in (home, IndexHome(tmp_path / "link"), other):
        offer(redis, each)
    assert waiting(redis) == {"training-normal": [job_id(home), job_id(other)]}


def test_a_redis_that_has_forgotten_everything_costs_no_session(redis: Redis, home: IndexHome) -> None:
    """It is the catalog that remembers."""
    ask(home)
    offer(redis, home)
    redis.flushall()
    offer(redis, home)
    assert waiting(redis) == {"training-normal": [job_id(home)]}


def test_an_offer_whose_process_was_killed_holds_up_no_other_for_long(
    redis: Redis, home: IndexHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It left its lock in Redis; who offers next goes on without, and offers once the lock is gone."""
    monkeypatch.setattr(index_queue, "LOCK_WAIT_S", 0.01)
    ask(home)
    lock = f"imgidx:{job_id(home)}"
    redis.set(lock, "of a process that was killed", ex=60)
    offer(redis, home)
    assert waiting(redis) == {}
    redis.delete(lock)
    offer(redis, home)
    assert waiting(redis) == {"training-normal": [job_id(home)]}


def test_a_job_that_a_worker_took_and_lost_is_given_out_again(
    redis: Redis, home: IndexHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It died between taking it and saying so; one that is about to say so is left in peace."""
    ask(home)
    offer(redis, home)
    assert queue(redis, "training-normal").pop_job_id() == job_id(home)
    for _ in range(3):
        offer(redis, home)
        assert waiting(redis) == {}
    monkeypatch.setattr(index_queue, "LOST_AFTER_S", 0.0)
    offer(redis, home)
    assert waiting(redis) == {"training-normal": [job_id(home)]}


def test_a_job_that_a_worker_has_is_left_to_it(redis: Redis, home: IndexHome) -> None:
    """Once it has ended, the next session gets a job."""
    ask(home)
    offer(redis, home)
    assert queue(redis, "training-normal").pop_job_id() == job_id(home)
    job = job_of(redis, home)
    job.set_status(JobStatus.STARTED)
    offer(redis, home)
    assert waiting(redis) == {}
    job.set_status(JobStatus.FINISHED)
    offer(redis, home)
    assert waiting(redis) == {"training-normal": [job_id(home)]}


def test_while_a_session_runs_nothing_is_offered(redis: Redis, home: IndexHome) -> None:
    """Though Redis has forgotten that it does: a second worker would only wait for the first."""
    running = ask(home)
    ask(home)
    with ExitStack() as stack:
        stack.enter_context(exclusive_lock(home.session_lock))
        catalog = stack.enter_context(Catalog(home.catalog, write=True))
        stack.enter_context(Runs(catalog).recorded(session=running))
        offer(redis, home)
        assert waiting(redis) == {}
    offer(redis, home)
    assert waiting(redis) == {"training-normal": [job_id(home)]}


def test_a_session_whose_process_was_killed_too_often_has_failed(redis: Redis, home: IndexHome) -> None:
    """That is written down where it is noticed, and no job is offered for it."""
    session = ask(home)
    for expected in ({"training-normal": [job_id(home)]}, {"training-normal": [job_id(home)]}, {}):
        with Catalog(home.catalog, write=True) as catalog, catalog.transaction() as connection:
            connection.execute("UPDATE runs SET outcome = 'running', tries = tries + 1, started_at_s = 1")
        redis.flushall()
        offer(redis, home)
        assert waiting(redis) == expected
    with Catalog(home.catalog) as catalog:
        ended = Runs(catalog).session(session)
    assert ended is not None
    assert (ended.outcome, ended.tries, ended.ended_at_s is not None) == (Outcome.FAILED, 3, True)


def test_a_job_is_json_and_runs_no_code_that_it_names(redis: Redis, home: IndexHome, tmp_path: Path) -> None:
    """Who can write to Redis could otherwise do what the worker can."""
    mark = tmp_path / "mark"
    for data in (
        json.dumps(["os.mkdir", None, [str(mark)], {}]).encode(),
        pickle.dumps(("os.mkdir", None, (str(mark),), {})),
    ):
        ask(home)
        offer(redis, home)
        redis.hset(f"rq:job:{job_id(home)}", mapping={"data": data, "success_callback_name": "os.mkdir"})
        job = job_of(redis, home)
        job.train = lambda index: {"trained": str(index.path)}
        if data.startswith(b"["):
            assert job.perform() == {"trained": str(mark)}
        else:
            with pytest.raises(DeserializationError):
                job.perform()
        assert job.success_callback is None
        assert not mark.exists()


def test_a_path_that_is_no_text_comes_through(redis: Redis, tmp_path: Path) -> None:
    """JSON carries the bytes of any path."""
    home = IndexHome(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")))
    try:
        home.create()
    except StorageError:
        pytest.skip("this file system wants UTF-8")
    ask(home)
    offer(redis, home)
    assert job_of(redis, home).home == home


def test_a_job_that_cannot_be_read_is_replaced(redis: Redis, home: IndexHome) -> None:
    """Else its index would be trained no more."""
    ask(home)
    offer(redis, home)
    redis.hset(TrainingJob.key_for(job_id(home)), "created_at", "no time")
    offer(redis, home)
    assert job_of(redis, home).home == home
    assert job_id(home) in waiting(redis)["training-normal"]


def test_a_job_whose_process_redis_knows_no_longer_is_replaced(redis: Redis, home: IndexHome) -> None:
    """What Redis knew of it had its end of life; the list of it had not."""
    ask(home)
    offer(redis, home)
    job = job_of(redis, home)
    redis.zadd(job.execution_registry.key, {"gone": time.time() + 1000})
    job.set_status(JobStatus.FAILED)
    queue(redis, "training-normal").remove(job)
    offer(redis, home)
    assert waiting(redis) == {"training-normal": [job_id(home)]}
    assert job_of(redis, home).get_status() is JobStatus.QUEUED
