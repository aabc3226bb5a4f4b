"""What loads no torch, as whole commands, each against its reference in the same run.

    python benchmarks/without_torch.py --photos DIRECTORY [--model MODEL] [--count 1000] [--repeat 5]

Without `--model` it makes a ViT-B-32 with random weights, which takes as long as a trained one. Prints a table on
stderr and JSON on stdout: a search by a picture that is not in the index against one by a new text; ten new pictures
against a run that finds nothing new; and a training in float32, as on processors without bfloat16, against the same
with torch. Both sides take turns; the medians count.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from itertools import count
from pathlib import Path
from statistics import median

from measure import Result, imgidx, in_scratch, machine, run
from photos import copies
from run_ceiling import make_model

from image_index import __version__

NEW = 10
"""How many pictures a small run adds."""

ENCODERS = ("auto", "torch")


class Bench:
    """An index that is there, and commands that are run on it."""

    def __init__(self, photos: list[Path], model: str, scratch: Path) -> None:
        """Train an index of some `photos`; the others stay for queries and for what is added."""
        self._library, self._index = scratch / "library", scratch / "index"
        self._library.mkdir()
        self._photos, self._numbers = photos, count()
        self.add()
        self.train("--model", model)
        self.train()  # exports nothing any more

    def add(self) -> None:
        """Put new pictures into the library; each time others, of another content."""
        for _ in range(NEW):
            number = next(self._numbers)
            photo = self._photos[number % len(self._photos)]
            copy = self._library / f"{number}{photo.suffix}"
            copy.write_bytes(photo.read_bytes() + b"%d" % number)  # no decoder reads past the end

    def train(self, *options: str) -> float:
        """Bring the index up to date; return the seconds."""
        return run(imgidx("train", str(self._library), "--index", str(self._index), "--quiet", *options)).seconds

    def search(self, *query: str) -> float:
        """Search; return the seconds."""
        return run(imgidx("search", *query, "--index", str(self._index), "--paths")).seconds

    def new_picture(self) -> str:
        """Return a picture that is not in the index."""
        return str(self._photos[-1 - next(self._numbers) % (len(self._photos) // 2)])


def small_jobs(bench: Bench, repeat: int) -> dict[str, list[float]]:
    """Return the seconds of each command that has little to do."""
    seconds: dict[str, list[float]] = {
        name: [] for name in ("text", "picture", "picture, torch", "nothing new", "ten new", "ten new, torch")
    }
    for number in range(repeat):
        seconds["text"].append(bench.search(f"a picture of number {number}"))
        seconds["picture"].append(bench.search("--image", bench.new_picture()))
        seconds["picture, torch"].append(bench.search("--image", bench.new_picture(), "--encoder", "torch"))
        seconds["nothing new"].append(bench.train())
        for name, encoder in zip(("ten new", "ten new, torch"), ENCODERS, strict=True):
            bench.add()
            seconds[name].append(bench.train("--encoder", encoder))
    return seconds


def trainings(photos: Path, model: str, towers: Path, repeat: int) -> dict[str, list[float]]:
    """Return the seconds of trainings of `photos` in float32, into indexes that have their towers already."""
    seconds: dict[str, list[float]] = {encoder: [] for encoder in ENCODERS}
    for _ in range(repeat):
        for encoder in ENCODERS:
            with tempfile.TemporaryDirectory() as scratch:
                index = Path(scratch) / "index"
                shutil.copytree(towers, index)
                command = imgidx("train", str(photos), "--index", str(index), "--quiet", "--model", model)
                seconds[encoder].append(run([*command, "--precision", "fp32", "--encoder", encoder]).seconds)
    return seconds


def measure(arguments: argparse.Namespace, scratch: Path) -> Result:
    """Run everything and return the whole record."""
    model = arguments.model
    if model is None:
        make_model("ViT-B-32", scratch / "model")
        model = f"local-dir:{scratch / 'model'}"
    with copies(arguments.photos, max(arguments.count, 4 * NEW)) as directory:
        photos = sorted(directory.iterdir())
        (scratch / "small").mkdir()
        bench = Bench(photos, model, scratch / "small")
        small = {name: median(each) for name, each in small_jobs(bench, arguments.repeat).items()}
        towers = scratch / "small" / "index"
        bulk = trainings(directory, model, towers, arguments.bulk_repeat) if arguments.bulk_repeat else {}
    fp32 = {encoder: median(each) for encoder, each in bulk.items()}
    return {
        "version": __version__,
        "machine": machine(),
        "model": arguments.model or "ViT-B-32, random weights",
        "count": arguments.count,
        "seconds": {name: round(seconds, 3) for name, seconds in small.items()},
        "beyond_text_s": round(small["picture"] - small["text"], 3),
        "beyond_nothing_new_s": round(small["ten new"] - small["nothing new"], 3),
        "fp32_seconds": {encoder: round(seconds, 3) for encoder, seconds in fp32.items()},
        "fp32_ratio": round(fp32["torch"] / fp32["auto"], 3) if fp32 else None,
    }


def table(record: Result) -> str:
    """Return the record for people."""
    lines = [f"{record['model']}, {record['machine']}"]
    lines += [f"{name:40}{seconds:8.2f} s" for name, seconds in record["seconds"].items()]
    lines.append(f"{'a picture beyond a text':40}{record['beyond_text_s']:8.2f} s")
    lines.append(f"{'ten new beyond nothing new':40}{record['beyond_nothing_new_s']:8.2f} s")
    for encoder, seconds in record["fp32_seconds"].items():
        lines.append(f"{record['count']} pictures in float32, {encoder:20}{seconds:8.2f} s")
    return "\n".join([*lines, f"{'torch / auto, in float32':40}{record['fp32_ratio'] or 0:8.2f}"])


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description="commands that load no torch")
    parser.add_argument("--photos", type=Path, required=True, help="a directory of pictures")
    parser.add_argument("--model", help="as for imgidx train (default: a ViT-B-32 with random weights)")
    parser.add_argument("--count", type=int, default=1000, help="pictures of the training in float32 (default: 1000)")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each small command (default: 5)")
    parser.add_argument("--bulk-repeat", type=int, default=1, help="trainings of each side; 0 for none (default: 1)")
    in_scratch(measure, table, parser.parse_args())


if __name__ == "__main__":
    main()
