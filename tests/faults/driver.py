"""The run under attack, in a process of its own: `python -m tests.faults.driver ORDERS`, with the orders as JSON.

It prints what came of `update_index` as one line of JSON; or it is the command line with a fake model behind it.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import count, cycle
from pathlib import Path
from typing import Any

from image_index.catalog import catalog as catalogs
from image_index.catalog import database
from image_index.catalog.catalog import Catalog
from image_index.catalog.runs import Run
from image_index.catalog.schema import open_database
from image_index.cli.signals import stop_on_signals
from image_index.cluster.join import cluster_pool
from image_index.cluster.paths import PathMap
from image_index.errors import ImgidxError
from image_index.paths import resolve
from image_index.records import Batch
from image_index.settings import IndexHome
from image_index.stop import StopRequest
from image_index.training.pipeline import UpdateRequest, update_index
from image_index.training.survey import SurveyOptions
from image_index.training.tower_update import TowerExport
from image_index.vectors import moments, vector_file
from image_index.workers import engine as engines
from image_index.workers.child import Child, Deadlines, State
from image_index.workers.engine import Engine
from image_index.workers.pool import ChildPool, PoolLimits
from tests.support import fake_models
from tests.support.children import counted_restarts

STRIKES: dict[str, tuple[Any, str, str]] = {
    "run begun": (Run, "begin", "after"),
    "first batch": (Catalog, "record", "before"),
    "inside a commit": (catalogs, "_insert_image", "after"),
    "between image and generation": (catalogs, "_next_generation", "before"),
    "after a commit": (Catalog, "record", "after"),
    "roots noted": (Catalog, "note_scan", "after"),
    "before the text tower": (TowerExport, "settle", "before"),
    "after the text tower": (TowerExport, "settle", "after"),
    "before the vectors are written": (vector_file, "_append", "before"),
    "after the vectors are written": (vector_file, "_append", "after"),
    "before their table": (vector_file, "_write_table", "before"),
    "trailer of the moments": (moments, "append_trailer", "after"),
    "before the rename": (os, "replace", "before"),
    "after the rename": (os, "replace", "after"),
    "run finished": (Run, "finish", "after"),
}
"""Named moments of a run: whose function, its name, and whether the process group is killed before or after it."""

SQL = "at any SQL statement"
"""The name of one more moment: before the nth statement that writes, `COMMIT` included."""

BATCH = 16
"""How many pictures are stored in one transaction."""

DEADLY = (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV, signal.SIGSTOP)


@dataclass(frozen=True, slots=True)
class Orders:
    """What a driver is to do."""

    photos: str
    index: str
    strike: str = ""
    """A key of `STRIKES`, `SQL`, or `preload`."""
    nth: int = 1
    """At which call of that function, or statement, the group is killed."""
    torment_seed: int | None = None
    """Children are struck at random moments, by this seed."""
    torment_every_s: float = 1.0
    file_s: float = 20.0
    no_children: bool = False
    wait_s: float = 0.0
    cluster: str = ""
    """The address of a Ray cluster on which to embed."""
    commits: str = ""
    """A file in which the number of pictures stored is kept up to date, eight digits."""
    arguments: list[str] = field(default_factory=list)
    """A command line to run instead, with the fake model."""


def main() -> None:
    """Do what the command line says; exit with the run's own code."""
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background jobs ignore it, and so would the run
    orders = Orders(**json.loads(sys.argv[1]))
    if orders.arguments:
        from image_index.cli.app import run

        vars(engines)["Engine"] = partial(Engine, loader=fake_models.load)  # train builds its own
        sys.exit(run(orders.arguments))
    _set_traps(orders)
    loader = fake_models.load_and_kill_all if orders.strike == "preload" else fake_models.load
    limits = PoolLimits(Deadlines(load_s=60, file_s=orders.file_s))
    engine = Engine("cpu", workers=2, batch_size=BATCH, limits=limits, loader=loader)
    if orders.torment_seed is not None:
        threading.Thread(target=_torment, args=(orders,), daemon=True).start()
    survey = SurveyOptions((resolve(Path(orders.photos)),))
    home = IndexHome(Path(orders.index))
    request = UpdateRequest(home, survey, "starter", engine, quiet=True, wait_s=orders.wait_s)
    if orders.cluster:
        request = replace(request, make_pool=partial(cluster_pool, orders.cluster, PathMap()))
    started = time.monotonic()
    try:
        stopping = stop_on_signals() if orders.cluster else nullcontext(StopRequest())
        with counted_restarts() as restarts, stopping as stop:
            summary = update_index(request, stop=stop)
            outcome = {**asdict(summary), "remaining": summary.remaining}
    except ImgidxError as error:
        outcome = {"error": type(error).__name__, "seconds": time.monotonic() - started}
    names = ("embedded", "failed", "failed_before", "unchanged", "remaining", "stopped_by", "error", "seconds")
    print(json.dumps({"restarts": restarts.call_count, **{name: outcome.get(name) for name in names}}), flush=True)


def _set_traps(orders: Orders) -> None:
    """Replace the functions at which something is to happen."""
    if orders.strike in STRIKES:
        owner, name, when = STRIKES[orders.strike]
        setattr(owner, name, _trap(getattr(owner, name), when, orders.nth))
    if orders.strike == SQL:
        vars(database)["open_database"] = partial(_open_and_count, nth=orders.nth)
    if orders.no_children:
        ChildPool.start = _refuse  # type: ignore[assignment, method-assign]
    if orders.commits:
        record = Catalog.record

        def record_and_tell(catalog: Catalog, *arguments: Any) -> None:
            record(catalog, *arguments)
            _tell(orders.commits, catalog.counts().images)

        Catalog.record = record_and_tell  # type: ignore[assignment, method-assign]


def _refuse(_: ChildPool) -> None:
    raise AssertionError("a child was started")


def _tell(path: str, count: int) -> None:
    """Write the count in one system call, so that a reader never sees half of it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.pwrite(descriptor, b"%08d" % count, 0)
    os.close(descriptor)


def _trap(function: Callable[..., Any], when: str, nth: int) -> Callable[..., Any]:
    """Return `function`, but for the death of the process group at its `nth` call."""
    calls = 0

    def trapped(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth and when == "before":
            os.killpg(0, signal.SIGKILL)
        result = function(*arguments, **options)
        if calls == nth:
            os.killpg(0, signal.SIGKILL)
        return result

    return trapped


def _open_and_count(path: Path, *, write: bool, nth: int) -> sqlite3.Connection:
    """Open a catalog, and kill the process group before the `nth` statement that writes to it."""
    connection = open_database(path, write=write)
    numbers = count(1)

    def trace(statement: str) -> None:
        if statement.startswith(("INSERT", "UPDATE", "DELETE", "COMMIT")) and next(numbers) == nth:
            os.killpg(0, signal.SIGKILL)

    connection.set_trace_callback(trace if write else None)
    return connection


def _torment(orders: Orders) -> None:
    """Strike random children at random moments.

    Two kinds are left alone, for there chance cannot be told from guilt, by design: a picture that is tried alone
    after it was struck once (`work_queue.DEATHS_ALONE`), and a child that loads after another of its place died so.
    """
    started: list[Child] = []
    start = Child.start

    def start_and_tell(*arguments: Any) -> Child:
        started.append(start(*arguments))
        return started[-1]

    Child.start = start_and_tell  # type: ignore[assignment, method-assign]
    rng = random.Random(orders.torment_seed)
    blows = cycle(rng.sample([*DEADLY, None], len(DEADLY) + 1))
    while True:
        time.sleep(rng.uniform(0, 2 * orders.torment_every_s))
        children = [child for child in list(started) if _may_be_struck(child)]
        if children:
            victim = rng.choice(children).process.pid
            with suppress(ProcessLookupError):
                _strike(victim, next(blows))


def _may_be_struck(child: Child) -> bool:
    """Tell whether a child is fair game."""
    alone = any(isinstance(job, Batch) and len(job.files) == 1 for job in list(child.held))
    is_up = child.state is State.READY or child.failed_starts == 0
    return child.is_alive and is_up and not alone


def _strike(victim: int, blow: signal.Signals | None) -> None:
    """Send a deadly signal; None takes (on Linux) what memory the process may still get."""
    if blow is not None:
        os.kill(victim, blow)
    elif sys.platform == "linux":
        resource.prlimit(victim, resource.RLIMIT_AS, (1 << 20, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
