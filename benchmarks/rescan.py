"""`imgidx train` where nothing has changed, against a bare `os.scandir` and `stat` walk of the same tree.

    python benchmarks/rescan.py [--counts 100000 1000000] [--repeat 5] [--dim 64]

Prints a table on stderr and JSON on stdout. The walk runs in this process, `imgidx` as a whole process of its own; the
two take turns, and the medians count.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from large_library import LargeLibrary, bare_walk, make_library
from measure import imgidx, machine, run, timed

from image_index import __version__

Result = dict[str, Any]

STARTED = "Preloading embedding model in worker process"
"""What every child says first."""

IGNORED = "*.tmp\n!keep.tmp\n/cache/\n"
"""An ignore file that leaves nothing out: its price is that of looking."""


def rescan(library: LargeLibrary, roots: list[Path], repeat: int) -> Result:
    """Train `roots` again `repeat` times, in turns with a bare walk; return the medians."""
    log = library.home.path.parent / "log"
    log.unlink(missing_ok=True)
    options = ["--index", str(library.home.path), "--json", "--quiet", "--log-file", str(log), *map(str, roots)]
    run(imgidx("train", *options))  # takes roots and ignore files in, builds the FAISS file, warms the caches
    walks, processes = [], []
    for _ in range(repeat):
        walks.append(timed(lambda: bare_walk(library.photos)))
        processes.append(run(imgidx("train", *options)))
    summaries = [json.loads(process.stdout) for process in processes]
    walk = median(walks)
    whole = median(process.seconds for process in processes)
    inside = median(summary["seconds"] for summary in summaries)
    return {
        "unchanged": min(summary["unchanged"] for summary in summaries),
        "walk_seconds": round(walk, 4),
        "seconds": round(whole, 4),
        "update_seconds": round(inside, 4),
        "ratio": round(whole / walk, 3),
        "update_ratio": round(inside / walk, 3),
        "peak_mb": round(max(process.peak_bytes for process in processes) / 1e6),
        "children_started": log.read_text(encoding="utf-8").count(STARTED),
    }


def measure_size(count: int, arguments: argparse.Namespace) -> dict[str, Result]:
    """Return the results for a library of `count` files: as it is, with an ignore file, with roots inside the root."""
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        library = make_library(Path(scratch).resolve(), count, arguments.dim)
        results["plain"] = rescan(library, [library.photos], arguments.repeat)
        year = min(library.photos.iterdir())
        roots = [library.photos, year, min(year.iterdir())]
        results["three roots, one inside the other"] = rescan(library, roots, arguments.repeat)
        (library.photos / ".imgidxignore").write_text(IGNORED, encoding="utf-8")
        results["with an ignore file"] = rescan(library, [library.photos], arguments.repeat)
    return results


def table(record: Result) -> str:
    """Return the record for people."""
    head = f"rescan, {record['machine']}, median of {record['repeat']}"
    lines = [head, f"{'':48}{'walk s':>8}{'update s':>10}{'ratio':>7}{'whole s':>9}{'ratio':>7}{'MB':>6}"]
    for count, results in record["sizes"].items():
        for name, one in results.items():
            times = f"{one['walk_seconds']:8.2f}{one['update_seconds']:10.2f}{one['update_ratio']:7.2f}"
            whole = f"{one['seconds']:9.2f}{one['ratio']:7.2f}{one['peak_mb']:6d}"
            lines.append(f"{f'{int(count):,} {name}':48}{times}{whole}")
    lines.append(f"seconds per file, largest over smallest: {record['linearity']:.2f}")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description="imgidx train where nothing has changed, against a bare walk")
    parser.add_argument("--counts", type=int, nargs="+", default=[100_000, 1_000_000], help="numbers of files")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each (default: 5)")
    parser.add_argument("--dim", type=int, default=64, help="dimensions of the vectors (default: 64)")
    arguments = parser.parse_args()
    sizes = {str(count): measure_size(count, arguments) for count in sorted(arguments.counts)}
    per_file = [results["plain"]["update_seconds"] / int(count) for count, results in sizes.items()]
    record = {
        "version": __version__,
        "machine": machine(),
        "repeat": arguments.repeat,
        "dim": arguments.dim,
        "sizes": sizes,
        "linearity": round(per_file[-1] / per_file[0], 3),
    }
    print(table(record), file=sys.stderr)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
