"""One step of `search.py` in a process of its own; prints what it did as JSON.

python benchmarks/run_search.py write|build|add|query HOME [COUNT] [--dim D] [--kind clustered|random]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from filtered import time_searches
from measure import timed
from synthetic_rows import COLUMNS, MARKS, pictures
from vectors import KINDS, Array, near_queries, text_queries

from image_index.catalog.catalog import Catalog
from image_index.records import EmbeddedBatch, EmbeddedImage, ImageFile, ModelFacts, PictureFacts, Preprocess
from image_index.search.ranking import SearchOptions, open_files, search
from image_index.settings import IndexHome
from image_index.training.freshness import build_if_stale

TOP = 10
QUERIES = 100
FILTERED_QUERIES = 5
"""How many queries of each kind every filter is timed with."""

BRUTE_FORCE_LIMIT = 1_000_000
"""Up to as many vectors numpy's brute force is timed: its matrix takes 2 GB at a million of 512 dimensions."""

PICTURE = "query.jpg"
"""A file beside the index home that the catalog knows: the query of `imgidx search --image`, which needs no model."""


def write(home: IndexHome, arguments: argparse.Namespace) -> dict[str, Any]:
    """Store `count` pictures with synthetic vectors, past the catalog's own methods, which would take a minute more."""
    home.create()
    vectors = KINDS[arguments.kind](arguments.count, arguments.dim)
    with Catalog(home.catalog, write=True) as catalog:
        if catalog.read_model() is None:
            size = (224, 224)
            catalog.set_model(
                ModelFacts("synthetic", "0" * 64, "{}", Preprocess(size, (0, 0, 0), (1, 1, 1)), arguments.dim)
            )
        first = start_id = catalog.stamp().last_id + 1
        start = time.perf_counter()
        for piece in vectors:
            with catalog.transaction() as connection:
                rows = pictures(first, len(piece))
                if first == start_id:
                    rows = chain([(first, *_query_file(home), *next(rows)[5:])], rows)
                connection.executemany(f"INSERT INTO images ({COLUMNS}) VALUES ({MARKS})", rows)
                blobs = piece.astype("<f2")
                connection.executemany(
                    "INSERT INTO vectors VALUES (?, ?)",
                    ((first + place, blob.tobytes()) for place, blob in enumerate(blobs)),
                )
                connection.execute("UPDATE meta SET value = value + ? WHERE key = 'generation'", (len(piece),))
            first += len(piece)
    return {"seconds": time.perf_counter() - start}


def _query_file(home: IndexHome) -> tuple[bytes, int, int, bytes]:
    """Make the one picture that is a file, the query of whole processes; return its path, size, time and digest."""
    picture = home.path.resolve().parent / PICTURE
    picture.write_bytes(b"never opened")
    status = picture.stat()
    return bytes(picture), status.st_size, status.st_mtime_ns, sha256(b"").digest()


def build(home: IndexHome, _: argparse.Namespace) -> dict[str, Any]:
    """Bring the FAISS files up to date, as the end of a train does."""
    with Catalog(home.catalog, write=True) as catalog:
        return {"seconds": timed(lambda: build_if_stale(catalog, home, lambda _: None))}


def add(home: IndexHome, arguments: argparse.Namespace) -> dict[str, Any]:
    """Add `count` pictures as a train does that embeds them: rows in batches of 32, then the FAISS files."""
    with Catalog(home.catalog, write=True) as catalog:
        first = catalog.stamp().last_id + 1
        vectors = np.concatenate(list(KINDS[arguments.kind](arguments.count, arguments.dim, seed=first)))
        files = [ImageFile(b"/new/%08d.jpg" % (first + place), 1, 10**18) for place in range(arguments.count)]
        images = [
            EmbeddedImage(file, sha256(file.path).digest(), 2 * 10**18, PictureFacts(640, 480, "JPEG"))
            for file in files
        ]
        start = time.perf_counter()
        for place in range(0, len(images), 32):
            catalog.record(EmbeddedBatch(tuple(images[place : place + 32]), vectors[place : place + 32]))
        stored = time.perf_counter()
        build_if_stale(catalog, home, lambda _: None)
        return {"store_seconds": stored - start, "build_seconds": time.perf_counter() - stored}


def query(home: IndexHome, _: argparse.Namespace) -> dict[str, Any]:
    """Search in open files, one query after the other; compare with an exact search of the catalog."""
    with Catalog(home.catalog) as catalog:
        files = open_files(catalog, home)
        count = catalog.stamp().count
        sample = np.concatenate(list(islice(_vectors(catalog), 4)))
        index = files.indexes[0]
        record: dict[str, Any] = {
            "nlist": index.nlist,
            "nprobe": index.nprobe,
            "near_nprobe": index.contents.near_nprobe,
        }
        kinds = {"near": near_queries(sample, QUERIES), "text": text_queries(sample, QUERIES)}
        exact = _exact(catalog, np.concatenate(list(kinds.values())))
        for place, (kind, queries) in enumerate(kinds.items()):
            seconds, recalls = [], []
            for vector, best in zip(queries, exact[place * QUERIES :], strict=False):
                start = time.perf_counter()
                hits = search(files, catalog, vector, SearchOptions(TOP))
                seconds.append(time.perf_counter() - start)
                recalls.append(len({hit.image.id for hit in hits} & set(best.tolist())) / min(TOP, count))
            record[kind] = {
                "warm_p50_ms": round(1e3 * float(np.quantile(seconds, 0.5)), 2),
                "warm_p95_ms": round(1e3 * float(np.quantile(seconds, 0.95)), 2),
                "recall_at_10": round(float(np.mean(recalls)), 4),
            }
        mixed = np.concatenate([queries[:FILTERED_QUERIES] for queries in kinds.values()])
        record["searches"] = time_searches(files, catalog, mixed)
        if count <= BRUTE_FORCE_LIMIT:
            record["brute_force_ms"] = round(_brute_force_ms(catalog, count, kinds["near"][:20]), 2)
    return record


def _vectors(catalog: Catalog) -> Iterator[Array]:
    """Yield all vectors of the catalog, in pieces."""
    return (vectors for _, vectors in catalog.vectors_after(0))


def _exact(catalog: Catalog, queries: Array) -> np.ndarray:
    """Return the ids (Q, 10) of the best pictures by numpy, over all vectors of the catalog."""
    scores, ids = np.full((len(queries), TOP), -np.inf, np.float32), np.full((len(queries), TOP), -1)
    for more_ids, vectors in catalog.vectors_after(0):
        all_scores = np.concatenate([scores, queries @ vectors.T], axis=1)
        all_ids = np.concatenate([ids, np.broadcast_to(more_ids, (len(queries), len(more_ids)))], axis=1)
        best = np.argpartition(-all_scores, TOP - 1, axis=1)[:, :TOP]
        scores, ids = np.take_along_axis(all_scores, best, 1), np.take_along_axis(all_ids, best, 1)
    return ids


def _brute_force_ms(catalog: Catalog, count: int, queries: Array) -> float:
    """Return the milliseconds of one exact search by numpy, all vectors in memory as float32."""
    matrix = np.empty((count, queries.shape[1]), np.float32)
    filled = 0
    for piece in _vectors(catalog):
        matrix[filled : filled + len(piece)] = piece
        filled += len(piece)

    def find(vector: Array) -> object:
        return np.argpartition(-(matrix @ vector), min(TOP, count - 1))

    return 1e3 * float(np.median([timed(partial(find, vector)) for vector in queries]))


def main() -> None:
    """Do one step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=["write", "build", "add", "query"])
    parser.add_argument("home", type=Path)
    parser.add_argument("count", type=int, nargs="?", default=0)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--kind", choices=list(KINDS), default="clustered")
    arguments = parser.parse_args()
    step = {"write": write, "build": build, "add": add, "query": query}[arguments.step]
    json.dump(step(IndexHome(arguments.home.absolute()), arguments), sys.stdout)


if __name__ == "__main__":
    main()
