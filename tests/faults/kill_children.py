"""Strike the children: SIGKILL, SIGABRT, SIGSEGV, SIGSTOP and a lack of memory, at random."""

from __future__ import annotations

import random

from tests.faults.photo_library import Target, agrees, library, make_photos
from tests.faults.tally import Tally, total, verdict

PICTURES, RUNS, GLUTTONS = 500, 6, 3
PAUSE_S = 0.02
"""What reading a picture takes at least."""

EVERY_S = 0.6
PATIENCE_S = 2.0
"""How long a child may be silent: one that is stopped is found after this."""


def attack(seed: int, scale: float) -> Tally:
    """Let runs complete while their children are struck; every innocent picture is indexed."""
    rng = random.Random(seed)
    runs = max(1, round(RUNS * scale))
    parts = [_struck(rng.randrange(1 << 30), max(200, round(PICTURES * min(scale, 1)))) for _ in range(runs)]
    return total("children killed, stopped, starved", parts)


def _struck(seed: int, count: int) -> Tally:
    """Let one run complete under blows, among its pictures some that eat up the memory of whoever reads them."""
    with library(count, seed) as made:
        undisturbed = made.run()
        expected = made.rows()
        under_fire = made.elsewhere("struck")
        make_photos(made.photos, GLUTTONS, seed, "eats")
        outcome = under_fire.run(
            pause_s=PAUSE_S, torment_seed=seed, torment_every_s=EVERY_S, file_s=PATIENCE_S, deadline_s=180
        )
        checks = verdict(
            (undisturbed.code == 0, f"the undisturbed run failed: {undisturbed}"),
            (outcome.code == 0, f"the run failed: {outcome}"),
            (set(under_fire.failed()) == _gluttons(made), f"not the gluttons failed: {under_fire.failed()}"),
        )
        return checks + agrees(under_fire, expected) + Tally("", outcome.result["restarts"], hangs=outcome.hung)


def _gluttons(made: Target) -> set[str]:
    return {path.name for path in made.photos.rglob("eats-*")}
