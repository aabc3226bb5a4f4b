"""Kill the parent and all its children with SIGKILL: at random moments, and at named ones."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping

from image_index.catalog.catalog import Catalog
from tests.faults.driver import BATCH, SQL, STRIKES
from tests.faults.photo_library import Outcome, Row, Target, agrees, answers, compare, library
from tests.faults.tally import Tally, total, verdict

PICTURES, KILLS, ROUNDS, STATEMENTS = 500, 100, 3, 60
PAUSE_S = 0.002
"""What reading a picture takes at least: the run is to be long against its start."""

KILLED = -9

STATEMENTS_PER_BATCH = 5 * BATCH
"""For each picture: forget its row, its failure, insert image and vector, count."""


def attack(seed: int, scale: float) -> Tally:
    """Kill a run again and again until it completes, many times over."""
    rng = random.Random(seed)
    with library(max(60, round(PICTURES * min(scale, 1))), seed) as made:
        undisturbed = made.run(pause_s=PAUSE_S)
        expected = made.rows()
        parts = [verdict((len(expected) == made.count, "the undisturbed run is not complete"))]
        parts += _at_random(made, expected, rng, (max(6, round(KILLS * scale)), undisturbed.seconds))
        parts += _at_named_moments(made, expected, rng, max(1, round(ROUNDS * scale)))
        parts += _at_statements(made, expected, rng, max(6, round(STATEMENTS * scale)))
    return total("parent and children killed", parts)


def _at_random(
    made: Target, expected: Mapping[bytes, Row], rng: random.Random, plan: tuple[int, float]
) -> Iterator[Tally]:
    """Kill at moments spread over the length of a run; begin afresh whenever one has completed."""
    kills, length_s = plan
    _begin_afresh(made)
    while kills:
        before = made.rows()
        run = made.start(pause_s=PAUSE_S)
        if run.is_over(rng.uniform(0, length_s)):
            yield _completed(made, run.finish(), before, expected)
            _begin_afresh(made)
        else:
            run.kill()
            kills -= 1
            yield _survived(made, before)
    yield _complete(made, expected)


def _at_named_moments(made: Target, expected: Mapping[bytes, Row], rng: random.Random, rounds: int) -> Iterator[Tally]:
    """Kill at each moment that has a name, in fresh indexes and in what earlier kills left."""
    for _ in range(rounds):
        _begin_afresh(made)
        moments = ["preload", *STRIKES]
        rng.shuffle(moments)
        for moment in moments:
            before = made.rows()
            late = len(before) > made.count // 2
            if late and moment not in {"run begun", "roots noted", "run finished"}:
                yield _complete(made, expected)
                _begin_afresh(made)
                before = {}
            if "text tower" in moment:  # an earlier run may have settled it before it was killed
                shutil.rmtree(made.home.towers, ignore_errors=True)
            often = moment in {"inside a commit", "between image and generation", "after a commit"}
            outcome = made.run(strike=moment, nth=rng.randint(1, 3) if often else 1)
            yield verdict((outcome.code == KILLED, f"a run was not killed at '{moment}': {outcome}"))
            yield _survived(made, before)
        yield _complete(made, expected)


def _at_statements(made: Target, expected: Mapping[bytes, Row], rng: random.Random, kills: int) -> Iterator[Tally]:
    """Kill before some statement of the transactions that store the first batches."""
    for _ in range(kills):
        _begin_afresh(made)
        outcome = made.run(strike=SQL, nth=rng.randint(1, 3 * STATEMENTS_PER_BATCH))
        yield verdict((outcome.code == KILLED, f"a run was not killed at a statement: {outcome}"))
        yield _survived(made, {})
    yield _complete(made, expected)


def _begin_afresh(made: Target) -> None:
    shutil.rmtree(made.home.path, ignore_errors=True)


def _survived(made: Target, before: Mapping[bytes, Row]) -> Tally:
    """Return what a kill did: what was stored before is there still, and the index answers."""
    rows = made.rows()
    whole = len(rows) % BATCH in {0, made.count % BATCH}
    checks = verdict(
        (whole, f"part of a batch is stored: {len(rows)} pictures"),
        (_generation(made) == len(rows), "the generation does not count the vectors"),
    )
    return Tally("", tried=1) + checks + compare(before, rows) + answers(made, rows)


def _generation(made: Target) -> int:
    """Return how many vectors have come or gone; in these runs none goes."""
    if not made.home.catalog.exists():
        return 0
    with Catalog(made.home.catalog) as catalog:
        return catalog.stamp().generation


def _complete(made: Target, expected: Mapping[bytes, Row]) -> Tally:
    """Let a run go on to its end and check it."""
    before = made.rows()
    return _completed(made, made.run(), before, expected)


def _completed(made: Target, outcome: Outcome, before: Mapping[bytes, Row], expected: Mapping[bytes, Row]) -> Tally:
    """Check a run that went to its end: the index is that of an undisturbed run, and nothing was embedded again."""
    twice = outcome.result.get("embedded", 0) - (made.count - len(before))
    checks = verdict((outcome.code == 0, f"the completing run failed: {outcome}"))
    checks += Tally("", embedded_twice=max(0, twice), hangs=outcome.hung)
    return checks + compare(before, made.rows()) + agrees(made, expected)
