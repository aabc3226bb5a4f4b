"""A real Redis of a test's own, on a free port of this machine, that keeps what it is told (AOF)."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tests.support.programs import needed

WAIT_S = 60


@dataclass
class RedisServer:
    """A Redis that can be struck and started again."""

    directory: Path
    program: str
    port: int
    password: str = ""
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://{f':{self.password}@' if self.password else ''}localhost:{self.port}"

    @property
    def client(self) -> Redis:
        """A connection that waits for a Redis which is about to come back."""
        return Redis.from_url(self.url, retry=Retry(ConstantBackoff(0.1), 300))

    def start(self) -> None:
        """Start it with what it knew, and wait until it answers."""
        settings = f"--port {self.port} --bind 127.0.0.1 --appendonly yes --appendfsync always --save".split()
        settings += ["", "--dir", str(self.directory)]
        settings += ["--requirepass", self.password] if self.password else []
        self.running.append(subprocess.Popen((self.program, *settings), stdout=subprocess.DEVNULL))
        give_up = time.monotonic() + WAIT_S
        while True:
            try:
                Redis.from_url(self.url).ping()
                return
            except RedisError:
                assert time.monotonic() < give_up
                time.sleep(0.05)

    def strike(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it by a signal."""
        for process in self.running:
            process.send_signal(number)
            process.wait()
        self.running.clear()

    def forget(self) -> None:
        """Lose all that it knows, as one without AOF does."""
        self.client.flushall()


@contextmanager
def redis_server(directory: Path, password: str = "") -> Iterator[RedisServer]:
    """Give a Redis, and end it."""
    directory.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    server = RedisServer(directory, needed(["redis-server"], "redis-server"), port, password)
    try:
        server.start()
        yield server
    finally:
        server.strike()
