"""What a search in several indexes costs, against one index of the same pictures.

    python benchmarks/many_indexes.py [--count 100000] [--indexes 10] [--dim 512] [--queries 30]

Prints a table on stderr and JSON on stdout. Vectors are random; both sides answer the same queries in turns, open and
warm, and their answers are compared. Files are made in a temporary directory below the current one.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from large_library import LONG_AGO_NS, NOWHERE, random_batch
from measure import machine, timed

from image_index import Filters, Index, Indexes, SearchOptions, __version__
from image_index.catalog.catalog import Catalog
from image_index.records import ImageFile, ModelFacts, Preprocess
from image_index.settings import IndexHome
from image_index.training.freshness import build_if_stale

BATCH = 1000
WANTED = SearchOptions(filters=Filters(missing=True))
"""The pictures are nowhere, and shown all the same."""


def make_index(path: Path, batches: Sequence[int], dim: int) -> IndexHome:
    """Make an index of these batches of pictures, each of which is the same wherever it is stored."""
    home = IndexHome(path)
    home.create()
    with Catalog(home.catalog, write=True) as catalog:
        catalog.set_model(ModelFacts(NOWHERE, "0" * 64, "{}", Preprocess((8, 8), (0, 0, 0), (1, 1, 1)), dim))
        for number in batches:
            # the length of the first path is what the vectors are made from
            names = (b"/photos/%s/%d.jpg" % (b"x" * number, place) for place in range(BATCH))
            catalog.record(random_batch([ImageFile(name, 1, LONG_AGO_NS) for name in names], dim))
        build_if_stale(catalog, home, lambda _: None)
    return home


def measure(where: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return how long the queries take in one index and in several, in ms."""
    batches = range(max(arguments.indexes, arguments.count // BATCH))
    whole = make_index(where / "whole", batches, arguments.dim)
    parts = [
        make_index(where / f"part-{number}", batches[number :: arguments.indexes], arguments.dim)
        for number in range(arguments.indexes)
    ]
    queries = np.random.default_rng(1).normal(size=(arguments.queries, arguments.dim)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    opened_s = [timed(lambda: Indexes.open([home.path for home in parts]).close()) for _ in range(3)]
    one_s, many_s, shared = [], [], 0
    with Index(whole) as one, Indexes.open([home.path for home in parts]) as many:
        for query in (queries[0], *queries):  # the first opens the files, and is not counted
            answers = [{hit.path for hit in searched.search(query, WANTED)} for searched in (one, many)]
            shared += len(answers[0] & answers[1])
            one_s.append(timed(partial(one.search, query, WANTED)))
            many_s.append(timed(partial(many.search, query, WANTED)))
    one_ms, many_ms = (round(1000 * median(seconds[1:]), 3) for seconds in (one_s, many_s))
    return {
        "pictures": len(batches) * BATCH,
        "indexes": arguments.indexes,
        "open_ms": round(1000 * median(opened_s), 3),
        "one_ms": one_ms,
        "many_ms": many_ms,
        "ratio": round(many_ms / one_ms, 3),
        "shared_hits": round(shared / (len(queries) + 1) / 10, 4),
    }


def table(found: dict[str, Any]) -> str:
    """Return the figures for people."""
    return (
        f"{found['pictures']} pictures: one index {found['one_ms']:.1f} ms a search, {found['indexes']} indexes"
        f" {found['many_ms']:.1f} ms, ratio {found['ratio']:.2f}; {found['shared_hits']:.1%} of the hits are the same;"
        f" opening {found['indexes']} takes {found['open_ms']:.1f} ms\n"
    )


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("count", 100_000), ("indexes", 10), ("dim", 512), ("queries", 30)):
        parser.add_argument(f"--{name}", type=int, default=value)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as where:
        found = measure(Path(where).absolute(), arguments)
    sys.stderr.write(table(found))
    print(json.dumps({"imgidx": __version__, **found, "machine": machine()}))


if __name__ == "__main__":
    main()
