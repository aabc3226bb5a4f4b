"""Attack a run on two machines with an address each: cut the link between them, and end Ray on the driver's own."""

from __future__ import annotations

import random
import time

from tests.faults.cluster import GONE_S, PAUSE_S, Rows, finished, kill, under_way, wait, went_on
from tests.faults.photo_library import Run, Target, library, make_photos
from tests.faults.tally import Skipped, Tally, total, verdict
from tests.support.far_network import FarNetwork, NoNetwork, far_network
from tests.support.ray_cluster import RayNodes, command_of, ray_nodes

PICTURES = 600

MOMENT_S = 5.0
"""A cut of which nobody is to take notice."""

NOTICED_S = 60.0
"""After how long of silence a machine is lost."""

REST_S = 60.0
"""How long what is left may take after that, on one machine."""

BACK_S = 60.0
"""How long what ran on the far machine may go on once it is reached again."""


def attack(seed: int, scale: float) -> Tally:
    """Compare both runs with a local one. Raises `Skipped` where there can be no second network."""
    rng = random.Random(seed)
    try:
        with far_network() as network, library(max(300, round(PICTURES * min(scale, 1))), seed) as made:
            local = made.run()
            expected = made.rows()
            parts = [verdict((local.code == 0 and len(expected) == made.count, f"the local run failed: {local}"))]
            with ray_nodes(1, network.here, FAKE_MODEL_PAUSE_S=str(2 * PAUSE_S)) as nodes:
                parts += [
                    one(made, nodes, network, expected, rng) for one in (_cut_for_a_moment, _cut_for_good, _own_lost)
                ]
    except NoNetwork as reason:
        raise Skipped(str(reason)) from reason
    return total("two machines: the link cut, Ray ended", parts)


def _cut_for_a_moment(made: Target, nodes: RayNodes, network: FarNetwork, expected: Rows, rng: random.Random) -> Tally:
    """Cut the link and mend it: the machine is used on, and its results come late."""
    nodes.add_inside(network)
    target, run, at_work = _both_under_way(made, nodes, network, "moment", rng)
    before = _at_work(network)
    network.cut()
    time.sleep(MOMENT_S)
    network.mend()
    time.sleep(1)
    at_work += verdict((_at_work(network) == before, "the far machine was lost"))
    return at_work + finished("moment", target, run, expected)


def _cut_for_good(made: Target, nodes: RayNodes, network: FarNetwork, expected: Rows, rng: random.Random) -> Tally:
    """Cut the link: what the far machine held goes to the other one, and it does not work on for nobody for ever."""
    target, run, at_work = _both_under_way(made, nodes, network, "good", rng)
    network.cut()
    is_over = run.is_over(NOTICED_S + REST_S)
    in_time = verdict((is_over, "a machine that was cut off took too long to be lost"))
    tally = at_work + in_time + finished("good", target, run, expected)
    network.mend()
    gone = wait(lambda: not _at_work(network), BACK_S + GONE_S)
    return tally + verdict((gone, "a machine that was cut off works on"))


def _own_lost(made: Target, nodes: RayNodes, network: FarNetwork, expected: Rows, rng: random.Random) -> Tally:
    """End Ray on the driver's own machine, by which it is in the cluster: it says so, and a local run goes on."""
    nodes.add_inside(network)  # a machine that was cut off is started again
    make_photos(made.photos, 1, 0, "hangs")  # the run is to last until the loss is seen
    target, run, at_work = _both_under_way(made, nodes, network, "own", rng)
    struck = at_work + kill(nodes.raylets, "raylet")
    outcome = run.finish()
    lost = verdict((outcome.result.get("error") == "WorkersFailed", f"the driver's raylet was lost: {outcome}"))
    for path in list(made.photos.rglob("hangs-*")):
        path.unlink()
    before = target.rows()
    gone = verdict((wait(lambda: not _at_work(network), GONE_S), "children outlive their driver"))
    return struck + lost + gone + went_on("own", target, before, target.run(), expected)


def _both_under_way(
    made: Target, nodes: RayNodes, network: FarNetwork, name: str, rng: random.Random
) -> tuple[Target, Run, Tally]:
    """Start a run of its own index; return it once some pictures are stored and the far machine works too."""
    target, run = under_way(made, nodes, name, rng)
    at_work = wait(lambda: run.is_over(0) or bool(_at_work(network)), GONE_S) and not run.is_over(0)
    time.sleep(1)  # it loads the fake model in no time
    return target, run, verdict((at_work, f"{name}: the far machine was not at work"))


def _at_work(network: FarNetwork) -> list[int]:
    """Return the children on the far machine that hold the model."""
    return [pid for pid in network.processes() if "image_index.workers.child_main" in command_of(pid)]
