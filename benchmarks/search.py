"""`imgidx search` in libraries of any size: cold as a whole process, warm, its memory, its recall, and building it.

    python benchmarks/search.py [--counts 100000 1000000] [--dim 512] [--repeat 5] [--text] [--ten-million]

Prints a table on stderr and JSON on stdout. The vectors are synthetic, in topics as those of pictures are (or
random, with `--kind random`). The references, in the same run: a Python that imports the libraries a search needs
and ends, and numpy's brute force. `--text` searches by a text too, with the bundled model; it trains one picture for
it. `--ten-million` needs 20 GB of disk for an hour.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import imgidx, machine, median_seconds, python, run, take_turns

from image_index import __version__

HERE = Path(__file__).parent
TEN_MILLION = 10_000_000
ADDED = 100
MODEL_DIM = 512
"""The dimension of the bundled model."""

IMPORTS = "import numpy, onnxruntime, faiss, typer, rich"

Result = dict[str, Any]


def step(name: str, home: Path, count: int, arguments: argparse.Namespace) -> Result:
    """Do one step of `run_search.py` in a process of its own; return what it says, with its peak memory."""
    options = ["--dim", str(arguments.dim), "--kind", arguments.kind]
    done = run(python(str(HERE / "run_search.py"), name, str(home), str(count), *options))
    return {**json.loads(done.stdout), "peak_mb": round(done.peak_bytes / 1e6)}


def make(where: Path, count: int, arguments: argparse.Namespace) -> Result:
    """Make an index of `count` pictures; return what its FAISS file cost."""
    home = where / "index"
    if arguments.text:
        from PIL import Image

        (where / "photos").mkdir(parents=True)
        Image.new("RGB", (64, 64), (200, 30, 30)).save(where / "photos/red.png")
        run(imgidx("train", str(where / "photos"), "--model", "starter", "--index", str(home), "--quiet"))
    step("write", home, count, arguments)
    (home / "index.faiss").unlink(missing_ok=True)
    built = step("build", home, 0, arguments)
    size = (home / "index.faiss").stat().st_size
    return {
        "build_seconds": round(built["seconds"], 2),
        "build_peak_mb": built["peak_mb"],
        "file_mb": round(size / 1e6),
    }


def search_cold(homes: list[Path], arguments: argparse.Namespace) -> list[Result]:
    """Run whole processes in turns: the reference, then a search in each library by each kind of query."""
    queries: dict[str, Callable[[Path, int], list[str]]] = {
        "picture": lambda where, _: ["--image", str(where / "query.jpg")]
    }
    if arguments.text:  # a text of its own in every round: the catalog remembers those it has seen
        queries["text"] = lambda _, number: [f"a red square, number {number}"]

    def commands(number: int) -> list[list[str]]:
        searches = [
            imgidx("search", "--missing", *make_query(where, number), "--index", str(where / "index"))
            for make_query in queries.values()
            for where in homes
        ]
        return [python("-c", IMPORTS), *searches]

    take_turns(commands(0), 1)  # what was just written is in the page cache, and now all else is
    rounds = [take_turns(commands(number), 1) for number in range(1, arguments.repeat + 1)]
    reference, *searches = [[runs[place][0] for runs in rounds] for place in range(len(rounds[0]))]
    floor = median_seconds(reference)
    results: list[Result] = [{"imports_seconds": round(floor, 3)} for _ in homes]
    for place, runs in enumerate(searches):
        kind, home = list(queries)[place // len(homes)], place % len(homes)
        seconds = median_seconds(runs)
        results[home][f"by_{kind}"] = {
            "cold_seconds": round(seconds, 3),
            "beyond_imports_seconds": round(seconds - floor, 3),
            "ratio_to_imports": round(seconds / floor, 3),
            "ratio_to_smallest": round(seconds / median_seconds(searches[place - home]), 3),
            "peak_mb": round(max(run.peak_bytes for run in runs) / 1e6),
        }
    return results


def measure(arguments: argparse.Namespace) -> Result:
    """Make a library of each size, search them all, and return the whole record."""
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        homes = [Path(scratch) / str(count) for count in arguments.counts]
        libraries: list[Result] = []
        for where, count in zip(homes, arguments.counts, strict=True):
            where.mkdir()
            libraries.append({"count": count, **make(where, count, arguments)})
        for library, where, cold in zip(libraries, homes, search_cold(homes, arguments), strict=True):
            library.update(cold, warm=step("query", where / "index", 0, arguments))
        for library, where in zip(libraries, homes, strict=True):
            added = step("add", where / "index", ADDED, arguments)
            library["add_100_seconds"] = round(added["store_seconds"] + added["build_seconds"], 3)
            shutil.rmtree(where)
    return {
        "version": __version__,
        "machine": machine(),
        "dim": arguments.dim,
        "kind": arguments.kind,
        "repeat": arguments.repeat,
        "libraries": libraries,
    }


ROWS = (
    ("build the FAISS file, s", "build_seconds"),
    ("  its peak memory, MB", "build_peak_mb"),
    ("  its size, MB", "file_mb"),
    ("imports alone (reference), s", "imports_seconds"),
    ("cold by a stored picture, s", "by_picture.cold_seconds"),
    ("  beyond the imports, s", "by_picture.beyond_imports_seconds"),
    ("  ratio to the imports", "by_picture.ratio_to_imports"),
    ("  ratio to the smallest", "by_picture.ratio_to_smallest"),
    ("  peak memory, MB", "by_picture.peak_mb"),
    ("cold by a text, s", "by_text.cold_seconds"),
    ("  beyond the imports, s", "by_text.beyond_imports_seconds"),
    ("  ratio to the imports", "by_text.ratio_to_imports"),
    ("  ratio to the smallest", "by_text.ratio_to_smallest"),
    ("  peak memory, MB", "by_text.peak_mb"),
    ("nlist (0: flat)", "warm.nlist"),
    ("  nprobe", "warm.nprobe"),
    ("  nprobe near a picture", "warm.near_nprobe"),
    ("warm near a picture, p50 ms", "warm.near.warm_p50_ms"),
    ("  p95 ms", "warm.near.warm_p95_ms"),
    ("  recall at 10", "warm.near.recall_at_10"),
    ("warm like a text, p50 ms", "warm.text.warm_p50_ms"),
    ("  p95 ms", "warm.text.warm_p95_ms"),
    ("  recall at 10", "warm.text.recall_at_10"),
    ("numpy's brute force, p50 ms", "warm.brute_force_ms"),
    ("add 100 pictures, s", "add_100_seconds"),
)


def table(record: Result) -> str:
    """Return the record for people."""
    head = f"{record['kind']} vectors of {record['dim']}, {record['machine']}, median of {record['repeat']}"
    lines = [head, f"{'':32}" + "".join(f"{library['count']:>12,}" for library in record["libraries"])]
    for label, key in ROWS:
        values = [_value(library, key) for library in record["libraries"]]
        if any(value is not None for value in values):
            lines.append(f"{label:32}" + "".join(f"{'-' if value is None else value:>12}" for value in values))
    for name in record["libraries"][0]["warm"]["searches"]:
        found = [library["warm"]["searches"][name] for library in record["libraries"]]
        lines.append(f"{name:32}" + "".join(f"{one['p50_ms']:>12}" for one in found))
    return "\n".join(lines)


def _value(library: Result, key: str) -> Any:
    """Return the value at a dotted key, or None."""
    value: Any = library
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description="imgidx search against the imports alone and numpy")
    parser.add_argument("--counts", type=int, nargs="+", default=[100_000, 1_000_000], help="sizes of the libraries")
    parser.add_argument("--dim", type=int, default=MODEL_DIM, help="dimension of the vectors (default: 512)")
    parser.add_argument(
        "--kind", choices=["clustered", "random"], default="clustered", help="what the vectors are like"
    )
    parser.add_argument("--repeat", type=int, default=5, help="runs of each process (default: 5)")
    parser.add_argument("--text", action="store_true", help="search by a text too, with the bundled model")
    parser.add_argument("--ten-million", action="store_true", help="a library of ten million alone")
    parser.add_argument("--scratch", type=Path, help="where to make the libraries (default: the system's)")
    arguments = parser.parse_args()
    if arguments.text and arguments.dim != MODEL_DIM:
        parser.error(f"--text needs --dim {MODEL_DIM}")
    if arguments.ten_million:
        arguments.counts = [TEN_MILLION]
    record = measure(arguments)
    print(table(record), file=sys.stderr)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
