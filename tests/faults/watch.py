"""Let a storm of changes blow over watched pictures, and kill the watch in the midst of it."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

from PIL import Image

from image_index.catalog.catalog import Catalog
from image_index.settings import IndexHome
from tests.faults.photo_library import Outcome, Run, Target, library
from tests.faults.tally import Tally, total, verdict
from tests.support.storm import Storm, pictures_by_names

CHANGES, KILLS, PICTURES = 3000, 10, 100
PACE_S = 0.02
"""How long it is quiet after a change: the storm lasts longer than many batches."""


def attack(seed: int, scale: float) -> Tally:
    """Kill a watch again and again while everything changes; then let one see the end of it, and compare."""
    rng = random.Random(seed)
    with library(PICTURES, seed) as made:
        storm = Storm(made.photos, seed)
        blowing = threading.Thread(target=_blow, args=(storm, max(100, round(CHANGES * scale))))
        blowing.start()
        kills = [_kill(made, rng) for _ in range(max(1, round(KILLS * scale)))]
        watching = _watch(made)
        blowing.join()
        ended = _end(made, watching)
        fresh = made.elsewhere("fresh")
        fresh.run()
        lost = len(pictures_by_names(fresh.home) - pictures_by_names(made.home))
        checks = verdict(
            (ended.code == 128 + signal.SIGTERM, f"the watch ended with {ended.code}"),
            (not pictures_by_names(made.home) - pictures_by_names(fresh.home), "the watch knows what is not there"),
            (not made.failed(), f"failures from nowhere: {made.failed()}"),
        )
        return total("a watch killed in a storm", [*kills, checks, Tally("", lost=lost, hangs=ended.hung)])


def _blow(storm: Storm, count: int) -> None:
    for _ in range(count):
        storm.blow(1)
        time.sleep(PACE_S)


def _watch(made: Target) -> Run:
    arguments = ["train", str(made.photos), "--watch", "--index", str(made.home.path), "--model", "starter", "-q"]
    return made.start(arguments=[*arguments, "--device", "cpu", "-j", "1"])


def _kill(made: Target, rng: random.Random) -> Tally:
    """Let a watch begin, kill it at a random moment, and look whether its index is whole."""
    run = _watch(made)
    checks = verdict((not run.is_over(rng.uniform(1, 8)), "a watch ended by itself"))
    run.kill()
    if not made.home.catalog.exists():
        return checks
    with Catalog(made.home.catalog) as catalog:
        problems = list(catalog.integrity_problems())
    return checks + verdict((not problems, f"the catalog is damaged: {problems}")) + Tally("", tried=1)


def _end(made: Target, watching: Run, patience_s: float = 120) -> Outcome:
    """Write a last picture, wait until the watch has it, and end the watch."""
    last = made.photos / "last.png"
    Image.new("RGB", (9, 9)).save(last)
    give_up = time.monotonic() + patience_s
    while not _has(made.home, last) and time.monotonic() < give_up:
        time.sleep(0.2)
    os.kill(watching.process.pid, signal.SIGTERM)
    return watching.finish(60)


def _has(home: IndexHome, path: Path) -> bool:
    if not home.catalog.exists():
        return False
    with Catalog(home.catalog) as catalog:
        return catalog.image_at(os.fsencode(path.resolve())) is not None
