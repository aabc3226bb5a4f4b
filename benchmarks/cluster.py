"""Two nodes of Ray, of one core each, against the local pool with two children, in turns.

    python benchmarks/cluster.py --photos DIRECTORY [--model starter] [--count 1000] [--repeat 3]

Prints a table on stderr and JSON on stdout. The nodes are two of Ray's on this machine, each bound to a core. The rates
count from the first batch on, when the models are loaded; the medians count. The driver's seconds of a core are those
of the parent and of its client: what a run of a tenth of the pictures takes tells the start from what each picture
takes. The local parent's are told beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from measure import machine
from photos import copies

from image_index import __version__
from image_index.cluster.join import cluster_pool
from image_index.cluster.paths import PathMap
from image_index.models.names import ensure_model, parse_model
from image_index.paths import resolve
from image_index.records import Progress
from image_index.settings import IndexHome
from image_index.training.pipeline import UpdateRequest, update_index
from image_index.training.survey import SurveyOptions
from image_index.workers.engine import Engine

Result = dict[str, Any]

OBJECT_STORE_BYTES = 80 << 20
"""The least that Ray takes."""


@contextmanager
def two_nodes(directory: str) -> Iterator[str]:
    """Give the address of a cluster of two nodes, each bound to a core of its own."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": directory}
    from ray.cluster_utils import Cluster

    cores = sorted(os.sched_getaffinity(0))
    temp = Path(directory) / "ray"  # as Ray has it below RAY_TMPDIR
    temp.mkdir()
    node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
    try:
        os.sched_setaffinity(0, {cores[0]})  # what is started inherits it
        cluster = Cluster(initialize_head=True, connect=False, head_node_args={**node, "temp_dir": str(temp)})
        os.sched_setaffinity(0, {cores[-1]})
        cluster.add_node(**node)
    finally:
        os.sched_setaffinity(0, set(cores))
    try:
        yield cluster.address
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


def embed(photos: Path, model: str, address: str | None) -> Result:
    """Embed into a new index, on the cluster at `address` or here; return rates and the driver's seconds of a core."""
    rates: list[float] = []

    def report(progress: Progress) -> None:
        if progress.stage == "embed" and progress.pictures_per_second:
            rates.append(progress.pictures_per_second)

    engine = Engine("cpu", workers=1 if address else 2)
    make_pool = partial(cluster_pool, address, PathMap()) if address else None
    with tempfile.TemporaryDirectory() as scratch:
        survey = SurveyOptions((resolve(photos),))
        request = UpdateRequest(
            IndexHome(Path(scratch) / "index"), survey, model, engine, quiet=True, make_pool=make_pool
        )
        own, children = time.process_time(), _children_s()
        summary = update_index(request, report)
        own, children = time.process_time() - own, _children_s() - children
    driver_s = own + (children if address else 0)
    return {
        "embedded": summary.embedded,
        "pictures_per_second": rates[-1] if rates else 0.0,
        "driver_s": driver_s,
    }


def _children_s() -> float:
    """Return the seconds of a core that processes have taken which this one has started and which have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure_cluster(arguments: argparse.Namespace) -> Result:
    """Run both sides in turns and return the whole record."""
    ensure_model(parse_model(arguments.model), quiet=False)
    sides: dict[str, list[Result]] = {"cluster": [], "local": []}
    few: dict[str, list[Result]] = {"cluster": [], "local": []}
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as directory,  # short paths
        copies(arguments.photos, arguments.count) as photos,
        copies(arguments.photos, max(1, arguments.count // 10)) as tenth,
        two_nodes(directory) as address,
    ):
        for _ in range(arguments.repeat):
            for side, there in (("cluster", address), ("local", None)):
                sides[side].append(embed(photos, arguments.model, there))
                few[side].append(embed(tenth, arguments.model, there))
    medians = {side: summed_up(sides[side], few[side]) for side in sides}
    rates = [medians[side]["pictures_per_second"] for side in ("cluster", "local")]
    return {
        "version": __version__,
        "machine": machine(),
        "model": arguments.model,
        **medians,
        "ratio": round(rates[0] / rates[1], 3) if rates[1] else None,
    }


def summed_up(runs: list[Result], few: list[Result]) -> Result:
    """Return the medians of runs, and what of the driver's seconds is its start and what comes with each picture."""
    many, tenth = ({name: median(run[name] for run in some) for name in some[0]} for some in (runs, few))
    per_picture = (many["driver_s"] - tenth["driver_s"]) / max(1, many["embedded"] - tenth["embedded"])
    return {
        "embedded": many["embedded"],
        "pictures_per_second": round(many["pictures_per_second"], 3),
        "driver_start_s": round(tenth["driver_s"] - per_picture * tenth["embedded"], 3),
        "driver_s_per_1000": round(1000 * per_picture, 3),
    }


def table(record: Result) -> str:
    """Return the record as people read it."""
    lines = [f"{'':10}{'pictures/s':>12}{'driver: start s':>17}{'s/1000':>8}"]
    for side in ("cluster", "local"):
        rate, start_s, driver_s = (
            record[side][name] for name in ("pictures_per_second", "driver_start_s", "driver_s_per_1000")
        )
        lines.append(f"{side:10}{rate:>12.1f}{start_s:>17.2f}{driver_s:>8.2f}")
    return "\n".join([*lines, f"ratio {record['ratio']}"]) + "\n"


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    record = measure_cluster(parser.parse_args())
    print(table(record), end="", file=sys.stderr)
    print(json.dumps(record))


if __name__ == "__main__":
    main()
