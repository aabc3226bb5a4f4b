"""Pictures per second of `imgidx train` against the loop of open_clip's README, on the same pictures.

    python benchmarks/end_to_end.py --photos DIRECTORY [--model starter] [--count 256] [--repeat 3]

Prints a table on stderr and JSON on stdout. Each side runs in a process of its own, which is started anew for every
repetition; the two take turns, and the median of the repetitions counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

from image_index import __version__
from image_index.devices import core_count
from image_index.models import ModelSpec, ensure_model, parse_model
from image_index.paths import resolve
from image_index.records import ImageFile
from image_index.scan import ScanOptions, scan

HERE = Path(__file__).parent
STAGES = ("read", "decode", "forward")

Result = dict[str, Any]


@contextmanager
def copies(photos: Path, count: int) -> Iterator[Path]:
    """Give a directory of `count` files, the pictures of `photos` over and over."""
    found = [item.path for item in scan(resolve(photos), ScanOptions()) if isinstance(item, ImageFile)]
    if not found:
        sys.exit(f"no pictures in {photos}")
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "photos"
        directory.mkdir()
        for number, path in enumerate(islice(cycle(found), count)):
            source = Path(os.fsdecode(path))
            shutil.copyfile(source, directory / f"{number:07d}{source.suffix}")
        yield directory


def run(script: str, *arguments: str) -> Result:
    """Run one side in a process of its own; return what it prints, and the seconds its whole life took."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(HERE.parent)}
    start = time.perf_counter()
    command = [sys.executable, str(HERE / script), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    return {**json.loads(done.stdout), "seconds": time.perf_counter() - start}


def run_imgidx(photos: Path, model: str) -> Result:
    """Train a new index of `photos`."""
    with tempfile.TemporaryDirectory() as scratch:
        return run("run_imgidx.py", str(photos), str(Path(scratch) / "index"), model)


def run_naive(photos: Path, spec: ModelSpec) -> Result:
    """Run the plain loop over `photos`."""
    pretrained = ["--pretrained", spec.pretrained] if spec.pretrained else []
    return run("run_naive.py", str(photos), spec.architecture, *pretrained)


def middle(results: list[Result]) -> Result:
    """Return the medians of repeated runs, with pictures per second."""
    embedded = min(result["embedded"] for result in results)
    seconds = median(result["seconds"] for result in results)
    embedding_seconds = median(result["embedding_seconds"] for result in results)
    stages = {stage: median(result["stage_seconds"][stage] for result in results) for stage in STAGES}
    return {
        "embedded": embedded,
        "seconds": round(seconds, 3),
        "embedding_seconds": round(embedding_seconds, 3),
        "pictures_per_second": round(embedded / seconds, 3),
        "embedding_pictures_per_second": round(embedded / embedding_seconds, 3),
        "stage_seconds": {stage: round(value, 3) for stage, value in stages.items()},
    }


def compare(photos: Path, model: str, count: int, repeat: int) -> Result:
    """Run both sides `repeat` times and return the whole record."""
    spec = parse_model(model)
    ensure_model(spec, quiet=False)
    ours: list[Result] = []
    theirs: list[Result] = []
    with copies(photos, count) as directory:
        for _ in range(repeat):
            ours.append(run_imgidx(directory, model))
            theirs.append(run_naive(directory, spec))
    imgidx, naive = middle(ours), middle(theirs)
    rates = ("pictures_per_second", "embedding_pictures_per_second")
    return {
        "version": __version__,
        "model": spec.name,
        "pictures": count,
        "repeat": repeat,
        "machine": f"{platform.system()} {platform.machine()}, {core_count()} cores",
        "imgidx": imgidx,
        "naive": naive,
        "ratio": {rate: round(imgidx[rate] / naive[rate], 3) for rate in rates},
    }


def table(record: Result) -> str:
    """Return the record for people."""
    head = f"{record['model']}, {record['pictures']} pictures, {record['machine']}, median of {record['repeat']}"
    lines = [head, f"{'':32}{'imgidx':>10}{'naive':>10}{'ratio':>8}"]
    for label, rate in (
        ("pictures/s with start-up", "pictures_per_second"),
        ("pictures/s embedding only", "embedding_pictures_per_second"),
    ):
        ours, theirs = record["imgidx"][rate], record["naive"][rate]
        lines.append(f"{label:32}{ours:10.1f}{theirs:10.1f}{record['ratio'][rate]:8.2f}")
    for stage in STAGES:
        ours, theirs = (record[side]["stage_seconds"][stage] for side in ("imgidx", "naive"))
        lines.append(f"{f'seconds in {stage}':32}{ours:10.1f}{theirs:10.1f}")
    return "\n".join(lines)


def main() -> None:
    """Compare, and print what came of it."""
    parser = argparse.ArgumentParser(description="imgidx train against the loop of open_clip's README")
    parser.add_argument("--photos", type=Path, required=True, help="a directory of pictures")
    parser.add_argument("--model", default="starter", help="as for imgidx train (default: starter)")
    parser.add_argument("--count", type=int, default=256, help="repeat the pictures to this many (default: 256)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each side (default: 3)")
    arguments = parser.parse_args()
    record = compare(arguments.photos, arguments.model, arguments.count, arguments.repeat)
    print(table(record), file=sys.stderr)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
