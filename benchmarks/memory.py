"""The memory of a first training, all its processes together, against one process that only loads the model.

    python benchmarks/memory.py --photos DIRECTORY [--model starter] [--count 400] [--workers 2]

Prints a table on stderr and JSON on stdout. Memory is the proportional set size (PSS): a page that several processes
share counts once. It is sampled from `/proc/PID/smaps_rollup` of every process of a tree, so this runs on Linux alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import child_environment, family, machine, pss_bytes, python
from photos import copies
from start import REFERENCE

from image_index import __version__
from image_index.models.names import ensure_model, parse_model

Result = dict[str, Any]
HERE = Path(__file__).parent

SAMPLE_S = 0.05
"""How long to wait between two samples; one of them takes 5 ms for each process."""


def watch(command: Sequence[str]) -> Result:
    """Run a command; return the largest sum of its processes, its parts then, and the largest of each."""
    peak: dict[int, int] = {}
    largest: dict[int, int] = {}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=child_environment()) as process:
        while process.poll() is None:
            sample = {pid: size for pid in family(process.pid) if (size := pss_bytes(pid))}
            largest |= {pid: max(size, largest.get(pid, 0)) for pid, size in sample.items()}
            peak = max(peak, sample, key=lambda one: sum(one.values()))
            time.sleep(SAMPLE_S)
    if process.returncode:
        raise RuntimeError(f"{command} ended with exit code {process.returncode}")
    return {
        "peak_mb": _megabytes(sum(peak.values())),
        "at_peak_mb": [_megabytes(size) for size in peak.values()],
        "largest_mb": [_megabytes(size) for size in largest.values()],
    }


def _megabytes(size: int) -> int:
    return round(size / 1e6)


def measure_memory(arguments: argparse.Namespace) -> Result:
    """Run both sides and return the whole record."""
    spec = parse_model(arguments.model)
    ensure_model(spec, quiet=False)
    options = ["--workers", str(arguments.workers), "--device", "cpu"]
    with copies(arguments.photos, arguments.count) as photos, tempfile.TemporaryDirectory() as scratch:
        script = python(str(HERE / "run_imgidx.py"), str(photos), str(Path(scratch) / "index"), spec.name, *options)
        ours = watch(script)
    theirs = watch(python("-c", REFERENCE, spec.architecture, spec.pretrained or ""))
    return {
        "version": __version__,
        "machine": machine(),
        "model": arguments.model,
        "pictures": arguments.count,
        "workers": arguments.workers,
        "imgidx": ours,
        "reference": theirs,
        "ratio": round(ours["peak_mb"] / theirs["peak_mb"], 3),
    }


def table(record: Result) -> str:
    """Return the record for people."""
    ours, theirs = record["imgidx"], record["reference"]
    what = f"{record['model']}, {record['pictures']} pictures, {record['workers']} children"
    lines = [f"{what}, {record['machine']}", f"{'all processes, at most':32}{ours['peak_mb']:8} MB"]
    lines += [f"{'a process, at most':32}{size:8} MB" for size in ours["largest_mb"]]
    lines.append(f"{'reference: the model loaded':32}{theirs['peak_mb']:8} MB")
    return "\n".join([*lines, f"{'all processes / reference':32}{record['ratio']:8.2f}"])


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description="the memory of a first training")
    parser.add_argument("--photos", type=Path, required=True, help="a directory of pictures")
    parser.add_argument("--model", default="starter", help="as for imgidx train (default: starter)")
    parser.add_argument("--count", type=int, default=400, help="pictures (default: 400)")
    parser.add_argument("--workers", type=int, default=2, help="children (default: 2)")
    arguments = parser.parse_args()
    record = measure_memory(arguments)
    print(table(record), file=sys.stderr)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
