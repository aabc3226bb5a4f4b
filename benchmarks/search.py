"""A search in libraries of any size: building, warm, cold, with filters, and after adding; each figure and a reference.

    python benchmarks/search.py [--counts 100000 1000000] [--data clustered|random|real] [--dim 512] [--repeat 5]
                                [--keep DIRECTORY] [--parts build warm filters cold add] [--markdown]

Prints every figure on stderr with a reference of the same run and their ratio, and JSON on stdout. `--keep` leaves what
was made in DIRECTORY for the next run, which may then measure a few parts alone and shows the others as they were.
Ten million (`--counts 10000000 --keep DIRECTORY`) take 40 GB of disk and twenty minutes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from measure import Run, imgidx, load, machine, median_seconds, processor, python, run, take_turns, versions
from search_tables import markdown
from synthetic_index import SyntheticIndex

from image_index import __version__

HERE = Path(__file__).parent
MODEL_DIM = 512
"""The dimension of the bundled model: with it libraries are searched by texts too."""

IMPORTS = "import numpy, onnxruntime, faiss, typer, rich"
NEWER = (0, 2000, 20_000)
"""How many pictures are newer than the first build when a hundred more are added."""

WORDS = {"near": "near a picture", "text": "like a text"}

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, and what it is compared with in the same run."""

    name: str
    value: float
    unit: str
    reference: str
    reference_value: float

    def record(self) -> Result:
        """Return it for the JSON, with the ratio of both."""
        ratio = self.value / self.reference_value if self.reference_value else None
        digits = {"value": self.value, "reference_value": self.reference_value, "ratio": ratio}
        return asdict(self) | {key: value and float(f"{value:.4g}") for key, value in digits.items()}


@dataclass(frozen=True, slots=True)
class Library:
    """An index of `count` synthetic pictures, and how it is measured."""

    index: SyntheticIndex
    count: int
    arguments: argparse.Namespace

    def step(self, name: str, newer: int = 0) -> Result:
        """Do one step of `run_search.py` in a process of its own; return what it says, with its peak memory."""
        options = ["--count", str(self.count), "--dim", str(self.index.dim), "--data", self.arguments.data]
        script = python(str(HERE / "run_search.py"), name, str(self.index.path), "--newer", str(newer))
        done = run([*script, *options])
        return {**json.loads(done.stdout), "peak_mb": done.peak_bytes / 1e6, "processor_s": done.cpu_seconds}

    def make(self) -> None:
        """Fill the catalog, unless it is there: bound to the bundled model, if that has as many dimensions."""
        if (self.index.path / "questions.npz").exists() and self.index.is_filled(self.count):
            return
        shutil.rmtree(self.index.home.path, ignore_errors=True)  # half filled, or of another version
        self.index.path.mkdir(parents=True, exist_ok=True)
        if self.index.dim == MODEL_DIM:
            photos = self.arguments.photos or _one_picture(self.index.path)
            run(imgidx("train", str(photos), "--model", "starter", "--index", str(self.index.home.path), "--quiet"))
        self.step("make")
        if self.index.home.towers.exists() and self.arguments.data != "real":
            shutil.rmtree(self._towers_aside, ignore_errors=True)
            self.index.home.towers.rename(self._towers_aside)

    @property
    def _towers_aside(self) -> Path:
        """Where the model's towers are but for a search by a text, if the vectors are made up.

        A build would tune its lists by common texts of that model, which have nothing to do with such vectors.
        """
        return self.index.path / "towers"

    @contextmanager
    def with_towers(self) -> Iterator[None]:
        """Have the towers in the index for a while."""
        inside, aside = self.index.home.towers, self._towers_aside
        if not aside.exists():
            yield
            return
        aside.rename(inside)
        try:
            yield
        finally:
            inside.rename(aside)


def _one_picture(where: Path) -> Path:
    """Make a directory with a picture, for an index gets its model from a training."""
    from PIL import Image

    photos = where / "photos"
    photos.mkdir(exist_ok=True)
    Image.new("RGB", (64, 64), (200, 30, 30)).save(photos / "red.png")
    return photos


def build(library: Library) -> Iterator[Figure]:
    """Make the derived files of an index that has none, and measure all files."""
    catalog_bytes = library.step("reset")["catalog_bytes"]
    read, built = library.step("read"), library.step("build")
    imports = run(python("-c", IMPORTS)).peak_bytes / 1e6
    reading = "reading the vectors from the catalog"
    yield Figure("first build", built["seconds"], "s", reading, read["seconds"])
    yield Figure("first build, of the processor", built["processor_s"], "s", reading, read["processor_s"])
    yield Figure("first build, peak memory", built["peak_mb"], "MB", "the imports alone", imports)
    raw = library.index.vectors_file.stat().st_size
    sizes = {path.name: path.stat().st_size for path in library.index.home.path.iterdir() if path.is_file()}
    for name, size in sorted((sizes | {library.index.home.catalog.name: catalog_bytes}).items()):
        if size > library.count:  # a lock is none of its files
            yield Figure(f"size of {name}", size / 1e6, "MB", "the vectors as float16", raw / 1e6)
            yield Figure(f"size of {name} a picture", size / library.count, "bytes", "a vector", raw / library.count)


def warm(library: Library) -> Iterator[Figure]:
    """Search in open files."""
    found = library.step("warm")
    reference = found["reference"], found["reference_ms"]
    for kind, words in WORDS.items():
        for share in ("p50", "p95"):
            yield Figure(f"warm {words}, {share}", found[kind][f"{share}_ms"], "ms", *reference)
        processor_ms, by_numpy = found[kind]["processor_ms"], found["reference_processor_ms"]
        yield Figure(f"warm {words}, p50 of the processor", processor_ms, "ms", found["reference"], by_numpy)
        yield Figure(f"recall at 10 {words}", found[kind]["recall"], "", "numpy", 1.0)


def filters(library: Library) -> Iterator[Figure]:
    """Search with filters, of all hits, and exactly."""
    found = library.step("filters")
    for name, one in found["searches"].items():
        yield Figure(name, one["p50_ms"], "ms", found["reference"], found["reference_ms"])


def cold(library: Library) -> Iterator[Figure]:
    """Search as whole processes, in turns with one that only imports what a search needs."""

    def commands() -> list[list[str]]:
        queries = [["--image", str(library.index.picture)]]
        if library.index.dim == MODEL_DIM:  # a text of its own every time: the catalog remembers those it has seen
            queries.append([f"a red square, at {time.time_ns()}"])
        home = str(library.index.home.path)
        return [python("-c", IMPORTS), *(imgidx("search", "--missing", *one, "--index", home) for one in queries)]

    with library.with_towers():
        take_turns(commands(), 1)  # what was just written is in the page cache, and now all else is
        rounds = [take_turns(commands(), 1) for _ in range(library.arguments.repeat)]
    reference, *searches = ([turn[place][0] for turn in rounds] for place in range(len(rounds[0])))
    floor, least = median_seconds(reference), _peak_mb(reference)
    for kind, runs in zip(("a stored picture", "a new text"), searches, strict=False):
        seconds = median_seconds(runs)
        yield Figure(f"cold by {kind}", seconds, "s", "the imports alone", floor)
        yield Figure(f"cold by {kind}, beyond the imports", seconds - floor, "s", "the imports alone", floor)
        yield Figure(f"cold by {kind}, peak memory", _peak_mb(runs), "MB", "the imports alone", least)


def _peak_mb(runs: list[Run]) -> float:
    return max(run.peak_bytes for run in runs) / 1e6


def add(library: Library) -> Iterator[Figure]:
    """Add a hundred pictures to what was built, and again when more are newer."""
    first: Result = {}
    for newer in NEWER:
        searched = library.step("grow", newer)
        first = first or searched
        added = library.step("add")
        seconds = added["store_seconds"] + added["build_seconds"]
        state = f"with {newer} newer"
        yield Figure(f"100 pictures more, {state}", seconds, "s", "storing them in the catalog", added["store_seconds"])
        if newer:
            for kind, words in WORDS.items():
                yield Figure(f"warm {words}, p50, {state}", searched[kind], "ms", "with none newer", first[kind])


PARTS: dict[str, Callable[[Library], Iterator[Figure]]] = {
    part.__name__: part for part in (build, warm, filters, cold, add)
}
"""In this order: the last one leaves an index that only `build` makes whole again."""


def measure_library(library: Library) -> Result:
    """Make a library and measure the parts that are asked for; return them and those of runs before."""
    library.make()
    file = library.index.path / "record.json"
    parts: Result = json.loads(file.read_text()) if file.exists() else {}
    for name in library.arguments.parts:
        if name == "build":
            parts = {}
        elif "add" in parts:
            sys.exit(f"{library.index.path}: the pictures of `add` are in this index: measure `build` too")
        print(f"{library.count:,}: {name}", file=sys.stderr)
        before, when = load(), time.strftime("%Y-%m-%d %H:%M")
        figures = [figure.record() for figure in PARTS[name](library)]
        parts[name] = {"measured_at": when, "load_before": before, "load_after": load(), "figures": figures}
        file.write_text(json.dumps(parts))
    return {"count": library.count, "data": library.arguments.data, "parts": parts}


def measure(arguments: argparse.Namespace) -> Result:
    """Measure libraries of each size, and return the whole record."""
    with _directory(arguments) as where:
        libraries = []
        for count in arguments.counts:
            index = SyntheticIndex((where / f"{arguments.data}-{count}").resolve(), arguments.dim)
            libraries.append(measure_library(Library(index, count, arguments)))
    return {
        "version": __version__,
        "machine": machine(),
        "processor": processor(),
        "versions": versions("numpy", "faiss-cpu", "onnxruntime"),
        "dim": arguments.dim,
        "repeat": arguments.repeat,
        "libraries": libraries,
    }


@contextmanager
def _directory(arguments: argparse.Namespace) -> Iterator[Path]:
    """Give the directory in which libraries are made: the one to keep, or one that is removed."""
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        yield arguments.keep.absolute()
        return
    with tempfile.TemporaryDirectory(dir=".") as where:
        yield Path(where).absolute()


def table(record: Result) -> str:
    """Return the record for people."""
    lines = [f"{record['machine']}, {record['processor']}, {record['dim']} dimensions"]
    for library in record["libraries"]:
        for name, part in library["parts"].items():
            load_words = f"load {part['load_before']} before and {part['load_after']} after"
            lines.append(f"\n{library['count']:,} {library['data']}: {name}, {part['measured_at']}, {load_words}")
            for one in part["figures"]:
                value = f"{one['name']:44}{one['value']:>10,} {one['unit']:5}"
                reference = f"{one['ratio']:>9} of {one['reference']}: {one['reference_value']:,}"
                lines.append(f"{value}{reference}")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[100_000, 1_000_000], help="sizes of the libraries")
    parser.add_argument("--dim", type=int, default=MODEL_DIM, help="dimension of the vectors (default: 512)")
    kinds = ["clustered", "random", "real"]
    parser.add_argument("--data", choices=kinds, default="clustered", help="what the vectors are like")
    parser.add_argument("--photos", type=Path, help="a directory of pictures, for --data real")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each whole process (default: 5)")
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), default=list(PARTS), help="what is measured")
    parser.add_argument("--keep", type=Path, help="a directory for the libraries (default: one that is removed)")
    parser.add_argument("--markdown", action="store_true", help="print the tables of docs/performance.md")
    arguments = parser.parse_args()
    if arguments.data == "real" and (arguments.photos is None or arguments.dim != MODEL_DIM):
        parser.error(f"--data real needs --photos DIRECTORY and --dim {MODEL_DIM}")
    arguments.parts = [part for part in PARTS if part in arguments.parts]
    record = measure(arguments)
    print(markdown(record) if arguments.markdown else table(record), file=sys.stderr)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
