"""Pictures per second of `imgidx train` against the loop of open_clip's README and against what the stages allow.

    python benchmarks/end_to_end.py --photos DIRECTORY [--model starter] [--count 2000] [--mosaics] [--repeat 3]

Prints a table on stderr and JSON on stdout. Each side runs in a process of its own, which is started anew for every
repetition; they take turns, and the median of the repetitions counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from measure import REPOSITORY, machine, python, run
from photos import copies

from image_index import __version__
from image_index.models.names import ModelSpec, ensure_model, parse_model

HERE = REPOSITORY / "benchmarks"
STAGES = ("read", "decode", "forward")
RATES = ("pictures_per_second", "embedding_pictures_per_second")

Result = dict[str, Any]


def run_script(name: str, *arguments: str) -> Result:
    """Run one side in a process of its own; return what it prints, the seconds of its whole life, and its memory."""
    done = run(python(str(HERE / name), *arguments))
    return {"seconds": done.seconds, **json.loads(done.stdout)}


def run_imgidx(photos: Path, model: str) -> Result:
    """Train a new index of `photos`."""
    with tempfile.TemporaryDirectory() as scratch:
        return run_script("run_imgidx.py", str(photos), str(Path(scratch) / "index"), model)


def run_naive(photos: Path, spec: ModelSpec) -> Result:
    """Run the plain loop over `photos`."""
    pretrained = ["--pretrained", spec.pretrained] if spec.pretrained else []
    return run_script("run_naive.py", str(photos), spec.architecture, *pretrained)


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


def middle_limit(results: list[Result]) -> Result:
    """Return the medians of the limits; loading a model and starting up are no part of it."""
    keys = ("forward_per_second", "decode_per_second", "pictures_per_second")
    return {key: round(median(result[key] for result in results), 3) for key in keys}


def compare(photos: Path, spec: ModelSpec, repeat: int, limit_seconds: float) -> Result:
    """Run all sides over the pictures in `photos` `repeat` times and return the whole record."""
    ensure_model(spec, quiet=False)
    ours: list[Result] = []
    theirs: list[Result] = []
    limits: list[Result] = []
    for _ in range(repeat):
        ours.append(run_imgidx(photos, spec.name))
        theirs.append(run_naive(photos, spec))
        limits.append(run_script("run_limit.py", str(photos), spec.name, "--seconds", str(limit_seconds)))
    imgidx, naive, limit = middle(ours), middle(theirs), middle_limit(limits)
    return {
        "version": __version__,
        "model": spec.name,
        "repeat": repeat,
        "machine": machine(),
        "imgidx": imgidx,
        "naive": naive,
        "limit": limit,
        "ratio": {rate: round(imgidx[rate] / naive[rate], 3) for rate in RATES},
        "share_of_limit": {rate: round(imgidx[rate] / limit["pictures_per_second"], 3) for rate in RATES},
    }


def table(record: Result) -> str:
    """Return the record for people."""
    imgidx, naive, limit = record["imgidx"], record["naive"], record["limit"]
    what = f"{record['model']}, {record['pictures']} {record['kind']}"
    lines = [f"{what}, {record['machine']}, median of {record['repeat']}"]
    lines += [f"{'':28}{'imgidx':>9}{'naive':>9}{'ratio':>8}{'limit':>9}{'share':>8}"]
    for label, rate in zip(("pictures/s with start-up", "pictures/s embedding only"), RATES, strict=True):
        ratio, share = record["ratio"][rate], record["share_of_limit"][rate]
        allowed = limit["pictures_per_second"]
        lines.append(f"{label:28}{imgidx[rate]:9.1f}{naive[rate]:9.1f}{ratio:8.2f}{allowed:9.1f}{share:8.2f}")
    for stage in STAGES:
        ours, theirs = (side["stage_seconds"][stage] for side in (imgidx, naive))
        lines.append(f"{f'seconds in {stage}':28}{ours:9.1f}{theirs:9.1f}")
    alone = f"{limit['forward_per_second']:.1f} and {limit['decode_per_second']:.1f} pictures/s"
    return "\n".join([*lines, f"forward and decode alone, on all cores: {alone}"])


def main() -> None:
    """Compare, and print what came of it."""
    parser = argparse.ArgumentParser(description="imgidx train against open_clip's own loop and against the limit")
    parser.add_argument("--photos", type=Path, required=True, help="a directory of pictures")
    parser.add_argument("--model", default="starter", help="as for imgidx train (default: starter)")
    parser.add_argument("--count", type=int, default=2000, help="repeat the pictures to this many (default: 2000)")
    parser.add_argument("--mosaics", action="store_true", help="tile them to JPEGs of twelve megapixels")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each side (default: 3)")
    parser.add_argument("--limit-seconds", type=float, default=8.0, help="for each stage alone (default: 8)")
    arguments = parser.parse_args()
    spec = parse_model(arguments.model)
    kind = "mosaics of 12 megapixels" if arguments.mosaics else "pictures"
    with copies(arguments.photos, arguments.count, mosaics=arguments.mosaics) as directory:
        record = compare(directory, spec, arguments.repeat, arguments.limit_seconds)
    record = {"pictures": arguments.count, "kind": kind, **record}
    print(table(record), file=sys.stderr)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
