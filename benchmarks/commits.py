"""What storing a batch costs as an index grows, against a bare write and `fsync` of as many bytes.

    python benchmarks/commits.py [--count 320000] [--batch 32] [--dim 512]

Prints a table on stderr and JSON on stdout. `Catalog.record` and the bare write take turns, in one temporary directory
below the current one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any, BinaryIO

from large_library import FILES_PER_DIRECTORY, LONG_AGO_NS, random_batch
from measure import machine, timed

from image_index import __version__
from image_index.catalog.catalog import Catalog
from image_index.records import ImageFile

Result = dict[str, Any]

PARTS = 5
"""The growth is reported in so many parts, to show whether a batch costs more in a large index."""

RATES = (40, 2000)
"""Pictures per second: two cores, and a GPU."""


def grow(where: Path, arguments: argparse.Namespace) -> Result:
    """Store batches until the index holds `count` images; return what each batch took, in ms."""
    seconds, references = [], []
    batch_bytes = bytes(arguments.batch * (2 * arguments.dim + 200))
    with Catalog(where / "catalog.sqlite3", write=True) as catalog, (where / "reference").open("wb", 0) as reference:
        for first in range(0, arguments.count, arguments.batch):
            batch = random_batch([_file(first + number) for number in range(arguments.batch)], arguments.dim)
            seconds.append(timed(partial(catalog.record, batch)))
            references.append(timed(partial(_write_through, reference, batch_bytes)))
            if reference.tell() > 4 << 20:  # SQLite writes its log anew from the start, too
                reference.seek(0)
        wal_mb = (where / "catalog.sqlite3-wal").stat().st_size / 1e6
    size = len(seconds) // PARTS
    mean_s = sum(seconds) / len(seconds)
    return {
        "batches": len(seconds),
        "median_ms": _ms(median(seconds)),
        "mean_ms": _ms(mean_s),
        "p99_ms": _ms(quantiles(seconds, n=100)[98]),
        "worst_ms": _ms(max(seconds)),
        "mean_ms_by_part": [_ms(sum(seconds[n * size : (n + 1) * size]) / size) for n in range(PARTS)],
        "fsync_mean_ms": _ms(sum(references) / len(references)),
        "ratio": round(sum(seconds) / sum(references), 3),
        "wal_mb": round(wal_mb, 1),
        "share_at_rate": {str(rate): round(mean_s / (arguments.batch / rate), 4) for rate in RATES},
    }


def _write_through(file: BinaryIO, content: bytes) -> None:
    """Write, and wait for the disk."""
    file.write(content)
    os.fsync(file.fileno())


def _file(number: int) -> ImageFile:
    """Return a file as in a camera's library; it is nowhere."""
    path = b"/photos/%04d a place with a long name/IMG_%08d.jpg" % (number // FILES_PER_DIRECTORY, number)
    return ImageFile(path, 100_000 + number * 7919 % 5_000_000, LONG_AGO_NS)


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)


def table(record: Result) -> str:
    """Return the record for people."""
    parts = ", ".join(f"{value:.2f}" for value in record["mean_ms_by_part"])
    shares = ", ".join(f"{share:.2%} at {rate}/s" for rate, share in record["share_at_rate"].items())
    return "\n".join(
        (
            f"{record['batches']} commits of {record['batch']} pictures, {record['machine']}",
            f"ms a commit: median {record['median_ms']:.2f}, mean {record['mean_ms']:.2f},"
            f" p99 {record['p99_ms']:.2f}, worst {record['worst_ms']:.1f}",
            f"mean while the index grew, by fifths: {parts}; write-ahead log {record['wal_mb']} MB",
            f"a bare write and fsync of as much: mean {record['fsync_mean_ms']:.2f} (ratio {record['ratio']:.2f})",
            f"share of the time of embedding: {shares}",
        )
    )


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description="what storing a batch costs")
    parser.add_argument("--count", type=int, default=320_000, help="images the index grows to (default: 320000)")
    parser.add_argument("--batch", type=int, default=32, help="pictures a batch (default: 32)")
    parser.add_argument("--dim", type=int, default=512, help="dimensions of the vectors (default: 512)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:  # /tmp may be no disk
        record = grow(Path(scratch), arguments)
    settings = {"version": __version__, "machine": machine(), "batch": arguments.batch, "dim": arguments.dim}
    record = {**settings, "count": arguments.count, **record}
    print(table(record), file=sys.stderr)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
