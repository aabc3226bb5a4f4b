"""Training sessions of `imgidx serve`: what becomes of them when it ends, or is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from image_index.settings import IndexHome
from tests.support import fake_command
from tests.support.fake_models import PAUSE_S
from tests.support.library import Library
from tests.support.photos import REPOSITORY
from tests.support.servers import get, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

COUNT = 60
"""How many new pictures there are: reading them takes half a minute."""

OVER = {"done", "incomplete", "failed", "stopped"}


@pytest.fixture
def library(tmp_path: Path, home: IndexHome, monkeypatch: pytest.MonkeyPatch) -> Library:
    """Return an index of one picture beside which new ones lie; what trains it has a fake model and one slow child."""
    made = Library(tmp_path / "photos", home)
    made.add("a.png")
    made.train()
    made.add(*(f"{number}.png" for number in range(COUNT)))
    (tmp_path / "config.toml").write_text('[train]\ndevice = "cpu"\nworkers = 1\nbatch-size = 2\n')
    monkeypatch.setenv("IMGIDX_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv(PAUSE_S, "1")
    return made


@contextmanager
def served(home: IndexHome) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Give the address of the sessions of a server, and its process."""
    with running(home, "--no-token", module=fake_command.__name__) as (address, process):
        yield f"{address}api/v1/training/sessions", process


def post(address: str, **asked: Any) -> dict[str, Any]:
    """Return the session that an address answers with."""
    body = json.dumps(asked).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        session: dict[str, Any] = json.load(answer)
    return session


def seen(address: str, number: int, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return a session once something is true of it."""
    deadline = time.monotonic() + 60
    while True:
        session: dict[str, Any] = json.loads(get(f"{address}/{number}")[1])
        if true(session):
            return session
        assert time.monotonic() < deadline, session
        time.sleep(0.05)


def is_embedding(session: dict[str, Any]) -> bool:
    """Tell whether a session has stored something and is at work."""
    return bool(session.get("stage") == "embed")


def is_over(session: dict[str, Any]) -> bool:
    """Tell whether a session has ended."""
    return session["state"] in OVER and session["ended_at"] is not None


def test_a_server_that_ends_stops_its_session_and_the_next_goes_on(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who watches the session is told of its end no more; what waits is run after the next start."""
    with served(library.home) as (address, process):
        first, second = post(address)["id"], post(address, priority="low")["id"]
        seen(address, first, is_embedding)
        with urllib.request.urlopen(f"{address}/{first}/events", timeout=60) as events:
            assert events.readline().startswith(b"data: {")
            process.send_signal(signal.SIGTERM)
            events.read()
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out) == (0, "")
        assert "Traceback" not in err
    monkeypatch.delenv(PAUSE_S)
    with served(library.home) as (address, _):
        stopped = seen(address, first, is_over)
        assert (stopped["state"], stopped["exit_code"]) == ("stopped", 130)
        assert seen(address, second, is_over)["state"] == "done"
    assert len(library.rows()) == 1 + COUNT


def test_a_training_outlives_its_server_and_is_seen_and_stopped_by_the_next(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL leaves the server no time to stop it."""
    with served(library.home) as (address, process):
        first, second = post(address)["id"], post(address)["id"]
        seen(address, first, is_embedding)
        process.kill()
    monkeypatch.delenv(PAUSE_S)
    with served(library.home) as (address, _):
        assert seen(address, first, is_embedding)["state"] == "running"
        assert post(f"{address}/{first}/cancel")["state"] == "stopping"
        stopped = seen(address, first, is_over)
        assert (stopped["state"], stopped["exit_code"]) == ("stopped", 130)
        assert 0 < stopped["summary"]["embedded"] < COUNT
        assert seen(address, second, is_over)["state"] == "done"
    assert len(library.rows()) == 1 + COUNT


def test_a_training_from_a_shell_is_seen_and_can_be_stopped(library: Library) -> None:
    """It is `foreign`, and tells how far it is as a session does."""
    arguments = ["train", "--quiet", "--index", str(library.home.path), str(library.photos)]
    with served(library.home) as (address, _):
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        training = subprocess.Popen([*fake_command.COMMAND, *arguments], env=environment, stderr=subprocess.PIPE)
        with training:
            found = seen(address, 2, is_embedding)
            assert (found["kind"], found["state"], found["total"]) == ("foreign", "running", COUNT)
            assert post(f"{address}/2/cancel")["state"] == "stopping"
            assert training.wait(60) == 130
        stopped = seen(address, 2, is_over)
    assert (stopped["state"], stopped["exit_code"]) == ("stopped", 130)
