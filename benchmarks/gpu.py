"""What a GPU gives, in one run: forward passes alone, decoding alone, and imgidx end to end with many settings.

    python benchmarks/gpu.py [--device cuda] [--models ViT-B-32 ViT-L-14] [--children 1 2 4 8] [--minutes 8]

Needs no photos, no weights and no network: pictures are generated, and models have random weights. The reference is the
loop of open_clip's README on the same device. Prints each cell on stderr as soon as it is done, then a table; JSON on
stdout. What does not fit into the time is dropped and named.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from gpu_cell import ARCHITECTURES, Bench, Cell, Record, measure, prepare, run_script
from measure import machine
from photos import GENERATED, generate, links

from image_index import __version__
from image_index.machine import core_count

DISTINCT = 64
LEAST_WORK_S, MOST_WORK_S = 3.0, 8.0
"""How long a cell is to embed; its start comes on top."""

LEAST_BATCHES = 4
"""So many batches each child gets at least: the first of them fill its queue."""


def grid(children: list[int], threads: list[int] | None) -> list[Cell]:
    """Return the cells, those first that tell most: auto, all cores shared out, then other numbers of threads."""
    cells = [Cell()]
    if threads is None:
        cells += [Cell(count, max(1, core_count() // count)) for count in children]
    for number in (0, 16, 4) if threads is None else threads:
        cells += [Cell(count, number) for count in children]
    return list(dict.fromkeys(cells))


def best_of(cells: list[Record]) -> Record | None:
    """Return the fastest cell, if any came through."""
    done = [cell for cell in cells if "failed" not in cell]
    return max(done, key=lambda cell: cell["pictures_per_second"], default=None)


def refined(bench: Bench) -> Cell:
    """Return the fastest cell so far with the batch size and precision that the device computes fastest."""
    best, fastest = best_of(bench.cells) or bench.explained(Cell()), bench.ceiling["best"]
    return Cell(best["children"], best["decode_threads"], fastest["batch_size"], fastest["precision"])


def seconds_for(bench: Bench, cells_left: int, kept_s: float, ends_at: float) -> float | None:
    """Return how long the next of so many cells may embed, or None where the time left, but for `kept_s`, is short."""
    left = ends_at - time.monotonic()
    if left - kept_s < bench.start_s + LEAST_WORK_S:
        return None
    return min(MOST_WORK_S, max(LEAST_WORK_S, left / cells_left - bench.start_s))


def picture_count(bench: Bench, cell: Cell, work_s: float) -> int:
    """Return how many pictures should keep a cell busy for `work_s`: as the device computes and its threads decode."""
    settings = bench.explained(cell)
    at_once = min(core_count(), settings["children"] * max(1, settings["decode_threads"]))
    rate = min(bench.decode_rate * at_once / core_count(), bench.ceiling["best"]["pictures_per_second"])
    return max(int(rate * work_s), LEAST_BATCHES * int(settings["batch_size"]) * int(settings["children"]))


def fill(benches: list[Bench], cells: list[Cell], most: int, ends_at: float) -> Iterator[Record]:
    """Measure each cell for each model in turn, the refined ones last; yield those for which there was no time."""
    queue = [(bench, cell) for cell in (*cells, None) for bench in benches]
    sources = sorted((benches[0].directory.parent / "sources").iterdir())
    for place, (bench, planned) in enumerate(queue):
        cell = planned or refined(bench)
        kept_s = sum(other.start_s + LEAST_WORK_S for other in benches) if planned else 0.0
        work_s = seconds_for(bench, len(queue) - place, kept_s, ends_at)
        if work_s is None:
            yield {"model": bench.name, **bench.explained(cell)}
            continue
        with links(sources, min(most, picture_count(bench, cell, work_s))) as photos:
            bench.cells.append(measure(bench, cell, photos, work_s))
        print(f"{bench.name:10}{line(bench.cells[-1])}", file=sys.stderr, flush=True)


def result(bench: Bench) -> Record:
    """Return the record of one model: its ceilings, the plain loop, all cells, and the best of them beside auto."""
    best = best_of(bench.cells)
    auto = best_of([cell for cell in bench.cells if cell["auto"]])
    share = round(auto["pictures_per_second"] / best["pictures_per_second"], 3) if auto and best else None
    return {
        "ceiling": bench.ceiling,
        "naive": bench.naive,
        "limit_per_second": round(bench.limit, 1),
        "cells": bench.cells,
        "recommended": best,
        "auto": auto,
        "auto_of_the_best": share,
    }


def settings_of(cell: Record) -> str:
    """Return the settings of a cell in words."""
    of_auto = "  (auto)" if cell["auto"] else ""
    return f"{cell['children']} x {cell['decode_threads']}, {cell['batch_size']}, {cell['precision']}{of_auto}"


def line(cell: Record) -> str:
    """Return one cell for people."""
    if "failed" in cell:
        return f"{settings_of(cell):27}failed: {cell['failed']}"
    stages = "".join(f"{cell['stage_seconds'][stage]:9.1f}" for stage in ("read", "decode", "forward", "idle"))
    rate, bound = f"{cell['pictures_per_second']:10.1f}", f"  {cell['bound_by']:8}"
    shares = f"{cell['of_the_ceiling']:9.2f}{cell['of_the_limit']:7.2f}{cell['ratio_to_naive']:9.2f}"
    return f"{settings_of(cell):27}{rate}{shares}{bound}{stages}{cell['parent_peak_mb']:9d}"


def table(name: str, record: Record, decode_rate: float) -> str:
    """Return the record of one model for people."""
    ceiling, naive = record["ceiling"], record["naive"]["pictures_per_second"]
    lines = [f"{name} on {ceiling['device']}, {machine()}; decoding alone {decode_rate:.0f}/s, naive {naive:.1f}/s"]
    lines.append("forward alone, pictures/s by batch size (cosine to fp32):")
    for precision, found in ceiling["precisions"].items():
        rates = "  ".join(f"{size}: {rate:.0f}" for size, rate in found["pictures_per_second"].items())
        lines.append(f"  {precision}  {rates}  ({found['cosine_to_fp32']:.4f})")
    head = f"{'children x threads, batch':27}{'per s':>10}{'ceiling':>9}{'limit':>7}{'x naive':>9}  {'bound by':8}"
    lines.append(head + "".join(f"{name:>9}" for name in ("read s", "decode", "forward", "idle", "MB")))
    lines += [line(cell) for cell in record["cells"]]
    if record["auto_of_the_best"]:
        best, auto = settings_of(record["recommended"]), settings_of(record["auto"])
        lines.append(f"best: {best}; auto chooses {auto}: {record['auto_of_the_best']:.2f} of the best")
    return "\n".join(lines)


def prepared(arguments: argparse.Namespace, sources: list[Path], decode_rate: float) -> Iterator[Bench]:
    """Yield each model that can be measured here; leave where none can."""
    failures = 0
    for name in arguments.models:
        try:
            yield prepare(name, sources, decode_rate, arguments)
        except RuntimeError as error:  # the process that failed has said why
            print(f"{name}: {error}", file=sys.stderr)
            failures += 1
    if failures == len(arguments.models):
        sys.exit(1)


def parse_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description="forward passes, decoding and imgidx end to end on a GPU")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, mps or cpu (default: cuda)")
    parser.add_argument("--count", type=int, default=40_000, help="pictures of a cell at most (default: 40000)")
    names = "default: ViT-B-32 ViT-L-14; tiny is for a try on a CPU"
    parser.add_argument("--models", nargs="+", choices=ARCHITECTURES, default=["ViT-B-32", "ViT-L-14"], help=names)
    parser.add_argument("--children", type=int, nargs="+", default=[1, 2, 4, 8], help="(default: 1 2 4 8)")
    fair = "decode threads of a child (default: 0, 4, 16, and cores over children)"
    parser.add_argument("--threads", type=int, nargs="+", help=fair)
    alone = "for each figure of forward passes alone (default: 0.7)"
    parser.add_argument("--ceiling-seconds", type=float, default=0.7, help=alone)
    parser.add_argument("--minutes", type=float, default=8.0, help="for all of it (default: 8)")
    return parser.parse_args()


def main() -> None:
    """Measure, and print what came of it."""
    ends_at, arguments = time.monotonic(), parse_arguments()
    ends_at += 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as scratch:
        sources = generate(Path(scratch) / "sources", min(DISTINCT, arguments.count))
        picture = {"pixels": GENERATED, "bytes": sum(path.stat().st_size for path in sources) // len(sources)}
        decode_rate = run_script("run_decode.py", str(sources[0].parent))["decode_per_second"]
        benches = list(prepared(arguments, sources, decode_rate))
        cells = grid(arguments.children, arguments.threads)
        dropped = list(fill(benches, cells, arguments.count, ends_at))
    models = {bench.name: result(bench) for bench in benches}
    for name, record in models.items():
        print(table(name, record, decode_rate), file=sys.stderr)
    for cell in dropped:
        print(f"dropped, for lack of time: {cell['model']} {settings_of(cell)}", file=sys.stderr)
    record = {"version": __version__, "machine": machine(), "count": arguments.count, "picture": picture}
    print(json.dumps({**record, "decode_per_second": decode_rate, "models": models, "dropped": dropped}, indent=1))


if __name__ == "__main__":
    main()
