"""How soon each command answers in a small library: whole processes, against a Python that does nothing and imports.

    python benchmarks/commands.py --photos DIR [--model starter] [--count 24] [--repeat 9]

All take turns, and a ratio is that of the medians. Prints a table on stderr and JSON on stdout.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import count
from pathlib import Path

from measure import Result, imgidx, in_scratch, machine, median_seconds, python, run, take_turns
from photos import copies

from image_index import __version__

NOTHING, NUMPY = "python -c pass", "python -c 'import numpy'"


def commands(index: Path, picture: Path) -> dict[str, Callable[[int], list[str]]]:
    """Return by its name what makes each command; the number of the round makes a text a new one."""
    where = ("--index", str(index), "--paths")
    return {
        NOTHING: lambda _: python("-c", "pass"),
        NUMPY: lambda _: python("-c", "import numpy"),
        "imgidx --version": lambda _: imgidx("--version"),
        "imgidx --help": lambda _: imgidx("--help"),
        "imgidx search --help": lambda _: imgidx("search", "--help"),
        "imgidx status": lambda _: imgidx("status", *where[:2]),
        "search by a stored picture": lambda _: imgidx("search", "--image", str(picture), *where),
        "search by a text of before": lambda _: imgidx("search", "a text of before", *where),
        "search by a new text": lambda number: imgidx("search", f"text number {number}", *where),
    }


def measure(arguments: argparse.Namespace, scratch: Path) -> Result:
    """Train an index, run each command in turns, and return the whole record."""
    index, numbers = scratch / "index", count()
    with copies(arguments.photos, arguments.count) as photos:
        run(imgidx("train", str(photos), "--model", arguments.model, "--index", str(index), "--quiet"))
        made = commands(index, next(photos.iterdir()))

        def turn() -> list[list[str]]:
            number = next(numbers)
            return [make(number) for make in made.values()]

        take_turns(turn(), 1)  # writes bytecode, and reads the files from the disk
        rounds = [take_turns(turn(), 1) for _ in range(arguments.repeat)]
    seconds = {name: median_seconds(one[place][0] for one in rounds) for place, name in enumerate(made)}
    return {
        "version": __version__,
        "machine": machine(),
        "model": arguments.model,
        "repeat": arguments.repeat,
        "seconds": {name: round(each, 4) for name, each in seconds.items()},
        "ratio_to_numpy": {name: round(each / seconds[NUMPY], 3) for name, each in seconds.items()},
    }


def table(record: Result) -> str:
    """Return the record for people."""
    lines = [f"{record['model']}, {record['machine']}, median of {record['repeat']}"]
    for name, seconds in record["seconds"].items():
        lines.append(f"{name:32}{seconds:8.3f} s {record['ratio_to_numpy'][name]:8.2f} x {NUMPY}")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description="how soon each command answers")
    parser.add_argument("--photos", type=Path, required=True, help="a directory of pictures")
    parser.add_argument("--model", default="starter", help="as for imgidx train (default: starter)")
    parser.add_argument("--count", type=int, default=24, help="pictures of the index (default: 24)")
    parser.add_argument("--repeat", type=int, default=9, help="runs of each command (default: 9)")
    in_scratch(measure, table, parser.parse_args())


if __name__ == "__main__":
    main()
