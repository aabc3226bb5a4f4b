"""Workers of a queue and servers that leave their sessions to it, in processes of their own, with a fake model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from image_index.settings import IndexHome
from tests.support import fake_command
from tests.support.photos import REPOSITORY

WAIT_S = 90
ENDED = {"done", "incomplete", "failed", "stopped"}


@dataclass(frozen=True)
class Worker:
    """A running worker and what it logs."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def lines(self) -> list[str]:
        """What it has logged so far."""
        return self.log.read_text(encoding="utf-8").splitlines()

    def has_said(self, line: str, count: int = 1) -> None:
        """Wait until it has said something so often."""
        give_up = time.monotonic() + WAIT_S
        while self.lines.count(line) < count:
            assert self.process.poll() is None, self.lines
            assert time.monotonic() < give_up, self.lines
            time.sleep(0.05)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal; return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)


@contextmanager
def working(directory: Path, url: str, *options: str, module: str = fake_command.__name__) -> Iterator[Worker]:
    """Give a worker that takes jobs, and kill it at the end with all that it has started."""
    log = directory / f"worker-{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", module, "worker", "--redis", url, *options]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, cwd=REPOSITORY, env=environment(directory), start_new_session=True
        )
    worker = Worker(process, log)
    try:
        worker.has_said("RQ queue 'default' initialized")
        yield worker
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Server:
    """A server, by the address of its sessions."""

    address: str

    def ask(self, **asked: Any) -> int:
        """Return the number of a session that was queued."""
        return int(self.post("", asked)["id"])

    def post(self, path: str, asked: Any) -> dict[str, Any]:
        """Return what is answered to a JSON object."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.address + path, json.dumps(asked).encode(), headers)
        return _answer(request)

    def session(self, number: int) -> dict[str, Any]:
        """Return a session as it is now."""
        return _answer(urllib.request.Request(f"{self.address}/{number}"))

    def once(self, number: int, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return a session once something is true of it."""
        give_up = time.monotonic() + WAIT_S
        while not true(session := self.session(number)):
            assert time.monotonic() < give_up, session
            time.sleep(0.05)
        return session

    def ended(self, number: int) -> dict[str, Any]:
        """Return a session once it has ended."""
        return self.once(number, lambda session: session["state"] in ENDED)


def _answer(request: urllib.request.Request) -> dict[str, Any]:
    with urllib.request.urlopen(request, timeout=60) as answer:
        told: dict[str, Any] = json.load(answer)
    return told


@contextmanager
def serving(home: IndexHome, url: str, *options: str) -> Iterator[Server]:
    """Give a server whose sessions go to a Redis."""
    command = [*fake_command.COMMAND, "serve", "--index", str(home.path), "--port", "0", "--no-token", "--queue", url]
    process = subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=REPOSITORY,
        env=environment(home.path.parent),
    )
    try:
        assert process.stdout is not None
        yield Server(f"{process.stdout.readline().strip()}api/v1/training/sessions")
    finally:
        process.kill()
        process.communicate()


def environment(directory: Path) -> dict[str, str]:
    """Return the environment of someone whose trainings have one child, and batches of two."""
    config = directory / "config.toml"
    config.write_text('[train]\ndevice = "cpu"\nworkers = 1\nbatch-size = 2\n', encoding="utf-8")
    return {**os.environ, "IMGIDX_CONFIG": str(config), "PYTHONPATH": str(REPOSITORY)}
