"""Kill the real thing: `imgidx train` with the bundled model, its status and search after every kill."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping

import numpy as np

from tests.faults.photo_library import Row, Run, Target, compare, library, start
from tests.faults.tally import Tally, total, verdict
from tests.support.photos import REPOSITORY
from tests.support.vector_files import are_whole

PICTURES, KILLS = 500, 20

KILLED = -9


def attack(seed: int, scale: float) -> Tally:
    """Kill `imgidx train` at random moments of its whole length."""
    rng = random.Random(seed)
    with library(max(24, round(PICTURES * min(scale, 1))), seed) as made:
        undisturbed = _train(made).finish()
        expected = made.rows()
        shutil.rmtree(made.home.path)
        parts = [verdict((len(expected) == made.count, "the undisturbed run is not complete"))]
        parts += _kill(made, rng, max(1, round(KILLS * scale)), undisturbed.seconds)
        before = made.rows()
        outcome = _train(made).finish()
        parts += [Tally("", hangs=outcome.hung), compare(before, made.rows()), _same(made, expected)]
    return total("imgidx train killed, real model", parts)


def _train(made: Target) -> Run:
    arguments = ["train", str(made.photos), "--index", str(made.home.path), "--model", "starter", "-q", "--json"]
    return start([sys.executable, "-m", "image_index", *arguments, "--device", "cpu"], {})


def _kill(made: Target, rng: random.Random, kills: int, length_s: float) -> Iterator[Tally]:
    """Kill at moments spread over the length of an undisturbed run; begin afresh whenever one has completed."""
    while kills:
        before = made.rows()
        run = _train(made)
        if run.is_over(rng.uniform(0, length_s)):
            run.kill()
            shutil.rmtree(made.home.path)
        else:
            run.kill()
            kills -= 1
            after = made.rows()
            yield Tally("", tried=1) + compare(before, after) + _answers(made, after)


def _answers(made: Target, rows: Mapping[bytes, Row]) -> Tally:
    """Check what status and search say, and how they exit."""
    if not made.home.catalog.exists():
        return Tally("")
    status = _ask(made, "status")
    found = _ask(made, "search", "a photo", "-n", str(len(rows) + 1))
    lines = len(found.stdout.splitlines())
    return verdict(
        (status.returncode == 0, f"status: {status.stderr}"),
        (found.returncode == (0 if rows else 1), f"search exits with {found.returncode}: {found.stderr}"),
        (lines == len(rows), f"search found {lines} of {len(rows)}"),
    )


def _ask(made: Target, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "image_index", *arguments, "--index", str(made.home.path), "--json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=REPOSITORY)


def _same(made: Target, expected: Mapping[bytes, Row]) -> Tally:
    """Check the completed index against an undisturbed one: a batch's other pictures may cost a vector its last bit."""
    rows = made.rows()
    lost = sum(path not in rows for path in expected)
    other = sum(path in rows and not _equal(row, rows[path]) for path, row in expected.items())
    checks = verdict(
        (other == 0, f"{other} pictures have another hash or vector"),
        (len(rows) == len(expected), f"{len(rows)} pictures instead of {len(expected)}"),
        (are_whole(made.home), "vectors.f16 is damaged"),
    )
    return checks + Tally("", lost=lost)


def _equal(one: Row, other: Row) -> bool:
    first, second = (np.frombuffer(row.vector, np.float16).astype(np.float32) for row in (one, other))
    return one.sha256 == other.sha256 and np.allclose(first, second, atol=2e-3)
