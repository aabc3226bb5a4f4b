"""Strike a server and the trainings that it runs, cancel sessions, and ask for many at once."""

from __future__ import annotations

import json
import os
import random
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from image_index.catalog.catalog import Catalog
from image_index.catalog.lock import find_holder
from image_index.catalog.runs import Runs
from image_index.records import Priority, RunKind
from tests.faults.photo_library import Run, Target, compare, library, make_photos, start
from tests.faults.tally import Tally, total, verdict
from tests.support.fake_command import COMMAND

PICTURES, ROUNDS, SESSIONS = 40, 40, 200

NEW = 24
"""How many pictures there are to embed in each round."""

PAUSE_S = 0.25
"""What reading a picture takes while a round is struck: its sessions then take some seconds."""

END_S = 10.0
"""Within this a server is gone after SIGTERM."""

DEADLINE_S = 120.0
"""Within this every session of a round has ended."""

OVER = {"done", "incomplete", "failed", "stopped"}


@dataclass(frozen=True)
class Server:
    """A server that runs sessions with a fake model, and the address of its sessions."""

    run: Run
    address: str

    @classmethod
    def start(cls, made: Target, pause_s: float = 0.0, *more: str) -> Self:
        """Start a server, and wait until it can be asked."""
        options = ["--index", str(made.home.path), "--port", "0", "--no-token", *more]
        run = start([*COMMAND, "serve", *options], variables(made, pause_s))
        assert run.process.stdout is not None
        return cls(run, f"{run.process.stdout.readline().strip()}api/v1/training/sessions")

    def post(self, path: str = "", **asked: Any) -> dict[str, Any]:
        """Return what is answered, a session or a problem."""
        body, headers = json.dumps(asked).encode(), {"Content-Type": "application/json"}
        return _answer(urllib.request.Request(self.address + path, body, headers))

    def sessions(self) -> list[dict[str, Any]]:
        """Return the newest sessions."""
        found: list[dict[str, Any]] = _answer(urllib.request.Request(f"{self.address}?limit=1000"))["sessions"]
        return found

    def end(self) -> Tally:
        """Tell it to end; that takes ten seconds at most."""
        self.run.process.send_signal(signal.SIGTERM)
        over = self.run.is_over(END_S)
        code = self.run.finish(1).code
        return verdict((over and code == 0, f"the server took too long to end, or ended with {code}"))


def _answer(request: urllib.request.Request) -> dict[str, Any]:
    """Return the JSON that a server answers with, also where it tells of a problem."""
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            body: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        body = json.load(error)
    return body


def variables(made: Target, pause_s: float) -> dict[str, str]:
    """Return the environment of trainings with one child and small batches, for which reading a picture takes time."""
    config = made.directory / "config.toml"
    config.write_text('[train]\ndevice = "cpu"\nworkers = 1\nbatch-size = 4\n')
    return {"IMGIDX_CONFIG": str(config), "FAKE_MODEL_PAUSE_S": str(pause_s)}


Strike = Callable[[Target, Server, random.Random], Tally]


def _kill_server(_: Target, server: Server, __: random.Random) -> Tally:
    os.kill(server.run.process.pid, signal.SIGKILL)
    server.run.process.wait()
    return Tally("")


def _kill_training(made: Target, _: Server, __: random.Random) -> Tally:
    holder = find_holder(made.home.session_lock)
    if holder and holder.isdecimal():
        with suppress(ProcessLookupError):
            os.kill(int(holder), signal.SIGKILL)
    return Tally("")


def _kill_both(made: Target, server: Server, rng: random.Random) -> Tally:
    return _kill_server(made, server, rng) + _kill_training(made, server, rng)


def _cancel(_: Target, server: Server, rng: random.Random) -> Tally:
    session = rng.choice([one for one in server.sessions() if one["kind"] == "embedded"])
    answer = server.post(f"/{session['id']}/cancel")
    told = answer.get("state") in {"stopping", "stopped"} or answer.get("status") == 409
    return verdict((told, f"cancelling a session was answered {answer}"))


def _end_server(_: Target, server: Server, __: random.Random) -> Tally:
    return server.end()


STRIKES: Mapping[Strike, frozenset[str]] = {
    _kill_server: frozenset({"done"}),
    _kill_training: frozenset({"done", "failed"}),
    _kill_both: frozenset({"done", "failed"}),
    _cancel: frozenset({"done", "stopped"}),
    _end_server: frozenset({"done", "stopped"}),
}
"""What is done to a server, and how its sessions may then end."""


def attack(seed: int, scale: float) -> Tally:
    """Strike at random moments; then let two servers run many sessions that wait."""
    rng = random.Random(seed)
    with library(max(8, round(PICTURES * min(scale, 1))), seed) as made:
        parts = [verdict((made.run().code == 0, "the first run failed"))]
        parts += [_round(made, rng, number) for number in range(max(len(STRIKES), round(ROUNDS * scale)))]
        parts.append(_many(made, max(9, round(SESSIONS * scale))))
    return total("sessions: server, training killed; cancelled", parts)


def _round(made: Target, rng: random.Random, number: int) -> Tally:
    """Ask for sessions, strike, and let them and one more come to their ends."""
    make_photos(made.photos, NEW, number, f"new-{number:03d}")
    strike = list(STRIKES)[number % len(STRIKES)]
    server = Server.start(made, PAUSE_S)
    for _ in range(3):
        server.post(priority=rng.choice(list(Priority)))
    first = min(one["id"] for one in server.sessions()[:3])
    time.sleep(rng.uniform(0, NEW * PAUSE_S / 2))
    before = made.rows()
    parts = [strike(made, server, rng)]
    if server.run.is_over(0):
        server = Server.start(made)
    last = server.post(priority="low")["id"]
    ended = await_ends(server)
    parts += [ended, server.end(), compare(before, made.rows())]
    ends = {number: state for number, state in states(made).items() if number >= first}
    lost = sum(os.fsencode(path) not in made.rows() for path in made.photos.resolve().rglob("*.jpg"))
    allowed = STRIKES[strike]
    checks = verdict(
        (ends[last] == "done", f"after {strike.__name__} the last session is {ends[last]}"),
        ({*ends.values()} <= allowed, f"after {strike.__name__} sessions are {ends}"),
        ([*ends.values()].count("stopped") <= 1, f"after {strike.__name__} several are stopped: {ends}"),
    )
    return total("", [*parts, checks, nobody_left(made)]) + Tally("", tried=1, lost=lost)


def await_ends(server: Server, deadline_s: float = DEADLINE_S) -> Tally:
    """Wait until every session has ended; what has not by then hangs."""
    deadline = time.monotonic() + deadline_s
    while any(one["state"] not in OVER for one in server.sessions()):
        if time.monotonic() > deadline:
            return Tally("", hangs=1)
        time.sleep(0.1)
    return Tally("")


def states(made: Target) -> dict[int, str]:
    """Return the state of every session and run, by its number."""
    with Catalog(made.home.catalog) as catalog:
        return {one.id: str(one.state) for one in Runs(catalog).page(1 << 62, 10_000)}


def nobody_left(made: Target) -> Tally:
    """Check that no training is left that nobody waits for."""
    deadline = time.monotonic() + END_S
    while find_holder(made.home.session_lock) or find_holder(made.home.lock):
        if time.monotonic() > deadline:
            return verdict((False, "a training is left behind"))
        time.sleep(0.05)
    return Tally("")


def _many(made: Target, count: int) -> Tally:
    """Let two servers on one index run many sessions of three priorities that wait already."""
    priorities = [list(Priority)[number % 3] for number in range(count)]
    with Catalog(made.home.catalog, write=True) as catalog:
        numbers = [Runs(catalog).ask(RunKind.EMBEDDED, priority, "{}") for priority in priorities]
    servers = [Server.start(made), Server.start(made)]
    parts = [await_ends(servers[0], DEADLINE_S + count * 5), *(server.end() for server in servers)]
    with Catalog(made.home.catalog) as catalog:
        found = [Runs(catalog).session(number) for number in numbers]
    in_turn = sorted((one for one in found if one), key=lambda one: (list(Priority).index(one.priority), one.id))
    begun = [one.started_at_s or 0 for one in in_turn]  # in seconds: the order within one is not known
    checks = verdict(
        (all(one is not None and one.state == "done" for one in found), "a session is not done"),
        (begun == sorted(begun), "sessions were not begun in their turn"),
    )
    return total("", [*parts, checks, nobody_left(made)]) + Tally("", tried=count)
