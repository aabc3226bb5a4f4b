"""Read beside a run that writes, and let runs meet: two on one index, two on two."""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from image_index.catalog.catalog import Catalog
from image_index.search.ranking import SearchOptions
from image_index.settings import IndexHome
from tests.faults.photo_library import Run, Target, agrees, compare, library, make_photos, start
from tests.faults.tally import Tally, total, verdict
from tests.support.library import search

PICTURES, PAUSE_S = 500, 0.12
"""At full length the writing run takes half a minute; readers come to thousands of answers in it."""

READERS = 2
"""Threads in this process, and as many processes."""

AT_ONCE_S = 2.0
"""Within this a second run is turned away: most of it is the start of an interpreter."""


def attack(seed: int, scale: float) -> Tally:
    """Search, count and list failures while a run writes; then let two runs meet."""
    count = max(60, round(PICTURES * min(scale, 1)))
    with library(count, seed) as made:
        parts = [verdict((made.run().code == 0, "the first run failed"))]
        make_photos(made.photos, count, seed + 1, "later")
        undisturbed = made.elsewhere("undisturbed")
        parts.append(verdict((undisturbed.run().code == 0, "the undisturbed run failed")))
        expected = undisturbed.rows()
        parts.append(_read_beside(made))
        parts.append(agrees(made, expected))
        parts.append(_two_on_two(made))
        parts.append(_after_a_kill(made.elsewhere("killed")))
    return total("read beside a run; two runs meet", parts)


def _read_beside(made: Target) -> Tally:
    """Let readers ask all the time while a run writes, and two more runs come."""
    commits = made.directory / "commits"
    commits.write_bytes(b"%08d" % made.count)
    over = threading.Event()
    writer = made.start(pause_s=PAUSE_S, commits=str(commits))
    while int(commits.read_bytes()) == made.count and not writer.is_over(0.01):
        pass
    others = [start([sys.executable, "-m", __name__, str(made.home.path), str(commits)], {}) for _ in range(READERS)]
    with ThreadPoolExecutor(READERS) as pool:
        readers = [pool.submit(read, made.home, commits, over) for _ in range(READERS)]
        parts = _rivals(made)
        outcome = writer.finish()
        over.set()
        parts += [reader.result() for reader in readers]
    parts += [_told(other) for other in others]
    parts.append(verdict((outcome.code == 0, f"the writing run failed: {outcome}")))
    return total("", parts) + Tally("", hangs=outcome.hung)


def _rivals(made: Target) -> list[Tally]:
    """Start a second run, which is turned away at once, and one that waits, which gets its turn."""
    waiting = made.start(wait_s=600)
    turned_away = made.run()
    waited = waiting.finish()
    return [
        verdict(
            (turned_away.result.get("error") == "IndexLocked", f"a second run was let in: {turned_away}"),
            (turned_away.result.get("seconds", 99) < AT_ONCE_S, f"a second run was kept waiting: {turned_away}"),
            (waited.code == 0 and waited.result.get("embedded") == 0, f"the waiting run: {waited}"),
        ),
        Tally("", hangs=turned_away.hung + waited.hung),
    ]


def _told(reader: Run) -> Tally:
    """Return what a reading process has counted."""
    os.kill(reader.process.pid, signal.SIGTERM)
    outcome = reader.finish(60)
    checks = verdict((outcome.code == 0, f"a reading process failed: {outcome}"))
    return checks + Tally("", **outcome.result) + Tally("", hangs=outcome.hung)


def read(home: IndexHome, commits: Path, over: threading.Event) -> Tally:
    """Ask an index for counts, hits and failures until `over`; nothing may be older than the last commit."""
    tried = wrong = seen = 0
    while not over.is_set():
        stored = max(seen, int(commits.read_bytes()))
        with Catalog(home.catalog) as catalog:
            seen = catalog.counts().images
            _, vectors = next(catalog.vectors_after(0, chunk=1), (None, np.empty((0, 0), np.float32)))
            found = [search(catalog, home, vector, SearchOptions(limit=None)) for vector in vectors]
            failures = list(catalog.failures())
        wrong += verdict(
            (seen >= stored, f"{seen} images counted after {stored} were stored"),
            (not found or len(found[0]) >= seen, f"hits are older than the count of {seen}"),
            (bool(found) == bool(len(vectors)) and not failures, f"failures from nowhere: {failures}"),
        ).wrong
        tried += 1
    return Tally("", tried=tried, wrong=wrong)


def _two_on_two(made: Target) -> Tally:
    """Let two runs work on two indexes of the same pictures at once: each does all of its work."""
    first, second = made.elsewhere("first"), made.elsewhere("second")
    runs = [one.start(pause_s=0.002) for one in (first, second)]
    outcomes = [run.finish() for run in runs]
    embedded = [outcome.result.get("embedded") for outcome in outcomes]
    checks = verdict((embedded == [len(made.rows())] * 2, f"two runs on two indexes embedded {embedded}"))
    return checks + agrees(first, made.rows()) + agrees(second, made.rows()) + Tally("", tried=1)


def _after_a_kill(made: Target) -> Tally:
    """Kill a run that holds the lock: the next one is let in at once, and goes on."""
    run = made.start(pause_s=0.02)
    while not made.rows() and not run.is_over(0.02):
        pass
    run.kill()
    before = made.rows()
    outcome = made.run()
    embedded = outcome.result.get("embedded")
    checks = verdict((embedded == len(made.rows()) - len(before), f"the run after a kill: {outcome}"))
    return checks + compare(before, made.rows()) + Tally("", tried=1, hangs=outcome.hung)


def main() -> None:
    """Read until SIGTERM, then print what came of it."""
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    tally = read(IndexHome(Path(sys.argv[1])), Path(sys.argv[2]), over)
    print(f'{{"tried": {tally.tried}, "wrong": {tally.wrong}}}', flush=True)


if __name__ == "__main__":
    main()
