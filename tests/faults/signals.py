"""Stop `imgidx train` by a signal, by two, and by its time limit."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping

from tests.faults.photo_library import Row, Run, Target, agrees, answers, compare, library
from tests.faults.tally import Tally, total, verdict

PICTURES, ROUNDS = 200, 10

LENGTH_S = 1.2
"""What reading all pictures takes at least, in two children."""

CHILDREN, BATCH = 2, 4

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

STOP_S = 10.0
"""Within this a run is over after a signal."""

AT_ONCE_S = 2.0
"""Within this it is over after a second one."""

SLOW_S = 0.5
"""What reading a picture takes where a batch in flight is to last longer than `AT_ONCE_S`."""


def attack(seed: int, scale: float) -> Tally:
    """Signal runs at random moments of their whole length, and at telling ones."""
    rng = random.Random(seed)
    rounds = max(1, round(ROUNDS * scale))
    with library(max(60, round(PICTURES * min(scale, 1))), seed) as made:
        undisturbed = _train(made).finish()
        expected = made.rows()
        parts = [verdict((len(expected) == made.count, "the undisturbed run is not complete"))]
        for number in SIGNALS * rounds:
            parts.append(_once(made, expected, number, rng.uniform(0, undisturbed.seconds)))
            parts.append(_in_the_middle(made, expected, number))
        parts += [_twice(made, rng.choice(SIGNALS), rng.choice(SIGNALS)) for _ in range(rounds)]
        parts += [_time_limit(made, expected) for _ in range(rounds)]
    return total("signals and time limit", parts)


def _train(made: Target, *options: str, pause_s: float | None = None) -> Run:
    """Start the command on an index of its own, with a journal of what is embedded."""
    shutil.rmtree(made.home.path, ignore_errors=True)
    made.journal.unlink(missing_ok=True)
    roots = [str(made.photos), "--index", str(made.home.path)]
    fixed = ["--model", "starter", "--device", "cpu", "-j", str(CHILDREN), "--batch-size", str(BATCH), "--json", "-q"]
    pause_s = 2 * LENGTH_S / made.count if pause_s is None else pause_s
    return made.start(pause_s=pause_s, arguments=["train", *roots, *fixed, *options])


def _once(made: Target, expected: Mapping[bytes, Row], number: signal.Signals, after_s: float) -> Tally:
    """Send a signal at some moment, be it before the command has begun to listen."""
    run = _train(made)
    if not run.is_over(after_s):
        run.process.send_signal(number)
    return _stopped(made, run, (0, 128 + number, -number)) + _goes_on(made, expected)


def _in_the_middle(made: Target, expected: Mapping[bytes, Row], number: signal.Signals) -> Tally:
    """Send a signal to a run that has stored something and has more to do."""
    run = _train(made)
    _await_rows(made, run)
    stored = len(made.rows())
    run.process.send_signal(number)
    parts = _stopped(made, run, (128 + number,)) + _partly(made)
    in_flight = len(made.rows()) - stored
    kept = verdict((in_flight >= CHILDREN * BATCH, f"of the batches in flight only {in_flight} pictures were stored"))
    return parts + kept + _goes_on(made, expected)


def _twice(made: Target, first: signal.Signals, second: signal.Signals) -> Tally:
    """Send two signals: the second ends it without waiting for the batches in flight."""
    run = _train(made, pause_s=SLOW_S)
    _await_rows(made, run)
    run.process.send_signal(first)
    early = run.is_over(0.3)
    run.process.send_signal(second)
    sent = time.monotonic()
    run.is_over(STOP_S)
    seconds = time.monotonic() - sent
    checks = verdict(
        (not early, "one signal ended it before its batches were done"),
        (seconds < AT_ONCE_S, f"a second signal took {seconds:.1f} s"),
    )
    return checks + _stopped(made, run, (128 + second,), batches_stored=False)


def _time_limit(made: Target, expected: Mapping[bytes, Row]) -> Tally:
    """Let the time limit stop a run."""
    run = _train(made, "--time-limit", "1s", pause_s=6 / made.count)
    return _stopped(made, run, (0,)) + _partly(made) + _goes_on(made, expected)


def _await_rows(made: Target, run: Run) -> None:
    while not made.rows() and not run.is_over(0.02):
        pass


def _stopped(made: Target, run: Run, codes: tuple[int, ...], *, batches_stored: bool = True) -> Tally:
    """Check how a run ends that was told to: soon, with the right code, leaving no child and a whole index.

    Where it ended by itself, every batch that was in flight is stored: what was embedded is in the index.
    """
    hung = not run.is_over(STOP_S)
    left = set() if hung else _left_behind(run.process.pid)
    code = run.finish(STOP_S).code
    rows = made.rows()
    embedded = made.journal.stat().st_size if made.journal.exists() else 0
    checks = verdict(
        (code in codes, f"exit code {code}, not one of {codes}"),
        (not left, f"children left behind: {left}"),
    )
    lost = embedded - len(rows) if batches_stored and code >= 0 else 0
    return checks + answers(made, rows) + Tally("", tried=1, lost=lost, hangs=hung)


def _partly(made: Target) -> Tally:
    stored = len(made.rows())
    return verdict((0 < stored < made.count, f"a run that was to stop in the middle has stored {stored}"))


def _goes_on(made: Target, expected: Mapping[bytes, Row]) -> Tally:
    """Check that the next run does the rest, and no more."""
    rows = made.rows()
    outcome = made.run()
    embedded = outcome.result.get("embedded")
    checks = verdict((embedded == made.count - len(rows), f"the next run embedded {embedded}: {outcome}"))
    return checks + compare(rows, made.rows()) + agrees(made, expected) + Tally("", hangs=outcome.hung)


def _left_behind(group: int) -> set[str]:
    """Return the processes of a group that are there a moment after its leader has gone."""
    for _ in range(40):
        listed = subprocess.run(["ps", "-A", "-o", "pgid=,pid=,state="], capture_output=True, text=True, check=True)
        found = (line.split() for line in listed.stdout.splitlines())
        alive = {pid for pgid, pid, state in found if int(pgid) == group and state[0] != "Z"}
        if not alive:
            return set()
        time.sleep(0.05)
    return alive
