"""Pictures that abort, hang, or use up the memory of whoever reads them: one, and ten, among a thousand."""

from __future__ import annotations

import random
from itertools import product

from image_index.workers.pool import FRUITLESS_DEATHS
from image_index.workers.work_queue import DEATHS_ALONE
from tests.faults.photo_library import Target, agrees, compare, library, make_photos
from tests.faults.tally import Tally, total, verdict

PICTURES = 1000

KINDS = {"dies-SIGABRT": "crash", "dies-SIGSEGV": "crash", "hangs": "timeout", "eats": "decode"}
"""Prefixes of the names of poison, and the stage at which it is to fail."""

PATIENCE_S = 1.5

EXPORTS = 1
"""The child that has exported the towers is replaced too, where poison still waits behind the export."""


def attack(seed: int, scale: float) -> Tally:
    """Poison a library in every way, then offer nothing but poison."""
    rng = random.Random(seed)
    count = max(100, round(PICTURES * min(scale, 1)))
    kinds = list(product(KINDS, (1, 10))) if scale >= 1 else [("dies-SIGABRT", 3), ("hangs", 1), ("eats", 1)]
    parts = [_poisoned(kind, doses, count, rng.randrange(1 << 30)) for kind, doses in kinds]
    return total("poison among pictures", [*parts, _nothing_else(seed)])


def _poisoned(kind: str, doses: int, count: int, seed: int) -> Tally:
    """Index a library with poison in it: exactly that fails, within the stated bound of restarts, and only once."""
    with library(count, seed) as made:
        clean = made.run()
        expected = made.rows()
        poisoned = made.elsewhere("poisoned")
        make_photos(made.photos, doses, seed, kind)
        names = {path.name: KINDS[kind] for path in made.photos.rglob(f"{kind}-*")}
        outcome = poisoned.run(file_s=PATIENCE_S)
        restarts = outcome.result.get("restarts", -1)
        again = poisoned.run(no_children=True)
        checks = verdict(
            (clean.code == 0, f"the clean run failed: {clean}"),
            (outcome.code == 0 and len(names) == doses, f"{kind}: the run failed: {outcome}"),
            (poisoned.failed() == names, f"{kind}: failed is {poisoned.failed()}"),
            (0 <= restarts <= doses * (1 + DEATHS_ALONE) + EXPORTS, f"{kind}: {restarts} restarts for {doses}"),
            (again.code == 0 and again.result["failed_before"] == doses, f"{kind}: the next run: {again}"),
        )
        hangs = Tally("", tried=doses, hangs=outcome.hung + again.hung)
        return checks + hangs + agrees(poisoned, expected)


def _nothing_else(seed: int) -> Tally:
    """Offer nothing but poison: the run gives up, and what was stored before is kept."""
    with library(20, seed) as made:
        made.run()
        before = made.rows()
        make_photos(made.photos, FRUITLESS_DEATHS, seed, "dies-SIGKILL")
        outcome = made.run()
        checks = verdict((outcome.result.get("error") == "WorkersFailed", f"nothing but poison: {outcome}"))
        return checks + Tally("", tried=1, hangs=outcome.hung) + compare(before, made.rows()) + _present(made, before)


def _present(made: Target, before: object) -> Tally:
    return verdict((made.rows() == before, "what was stored before the poison came has changed"))
