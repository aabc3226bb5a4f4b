"""Strike a queue: work-horses, workers, Redis and servers; cancel and stop sessions, and ask for many at once."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from rq.command import send_stop_job_command
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.serializers import JSONSerializer

from image_index.catalog.catalog import Catalog
from image_index.catalog.lock import find_holder
from image_index.catalog.runs import Runs
from image_index.records import Priority, RunKind, Session
from image_index.service.index_queue import job_id
from tests.faults.photo_library import Run, Target, compare, library, make_photos, start
from tests.faults.sessions import DEADLINE_S, END_S, NEW, PAUSE_S, Server, await_ends, nobody_left, variables
from tests.faults.tally import Tally, total, verdict
from tests.support.fake_command import COMMAND
from tests.support.redis_servers import RedisServer, redis_server

PICTURES, ROUNDS, SESSIONS = 40, 44, 200

SHORT_S, LONG_S = 1.0, 15.0
"""How long Redis is away."""


@dataclass
class Field:
    """All that can be struck: a library, its server, the workers and the Redis."""

    made: Target
    redis: RedisServer
    rng: random.Random
    pause_s: float = 0.0
    workers: list[Run] = field(default_factory=list)
    server: Server | None = None
    number: count[int] = field(default_factory=count)

    def stand(self) -> Server:
        """Start what is not running: a Redis, two workers and a server."""
        if not self.redis.running:
            self.redis.start()
        self.workers = [worker for worker in self.workers if not worker.is_over(0)]
        while len(self.workers) < 2:
            command = [*COMMAND, "worker", "--quiet", "--redis", self.redis.url]
            self.workers.append(start(command, variables(self.made, self.pause_s)))
        if self.server is None or self.server.run.is_over(0):
            options = ("--queue", self.redis.url, "--allow", str(self.made.directory))
            self.server = Server.start(self.made, 0.0, *options)
        return self.server

    @property
    def horse(self) -> int | None:
        """The process that runs a session now."""
        holder = find_holder(self.made.home.session_lock)
        return int(holder) if holder and holder.isdecimal() else None

    def leave(self) -> Tally:
        """Have server and workers end; within ten seconds they are gone, and so is all that they started."""
        for worker in self.workers:
            worker.process.send_signal(signal.SIGTERM)
        outcomes = [worker.finish(END_S) for worker in self.workers]
        ended = self.server.end() if self.server is not None else Tally("")
        self.workers, self.server = [], None
        checks = verdict(
            (not any(outcome.hung for outcome in outcomes), "a worker took too long to end"),
            (all(outcome.code in {0, -signal.SIGKILL} for outcome in outcomes), f"workers ended with {outcomes}"),
            (not (left := left_behind(self.made)), f"processes are left behind: {left}"),
        )
        return ended + checks + nobody_left(self.made)


def left_behind(made: Target) -> list[int]:
    """Return the processes of a library that are still there a moment later (Linux)."""
    mark, deadline = os.fsencode(made.directory / "config.toml"), time.monotonic() + END_S
    while found := [int(path.name) for path in Path("/proc").glob("[0-9]*") if mark in _environment(path)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return found


def _environment(process: Path) -> bytes:
    with suppress(OSError):
        return (process / "environ").read_bytes()
    return b""


Strike = Callable[[Field], None]


def _kill_horse(field: Field) -> None:
    if (horse := field.horse) is not None:
        with suppress(ProcessLookupError):
            os.kill(horse, signal.SIGKILL)


def _kill_workers(field: Field) -> None:
    for worker in field.workers:
        worker.process.kill()
        worker.process.wait()


def _kill_workers_and_horse(field: Field) -> None:
    _kill_workers(field)
    _kill_horse(field)


def _end_workers(field: Field) -> None:
    for worker in field.workers:
        worker.process.send_signal(signal.SIGTERM)
    for worker in field.workers:
        worker.is_over(END_S)


def _kill_redis(field: Field) -> None:
    field.redis.strike()
    time.sleep(SHORT_S)


def _kill_redis_for_long(field: Field) -> None:
    field.redis.strike()
    time.sleep(LONG_S)


def _empty_redis(field: Field) -> None:
    field.redis.forget()


def _kill_server(field: Field) -> None:
    assert field.server is not None
    os.kill(field.server.run.process.pid, signal.SIGKILL)
    field.server.run.process.wait()


def _cancel(field: Field) -> None:
    assert field.server is not None
    field.server.post(f"/{field.rng.choice(field.server.sessions()[:3])['id']}/cancel")


def _stop_job(field: Field) -> None:
    with suppress(InvalidJobOperation, NoSuchJobError):  # none runs
        send_stop_job_command(field.redis.client, job_id(field.made.home), JSONSerializer)


def _take_directory_away(field: Field) -> None:
    assert field.server is not None
    gone = field.made.directory / f"gone-{next(field.number)}"
    gone.mkdir()
    asked = field.server.post(training_directory=str(gone), priority="low")
    shutil.rmtree(gone)
    assert asked["state"] == "queued", asked


STRIKES: Mapping[Strike, frozenset[str]] = {
    _kill_horse: frozenset({"done"}),
    _end_workers: frozenset({"done"}),
    _kill_redis: frozenset({"done"}),
    _cancel: frozenset({"done", "stopped"}),
    _take_directory_away: frozenset({"done", "failed"}),
    _kill_workers: frozenset({"done"}),
    _stop_job: frozenset({"done", "stopped"}),
    _empty_redis: frozenset({"done"}),
    _kill_server: frozenset({"done"}),
    _kill_redis_for_long: frozenset({"done"}),
    _kill_workers_and_horse: frozenset({"done"}),
}
"""What is done, and how the sessions may then end."""


def attack(seed: int, scale: float) -> Tally:
    """Strike at random moments; then let two workers run many sessions that wait."""
    rng = random.Random(seed)
    with (
        library(max(8, round(PICTURES * min(scale, 1))), seed) as made,
        redis_server(made.directory / "redis") as redis,
    ):
        parts = [verdict((made.run().code == 0, "the first run failed"))]
        field = Field(made, redis, rng)
        parts += [_round(field, number) for number in range(max(1, round(ROUNDS * scale)))]
        parts.append(_many(field, max(3, round(SESSIONS * scale))))
    return total("queue: horse, worker, Redis, server killed", parts)


def _round(field: Field, number: int) -> Tally:
    """Ask for sessions, strike, and let them and one more come to their ends."""
    made, strike = field.made, list(STRIKES)[number % len(STRIKES)]
    make_photos(made.photos, NEW, number, f"new-{number:03d}")
    field.pause_s = PAUSE_S
    server = field.stand()
    first = min(server.post(priority=field.rng.choice(list(Priority)))["id"] for _ in range(3))
    deadline = time.monotonic() + DEADLINE_S
    while field.horse is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(field.rng.uniform(0, NEW * PAUSE_S / 3))
    before = made.rows()
    strike(field)
    field.pause_s = 0.0
    server = field.stand()
    last = server.post(priority="low")["id"]
    parts = [await_ends(server), compare(before, made.rows()), field.leave()]
    sessions = _sessions(made, first)
    lost = sum(os.fsencode(path) not in made.rows() for path in made.photos.resolve().rglob("*.jpg"))
    failed = [one.exit_code for one in sessions if one.state == "failed"]
    checks = verdict(
        (sessions[-1].id == last and sessions[-1].state == "done", f"after {strike.__name__}: {sessions[-1]}"),
        ({*(one.state for one in sessions)} <= STRIKES[strike], f"after {strike.__name__} sessions are {sessions}"),
        (set(failed) <= {2}, f"after {strike.__name__} the exit codes are {failed}"),
    )
    return total("", [*parts, checks]) + Tally("", tried=1, lost=lost)


def _sessions(made: Target, first: int) -> list[Session]:
    """Return the sessions from a number on, the first one first."""
    with Catalog(made.home.catalog) as catalog:
        found = Runs(catalog).page(1 << 62, 10_000)
    return [one for one in reversed(found) if one.id >= first and one.kind is RunKind.QUEUE]


def _many(field: Field, count: int) -> Tally:
    """Let two workers run many sessions of three priorities that wait already."""
    made = field.made
    priorities = [list(Priority)[number % 3] for number in range(count)]
    with Catalog(made.home.catalog, write=True) as catalog:
        numbers = [Runs(catalog).ask(RunKind.QUEUE, priority, "{}") for priority in priorities]
    before = made.rows()
    parts = [await_ends(field.stand(), DEADLINE_S + count * 10), compare(before, made.rows()), field.leave()]
    found = _sessions(made, numbers[0])
    in_turn = sorted(found, key=lambda one: (list(Priority).index(one.priority), one.id))
    begun = [one.started_at_s or 0 for one in in_turn]  # in seconds: the order within one is not known
    checks = verdict(
        ([one.id for one in found] == numbers, "a session is gone"),
        (all(one.state == "done" for one in found), "a session is not done"),
        (begun == sorted(begun), "sessions were not begun in their turn"),
    )
    return total("", [*parts, checks]) + Tally("", tried=count)
