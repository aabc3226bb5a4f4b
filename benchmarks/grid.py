"""Whether the defaults are the best there is: children x threads x batch size, each against what auto chooses.

    python benchmarks/grid.py --photos DIRECTORY [--model starter] [--count 512] [--repeat 3]

Children and threads share the cores. Every cell trains a new index of the same pictures; the cells take turns, and the
best of the repetitions counts, for what disturbs a run only ever makes it slower. Prints a table on stderr and JSON on
stdout.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import REPOSITORY, machine, python, run
from photos import copies

from image_index import __version__
from image_index.machine import core_count
from image_index.workers.devices import default_batch_size, plan_slots

BATCH_SIZES = (8, 16, 32, 64)


def measure(photos: Path, model: str, *options: str) -> float:
    """Return the pictures a second while a new index of `photos` is embedded."""
    with tempfile.TemporaryDirectory() as scratch:
        script = python(str(REPOSITORY / "benchmarks/run_imgidx.py"), str(photos), f"{scratch}/index", model)
        result: dict[str, Any] = json.loads(run([*script, *options]).stdout)
    return float(result["embedded"] / result["embedding_seconds"])


def cells(most_children: int, batch_sizes: Sequence[int]) -> dict[str, tuple[str, ...]]:
    """Return the options of each cell by its name; `auto` has none."""
    grid: dict[str, tuple[str, ...]] = {"auto": ()}
    for children in sorted({1, *(2**n for n in range(1, 9) if 2**n <= most_children), most_children}):
        for size in batch_sizes:
            options = ("--workers", str(children), "--batch-size", str(size))
            grid[f"{children} x {max(1, core_count() // children)} x {size}"] = options
    return grid


def main() -> None:
    """Fill the grid, and print it."""
    parser = argparse.ArgumentParser(description="children x threads x batch size against the default")
    parser.add_argument("--photos", type=Path, required=True, help="a directory of pictures")
    parser.add_argument("--model", default="starter", help="as for imgidx train (default: starter)")
    parser.add_argument("--count", type=int, default=512, help="repeat the pictures to this many (default: 512)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each cell (default: 3)")
    parser.add_argument("--most-children", type=int, default=core_count() + 1, help="default: one more than cores")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=BATCH_SIZES, help="default: 8 16 32 64")
    arguments = parser.parse_args()
    grid = cells(arguments.most_children, arguments.batch_sizes)
    best = dict.fromkeys(grid, 0.0)
    with copies(arguments.photos, arguments.count) as photos:
        for _ in range(arguments.repeat):
            for name, options in grid.items():
                best[name] = max(best[name], measure(photos, arguments.model, *options))
    auto = f"{len(plan_slots())} x {plan_slots()[0].threads} x {default_batch_size('auto')}"
    ratios = {name: round(rate / max(best.values()), 3) for name, rate in best.items()}
    print(f"{arguments.model}, {arguments.count} pictures, {machine()}; auto is {auto}", file=sys.stderr)
    print("children x threads x batch   pictures/s   of the best", file=sys.stderr)
    for name, rate in best.items():
        print(f"{name:26}{rate:13.1f}{ratios[name]:14.2f}", file=sys.stderr)
    record = {"version": __version__, "model": arguments.model, "machine": machine(), "auto_is": auto}
    print(json.dumps({**record, "pictures_per_second": best, "of_the_best": ratios}, indent=1))


if __name__ == "__main__":
    main()
