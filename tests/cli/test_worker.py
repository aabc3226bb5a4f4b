"""`imgidx worker` beside `imgidx serve --queue`, with a real Redis: the test that the project was founded on."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from image_index.settings import IndexHome
from tests.support.fake_models import JOURNAL, PAUSE_S
from tests.support.library import Library
from tests.support.queue_workers import serving, working
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.shell import Shell

START = [
    "Starting RQ worker with priority queues",
    "Redis URL: redis://localhost:{port}",
    "Processing queues in order: ['training-high', 'training-normal', 'training-low', 'default']",
    "RQ queue 'training-high' initialized",
    "RQ queue 'training-normal' initialized",
    "RQ queue 'training-low' initialized",
    "RQ queue 'default' initialized",
]
JOB = [
    "Preloading embedding model in worker process",
    "Loading OpenCLIP model starter on cpu, by ONNX Runtime",
    "Model loaded. Embedding dim: 512",
    "Embedding model preloaded successfully in worker process",
    "Job completed successfully",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Give a Redis for all tests here."""
    with redis_server(tmp_path_factory.mktemp("redis"), password="secret") as started:
        yield started


@pytest.fixture
def redis(server: RedisServer) -> RedisServer:
    """Return a Redis that knows nothing."""
    server.forget()
    return server


@pytest.fixture
def library(tmp_path: Path, home: IndexHome, monkeypatch: pytest.MonkeyPatch) -> Library:
    """Return an index of one picture beside which new ones lie; each picture embedded leaves a byte in a journal."""
    made = Library(tmp_path / "photos", home)
    made.add("a.png")
    made.train()
    made.add(*(f"{number}.png" for number in range(9)))
    monkeypatch.setenv(JOURNAL, str(tmp_path / "journal"))
    return made


def embedded(library: Library) -> int:
    """Return how many pictures have been embedded, each time that one was."""
    journal = library.photos.parent / "journal"
    return len(journal.read_bytes()) if journal.exists() else 0


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_session_that_is_asked_for_is_processed_without_a_crash(
    starter_index: IndexHome, home: IndexHome, sample_photos: Path, redis: RedisServer
) -> None:
    """The log lines are a promise, no password is in them, and the worker's own process never loads torch."""
    shutil.copytree(starter_index.path, home.path)
    here = home.path.parent
    (here / "photos").mkdir()
    for name in ("coffee.png", "chelsea.png"):
        shutil.copy(sample_photos / name, here / "photos")
    allowed = ("--allow", str(here))
    with working(here, redis.url, module="image_index") as worker, serving(home, redis.url, *allowed) as server:
        session = server.ended(server.ask(training_directory=str(here / "photos")))
        worker.has_said(JOB[-1])
        assert "libtorch" not in Path(f"/proc/{worker.process.pid}/maps").read_text()
        assert worker.end() == 0
    assert (session["kind"], session["state"], session["exit_code"]) == ("queue", "done", 0)
    assert session["summary"]["embedded"] == 2
    lines = worker.lines
    assert lines[: len(START)] == [line.format(port=redis.port) for line in START]
    assert [line for line in lines if line in JOB] == JOB
    assert "secret" not in "".join(lines)


@pytest.mark.slow
def test_a_worker_that_ends_leaves_its_session_to_the_next_one(
    library: Library, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its batches in flight are stored; nothing is embedded twice, and the session is never told as ended before."""
    with serving(library.home, redis.url) as server:
        number = server.ask()
        monkeypatch.setenv(PAUSE_S, "0.3")
        with working(library.photos.parent, redis.url) as worker:
            server.once(number, lambda session: session["stage"] == "embed" and session["done"] > 0)
            assert worker.end() == 0
        session = server.session(number)
        assert (session["state"], session["ended_at"]) == ("queued", None)
        assert 0 < embedded(library) < 9
        monkeypatch.setenv(PAUSE_S, "0")
        with working(library.photos.parent, redis.url):
            assert server.ended(number)["state"] == "done"
    assert (embedded(library), len(library.rows())) == (9, 10)


def test_what_cannot_be_read_does_not_end_a_worker(tmp_path: Path, redis: RedisServer) -> None:
    """One line says so, and it goes on."""
    with Redis.from_url(redis.url) as connection, working(tmp_path, redis.url) as worker:
        connection.hset("rq:job:odd", mapping={"data": "[]", "created_at": "no time"})
        connection.rpush("rq:queue:training-high", "odd", "gone")
        give_up = time.monotonic() + 30
        while connection.exists("rq:queue:training-high") and time.monotonic() < give_up:
            time.sleep(0.05)
        assert worker.end() == 0
    said = [line for line in worker.lines if "odd" in line]
    assert len(said) == 1
    assert said[0].startswith("imgidx: The job odd in Redis cannot be read and is left out: ")


def test_a_worker_that_an_error_ends_says_so(tmp_path: Path, redis: RedisServer) -> None:
    """Else whoever starts it again after a failure would not: RQ ends it where a queue is none."""
    with Redis.from_url(redis.url) as connection:
        connection.set("rq:queue:training-high", "no list")
    with working(tmp_path, redis.url) as worker:
        assert worker.process.wait() == 8


@pytest.mark.slow
def test_a_second_signal_ends_a_worker_at_once(
    library: Library, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the picture at work takes ten minutes; no process is left, and the session waits."""
    library.add("hangs.png")
    with serving(library.home, redis.url) as server:
        number = server.ask()
        with working(library.photos.parent, redis.url) as worker:
            server.once(number, lambda session: session["stage"] == "embed" and session["done"] > 0)
            horses = children_of(worker.process.pid)
            worker.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)  # else they are one signal
            assert worker.end() == 0
            assert horses
            assert not any(os.path.exists(f"/proc/{pid}") for pid in horses)
        assert server.session(number)["state"] == "queued"


@pytest.mark.slow
def test_a_session_is_cancelled_where_it_runs(
    library: Library, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by Ctrl-C: what is stored stays, and no other worker goes on with it."""
    monkeypatch.setenv(PAUSE_S, "0.3")
    with working(library.photos.parent, redis.url) as worker, serving(library.home, redis.url) as server:
        number = server.ask()
        server.once(number, lambda session: session["stage"] == "embed" and session["done"] > 0)
        assert server.post(f"/{number}/cancel", {})["state"] == "stopping"
        session = server.ended(number)
        assert (session["state"], session["exit_code"]) == ("stopped", 128 + signal.SIGINT)
        assert 0 < session["done"] < 9
        monkeypatch.setenv(PAUSE_S, "0")
        assert server.ended(server.ask())["state"] == "done"
        assert worker.process.poll() is None
    assert len(library.rows()) == 10


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--redis", "redis://queue.example"), "--allow-open-redis"),
        (("--redis", "localhost"), "is no address of a Redis"),
        (("--queues", "training-high,,default"), "--queues takes names"),
    ],
)
def test_wrong_use_is_told(shell: Shell, options: tuple[str, ...], says: str) -> None:
    """Before anything is asked of a Redis."""
    done = shell.run("worker", *options)
    assert done.code == 2
    assert says in done.err.splitlines()[-1]


@pytest.mark.parametrize("command", [("worker",), ("serve", "--queue", "redis://localhost")])
def test_without_the_extra_one_line_says_how_to_get_it(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """What the core installs brings neither rq nor redis."""
    for name in [name for name in sys.modules if name.startswith(("image_index.service", "rq", "redis"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rq", None)
    monkeypatch.setitem(sys.modules, "redis", None)
    done = shell.run(*command)
    assert done.code == 2
    assert "pip install 'imgidx[queue]'" in done.complaint


def children_of(pid: int) -> set[int]:
    """Return the processes below a process."""
    found = {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    return found | {below for child in found for below in children_of(child)}
