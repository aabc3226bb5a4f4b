"""From the command to the first batch stored, against the least that any tool pays: one process that loads the model.

    python benchmarks/start.py --photos DIRECTORY [--model starter] [--count 64] [--files 0] [--repeat 3]

Prints a table on stderr and JSON on stdout. With `--files N` the scan finds, after the new pictures, N files that the
index knows, so that it takes a while; the children load meanwhile. Both sides take turns; the medians count. The
start of a child is from the end of the parent's imports to the moment when its model is loaded.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from large_library import make_library
from measure import machine, median_seconds, python, run
from photos import copies

from image_index import __version__
from image_index.models.names import ensure_model, parse_model

Result = dict[str, Any]
HERE = Path(__file__).parent

DIM = 512
"""The dimensions of the bundled model: the known files' vectors must be of it."""

REFERENCE = """
import sys
sys.modules["transformers"] = None  # this model needs none, and open_clip would import it where our tests have it
import torch, open_clip
open_clip.create_model(sys.argv[1], pretrained=sys.argv[2] or None)
"""


def timelines(photos: Path, arguments: argparse.Namespace) -> tuple[list[dict[str, float]], float]:
    """Return when each step of our start was reached, per repetition, and the median seconds of the reference."""
    spec = parse_model(arguments.model)
    ours, theirs = [], []
    for _ in range(arguments.repeat):
        with tempfile.TemporaryDirectory() as scratch:
            library = make_library(Path(scratch).resolve(), arguments.files, DIM, bound=False)
            shutil.copytree(photos, library.photos / "0000 new")
            script = python(str(HERE / "run_start.py"), str(time.time()), str(library.photos), str(library.home.path))
            ours.append(json.loads(run([*script, arguments.model]).stdout))
        theirs.append(run(python("-c", REFERENCE, spec.architecture, spec.pretrained or "")))
    return ours, median_seconds(theirs)


def measure_start(arguments: argparse.Namespace) -> Result:
    """Run both sides and return the whole record."""
    ensure_model(parse_model(arguments.model), quiet=False)
    with copies(arguments.photos, arguments.count) as directory:
        ours, reference = timelines(directory, arguments)
    steps = {step: round(median(one[step] for one in ours), 3) for step in ours[0]}
    start = steps["first model loaded"] - steps["parent's imports done"]
    return {
        "version": __version__,
        "machine": machine(),
        "model": arguments.model,
        "pictures": arguments.count,
        "known_files": arguments.files,
        "repeat": arguments.repeat,
        "reached_seconds": dict(sorted(steps.items(), key=lambda item: item[1])),
        "reference_seconds": round(reference, 3),
        "ratio": round(steps["first batch stored"] / reference, 3),
        "child_start_seconds": round(start, 3),
        "child_start_ratio": round(start / reference, 3),
    }


def table(record: Result) -> str:
    """Return the record for people."""
    what = f"{record['model']}, {record['pictures']} new pictures, {record['known_files']} known files"
    lines = [f"{what}, {record['machine']}, median of {record['repeat']}"]
    lines += [f"{step:32}{seconds:8.2f} s" for step, seconds in record["reached_seconds"].items()]
    lines.append(f"{'reference: the model loaded':32}{record['reference_seconds']:8.2f} s")
    lines.append(f"{'first batch stored / reference':32}{record['ratio']:8.2f}")
    return "\n".join([*lines, f"{'start of a child / reference':32}{record['child_start_ratio']:8.2f}"])


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description="from the command to the first batch stored")
    parser.add_argument("--photos", type=Path, required=True, help="a directory of pictures")
    parser.add_argument("--model", default="starter", help="as for imgidx train (default: starter)")
    parser.add_argument("--count", type=int, default=64, help="new pictures (default: 64)")
    parser.add_argument("--files", type=int, default=0, help="files that the index knows already (default: 0)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each side (default: 3)")
    arguments = parser.parse_args()
    record = measure_start(arguments)
    print(table(record), file=sys.stderr)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
