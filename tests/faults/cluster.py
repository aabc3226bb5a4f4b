"""Attack a run over two real Ray nodes: children, nodes, a machine, the driver and the head are killed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from unittest.mock import patch

from tests.faults.photo_library import Outcome, Row, Run, Target, agrees, compare, library, make_photos
from tests.faults.tally import Tally, total, verdict
from tests.support.ray_cluster import RayNodes, ray_nodes

PICTURES = 600
PAUSE_S = 0.03
"""What reading a picture takes at least: the run is to be long against its start."""

WHOLE = 0.1
"""The scale from which on every attack is made; below it two, for they take a minute."""

PATIENCE_S = 60.0
STOP_S = 10.0
"""How long a stop may take."""

GONE_S = 10.0
"""How long what a driver has started on the machines may outlive it."""

POISON = {"dies-SIGABRT": "crash", "hangs": "timeout", "kills-parent": "crash"}
"""Prefixes of the names of poison, and the stage at which it fails; the last takes its node with it."""

HEAD_S = 3
"""How long the driver's client waits for a head that is gone; Ray itself would wait for a minute."""


def attack(seed: int, scale: float) -> Tally:
    """Compare every run with a local one: the same rows, the same vectors, none lost and none embedded twice."""
    rng = random.Random(seed)
    with library(max(150, round(PICTURES * min(scale, 1))), seed) as made:
        local = made.run()
        expected = made.rows()
        parts = [verdict((local.code == 0 and len(expected) == made.count, f"the local run failed: {local}"))]
        with ray_nodes(2, FAKE_MODEL_PAUSE_S=str(PAUSE_S)) as nodes:
            attacks = [_struck_node, _killed_driver]
            if scale >= WHOLE:
                attacks += [_struck_child, _stopped, _poisoned, _lost_machine, _killed_head]
            parts += [one(made, nodes, expected, rng) for one in attacks]
    return total("a cluster of two machines", parts)


Rows = Mapping[bytes, Row]


def under_way(made: Target, nodes: RayNodes, name: str, rng: random.Random) -> tuple[Target, Run]:
    """Start a run of its own index; return it once some pictures are stored."""
    target = made.elsewhere(name)
    run = target.start(cluster=nodes.address)
    aim = rng.randrange(made.count // 6, made.count // 3)
    give_up = time.monotonic() + PATIENCE_S
    while len(target.rows()) < aim and time.monotonic() < give_up and not run.is_over(0.05):
        pass
    return target, run


def finished(name: str, target: Target, run: Run, expected: Rows) -> Tally:
    """Let a run go on to its end; it is to have the rows of a local run."""
    outcome = run.finish()
    checks = verdict((outcome.code == 0 and not outcome.result.get("error"), f"{name}: the run failed: {outcome}"))
    return checks + agrees(target, expected) + Tally("", tried=1, hangs=outcome.hung)


def _struck_child(made: Target, nodes: RayNodes, expected: Rows, rng: random.Random) -> Tally:
    """Kill a child on one of the machines."""
    target, run = under_way(made, nodes, "child", rng)
    return kill(nodes.children(), "child") + finished("child", target, run, expected)


def _struck_node(made: Target, nodes: RayNodes, expected: Rows, rng: random.Random) -> Tally:
    """Kill the process that runs the pool of a machine."""
    target, run = under_way(made, nodes, "node", rng)
    return kill(nodes.node_processes(), "node") + finished("node", target, run, expected)


def _lost_machine(made: Target, nodes: RayNodes, expected: Rows, rng: random.Random) -> Tally:
    """Let a machine join during a run, and kill another one as a whole."""
    target, run = under_way(made, nodes, "machine", rng)
    nodes.add()
    return kill(nodes.raylets[1:2], "raylet") + finished("machine", target, run, expected)


def _killed_driver(made: Target, nodes: RayNodes, expected: Rows, rng: random.Random) -> Tally:
    """Kill the driver alone: what it has started ends by itself, and the next run goes on."""
    target, run = under_way(made, nodes, "driver", rng)
    os.kill(run.process.pid, signal.SIGKILL)
    gone = wait(lambda: not nodes.children() and not nodes.node_processes(), GONE_S)
    run.finish()
    return verdict((gone, "children outlive their driver")) + _resumed("driver", target, expected)


def _stopped(made: Target, nodes: RayNodes, expected: Rows, rng: random.Random) -> Tally:
    """Stop a run by SIGTERM: it ends in time, with what was in work stored and nothing left behind."""
    target, run = under_way(made, nodes, "stopped", rng)
    stopped_at = time.monotonic()
    run.process.send_signal(signal.SIGTERM)
    in_time = run.is_over(STOP_S)
    outcome = run.finish()
    checks = verdict(
        (in_time, f"a stop took {time.monotonic() - stopped_at:.1f} s"),
        (outcome.result.get("stopped_by") == signal.SIGTERM, f"a stopped run: {outcome}"),
        (wait(lambda: not nodes.children(), GONE_S), "children outlive a run that was stopped"),
        (len(target.rows()) < made.count, "the run was over before it was stopped"),
    )
    return checks + _resumed("stopped", target, expected)


def _poisoned(made: Target, nodes: RayNodes, expected: Rows, rng: random.Random) -> Tally:
    """Poison the library; exactly that fails, wherever it is tried. Then take the poison away again."""
    for number, kind in enumerate(POISON):
        make_photos(made.photos, 1, number, kind)
    poison = {path.name: POISON[kind] for kind in POISON for path in made.photos.rglob(f"{kind}-*")}
    target = made.elsewhere("poisoned")
    outcome = target.run(cluster=nodes.address, file_s=2.0)
    checks = verdict(
        (outcome.code == 0 and len(poison) == len(POISON), f"poison: the run failed: {outcome}"),
        (target.failed() == poison, f"poison: failed is {target.failed()}"),
    )
    for path in [path for kind in POISON for path in made.photos.rglob(f"{kind}-*")]:
        path.unlink()
    return checks + agrees(target, expected) + Tally("", tried=len(poison), hangs=outcome.hung)


def _killed_head(made: Target, nodes: RayNodes, expected: Rows, rng: random.Random) -> Tally:
    """Kill the head: Ray ends the client, and the driver says so in its own words; a local run goes on."""
    make_photos(made.photos, 1, 0, "hangs")  # the run is to last until Ray gives the head up
    with patch.dict(os.environ, {"RAY_gcs_rpc_server_reconnect_timeout_s": str(HEAD_S)}):
        target, run = under_way(made, nodes, "head", rng)
    killed = kill([nodes.gcs], "head")
    outcome = run.finish()
    checks = verdict((outcome.result.get("error") == "WorkersFailed", f"the head was lost: {outcome}"))
    for path in list(made.photos.rglob("hangs-*")):
        path.unlink()
    before = target.rows()
    return killed + checks + went_on("head", target, before, target.run(), expected)


def _resumed(name: str, target: Target, expected: Rows) -> Tally:
    """Run again on this machine alone; it goes on from what is stored."""
    before = target.rows()
    return Tally("", tried=1) + went_on(name, target, before, target.run(), expected)


def went_on(name: str, target: Target, before: Rows, outcome: Outcome, expected: Rows) -> Tally:
    """Check a run that went on from `before`: nothing is lost, and nothing was embedded again."""
    twice = outcome.result.get("embedded", 0) - (target.count - len(before))
    checks = verdict(
        (outcome.code == 0, f"{name}: the next run failed: {outcome}"),
        (bool(before), f"{name}: nothing had been stored"),
    )
    checks += Tally("", embedded_twice=max(0, twice), hangs=outcome.hung)
    return checks + compare(before, target.rows()) + agrees(target, expected)


def kill(pids: list[int], what: str) -> Tally:
    """Kill the first of these processes."""
    for pid in pids[:1]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return verdict((bool(pids), f"there was no {what} to kill")) + Tally("", tried=len(pids[:1]))


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition holds, at most so long; tell whether it does."""
    give_up = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < give_up:
        time.sleep(0.1)
    return holds
