"""What the words of names cost and give: `--name` by the index of words, against a scan of all paths.

    python benchmarks/names.py [--count 1000000] [--batch 1000]

Prints a table on stderr and JSON on stdout. Two catalogs get the same rows in turns, one that keeps words and one that
does not, in one temporary directory below the current one.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

from measure import machine, timed
from synthetic_rows import COLUMNS, MARKS, pictures

from image_index import __version__
from image_index.catalog import schema
from image_index.catalog.catalog import Catalog
from image_index.catalog.filters import Filters
from image_index.search.selection import make_filters

Result = dict[str, Any]

CITY = "\u5317\u4eac"
"""A word of two letters, as most Chinese names are."""

REPEAT = 3


@contextmanager
def catalogs(where: Path) -> Iterator[tuple[Catalog, Catalog]]:
    """Give two new catalogs: one that keeps words, and one as an SQLite without FTS5 makes it."""
    with ExitStack() as stack:
        keeps = stack.enter_context(Catalog(where / "words.sqlite3", write=True))
        with mock.patch.object(schema, "has_fts5", return_value=False):
            scans = stack.enter_context(Catalog(where / "scan.sqlite3", write=True))
        yield keeps, scans


def fill(both: tuple[Catalog, Catalog], arguments: argparse.Namespace) -> Result:
    """Add the rows to both; return how long a transaction takes, and how large the files are, per picture."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for first in range(1, arguments.count + 1, arguments.batch):
        rows = [_moved(row) for row in pictures(first, min(arguments.batch, arguments.count + 1 - first))]
        for catalog, times in zip(both, seconds, strict=True):
            times.append(timed(partial(_insert, catalog, rows)))
    for catalog in both:
        catalog.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    sizes = [catalog.path.stat().st_size / arguments.count for catalog in both]
    per_1000 = [1000 * sum(times) / arguments.count * 1000 for times in seconds]
    return {
        "ms_per_1000": {"words": round(per_1000[0], 2), "without": round(per_1000[1], 2)},
        "worst_ms": {"words": round(1000 * max(seconds[0]), 1), "without": round(1000 * max(seconds[1]), 1)},
        "bytes_of_words": round(sizes[0] - sizes[1], 1),
    }


def _moved(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row with a Chinese name in place of an English one."""
    return row[0], row[1].replace(b" zoo ", f" {CITY} ".encode()), *row[2:]


def _insert(catalog: Catalog, rows: list[tuple[Any, ...]]) -> None:
    """Add rows in one transaction."""
    with catalog.transaction() as connection:
        connection.executemany(f"INSERT INTO images ({COLUMNS}) VALUES ({MARKS})", rows)


def ask(both: tuple[Catalog, Catalog], count: int) -> Result:
    """Return for each word how many pictures have it, and how long it takes to find them, in ms."""
    words = (f"{count // 2:08}", f"wedding {count // 400}", "wedding", CITY, "2019 wedding", "of", "photos")
    record = {}
    for word in words:
        filters = make_filters(name=word)
        found = [catalog.ids_matching(filters).tolist() for catalog in both]  # reads what is not in memory
        assert found[0] == found[1], word
        indexed, scanned = _ms(both[0], filters, REPEAT), _ms(both[1], filters, 1)
        ratio = round(scanned / indexed, 2)
        record[word] = {
            "pictures": len(found[0]),
            "ms": round(indexed, 2),
            "scan_ms": round(scanned, 1),
            "ratio": ratio,
        }
    return record


def _ms(catalog: Catalog, filters: Filters, times: int) -> float:
    return 1000 * median(timed(partial(catalog.ids_matching, filters)) for _ in range(times))


def table(record: Result) -> str:
    """Return the record for people."""
    per_1000, worst = record["ms_per_1000"], record["worst_ms"]
    lines = [
        f"{record['count']} paths, {record['machine']}",
        f"1000 rows: {per_1000['words']:.1f} ms, {per_1000['without']:.1f} without words;"
        f" worst transaction of {record['batch']}: {worst['words']:.0f} ms, {worst['without']:.0f}",
        f"words take {record['bytes_of_words']:.0f} bytes a picture",
        *(
            f"{word:>16}: {one['pictures']:>8} pictures in {one['ms']:>9.2f} ms, by a scan {one['scan_ms']:>8.1f}"
            f" (ratio {one['ratio']:.2f})"
            for word, one in record["words"].items()
        ),
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description="what the words of names cost and give")
    parser.add_argument("--count", type=int, default=1_000_000, help="paths (default: 1000000)")
    parser.add_argument("--batch", type=int, default=1000, help="rows a transaction (default: 1000)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch, catalogs(Path(scratch)) as both:
        settings = {"version": __version__, "machine": machine(), "count": arguments.count, "batch": arguments.batch}
        record = {**settings, **fill(both, arguments), "words": ask(both, arguments.count)}
    print(table(record), file=sys.stderr)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
