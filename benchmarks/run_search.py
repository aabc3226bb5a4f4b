"""One step of `search.py` in a process of its own; prints what it did as JSON.

python benchmarks/run_search.py STEP DIRECTORY [--count N] [--dim D] [--data clustered|random|real] [--newer N]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from filtered import time_searches
from measure import timed
from numpy.typing import NDArray
from synthetic_index import SyntheticIndex
from vectors import KINDS, Array, jittered, near_queries, text_queries

from image_index import Index
from image_index.catalog.catalog import Catalog
from image_index.records import EmbeddedBatch, EmbeddedImage, ImageFile, PictureFacts
from image_index.search.ranking import OpenFiles, SearchOptions, open_files, search
from image_index.training.freshness import build_if_stale

TOP = 10
QUERIES, WARM_UP = 120, 20
"""Queries of each kind. The first read what is not in memory yet, and are not counted."""

FILTERED_QUERIES = 5
"""How many queries of each kind every filter is timed with."""

IN_MEMORY = 1_000_000
"""So many vectors numpy's brute force gets in memory as float32, 2 GB at 512 dimensions; of more it reads the file."""

BRUTE_FORCE_QUERIES = 10
BLOCK = 8192
SAMPLE = 4 * BLOCK
"""The first vectors, near which queries are."""

BATCH = 32
ADDED = 100

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Questions:
    """Queries (Q, D) of one kind, and the ids (Q, 10) of the pictures that an exact search finds."""

    queries: Array
    best: NDArray[np.int64]


def make(index: SyntheticIndex, arguments: argparse.Namespace) -> Result:
    """Make the vectors, unless they are there, queries with their exact answers, and the catalog."""
    texts: Array | None = None
    if arguments.data == "real":
        photos, texts = _real(index)
        pieces = jittered(photos, arguments.count)
    else:
        pieces = KINDS[arguments.data](arguments.count, index.dim)
    if not index.vectors_file.exists():
        index.write_vectors(pieces)
    if not _questions_file(index).exists():
        _ask(index, texts)
    return {"seconds": timed(index.fill)}


def _ask(index: SyntheticIndex, texts: Array | None) -> None:
    """Store queries with their exact answers."""
    sample = index.vectors()[:SAMPLE].astype(np.float32)
    near, texts = near_queries(sample, QUERIES), text_queries(sample, QUERIES) if texts is None else texts
    best = _exact(index.vectors(), np.concatenate([near, texts])) + 1  # images are counted from 1
    np.savez(_questions_file(index), near=near, near_best=best[: len(near)], text=texts, text_best=best[len(near) :])


def _real(index: SyntheticIndex) -> tuple[Array, Array]:
    """Return the vectors of the photos that the index has been trained with, and texts that name them by its model.

    What names a photo is its directory, as a category, if there are several, else its file.
    """
    with Index(index.home) as trained:
        images, vectors = trained.vectors()
        files = [Path(image.file) for image in images]
        names = {file.parent.name for file in files}
        names = names if len(names) > 1 else {file.stem for file in files}
        words = sorted(name.replace("_", " ") for name in names)
        texts = [trained.encode(text) for word in words for text in (word, f"a photo of a {word}", f"{word} at night")]
    return vectors, np.stack(texts)


def _questions_file(index: SyntheticIndex) -> Path:
    return index.path / "questions.npz"


def _questions(index: SyntheticIndex) -> dict[str, Questions]:
    """Return the questions of each kind, by its name."""
    found = np.load(_questions_file(index))
    return {kind: Questions(found[kind], found[f"{kind}_best"]) for kind in ("near", "text")}


def _exact(vectors: NDArray[np.float16], queries: Array) -> NDArray[np.int64]:
    """Return the rows (Q, 10) of the best of all vectors by numpy."""
    scores, rows = np.full((len(queries), TOP), -np.inf, np.float32), np.full((len(queries), TOP), -1)
    for start in range(0, len(vectors), BLOCK):
        of_block = queries @ vectors[start : start + BLOCK].astype(np.float32).T
        near = np.flatnonzero((of_block > scores.min(axis=1, keepdims=True)).any(axis=0))
        more = np.broadcast_to(start + near, (len(queries), len(near)))
        all_scores, all_rows = np.hstack([scores, of_block[:, near]]), np.hstack([rows, more])
        best = np.argpartition(-all_scores, TOP - 1, axis=1)[:, :TOP]
        scores, rows = np.take_along_axis(all_scores, best, 1), np.take_along_axis(all_rows, best, 1)
    return rows


def reset(index: SyntheticIndex, arguments: argparse.Namespace) -> Result:
    """Leave nothing in the index but the catalog as it was made."""
    return {"catalog_bytes": index.reset(arguments.count)}


def read(index: SyntheticIndex, _: argparse.Namespace) -> Result:
    """Read every vector from the catalog once: the reference of a build."""
    with Catalog(index.home.catalog) as catalog:
        return {"seconds": timed(lambda: deque(catalog.vectors_after(0), maxlen=0))}


def build(index: SyntheticIndex, _: argparse.Namespace) -> Result:
    """Make the derived files, as the end of a train does."""
    with Catalog(index.home.catalog, write=True) as catalog:
        return {"seconds": timed(lambda: build_if_stale(catalog, index.home, lambda _: None))}


def warm(index: SyntheticIndex, _: argparse.Namespace) -> Result:
    """Search in open files, one query after the other; compare with numpy's answers and with its time."""
    record: Result = {}
    with Catalog(index.home.catalog) as catalog:
        files = open_files(catalog, index.home)
        for kind, questions in _questions(index).items():
            times, of_processor, found = _searches(files, catalog, questions.queries)
            hits = [
                len(set(ids) & set(best.tolist())) for ids, best in zip(found, questions.best[WARM_UP:], strict=True)
            ]
            p50, p95 = (1e3 * float(np.quantile(times, share)) for share in (0.5, 0.95))
            recall = float(np.mean(hits)) / min(TOP, len(index.vectors()))
            record[kind] = {"p50_ms": p50, "p95_ms": p95, "recall": recall, "processor_ms": 1e3 * median(of_processor)}
    return record | _brute_force(index)


def _searches(files: OpenFiles, catalog: Catalog, queries: Array) -> tuple[list[float], list[float], list[list[int]]]:
    """Return the seconds, those of the processor, and the ids found, of each query but the first ones."""
    times, of_processor, found = [], [], []
    for query in queries:
        start, start_of_processor = time.perf_counter(), time.process_time()
        hits = search(files, catalog, query, SearchOptions(TOP))
        times.append(time.perf_counter() - start)
        of_processor.append(time.process_time() - start_of_processor)
        found.append([hit.image.id for hit in hits])
    return times[WARM_UP:], of_processor[WARM_UP:], found[WARM_UP:]


def _brute_force(index: SyntheticIndex) -> Result:
    """Return the ms of one exact search by numpy: of all vectors in memory, or of the file where they are too many."""
    vectors, queries = index.vectors(), _questions(index)["near"].queries[:BRUTE_FORCE_QUERIES]
    if len(vectors) > IN_MEMORY:
        return _brute_force_of_file(index)
    matrix = vectors.astype(np.float32)

    def find(query: Array) -> object:
        return np.argpartition(-(matrix @ query), TOP)

    start_s = time.process_time()
    seconds = [timed(partial(find, one)) for one in queries]
    processor_s = (time.process_time() - start_s) / len(queries)
    return _reference("float32 in memory", median(seconds), processor_s)


def _reference(what: str, seconds: float, processor_s: float) -> Result:
    return {
        "reference": f"numpy, {what}",
        "reference_ms": 1e3 * seconds,
        "reference_processor_ms": 1e3 * processor_s,
    }


def _brute_force_of_file(index: SyntheticIndex) -> Result:
    """Return the ms of one exact search by numpy in the file of float16 vectors: of two, unless that takes long."""
    vectors, query = index.vectors(), _questions(index)["near"].queries[0]

    def find() -> object:
        starts = range(0, len(vectors), BLOCK)
        scores = [vectors[start : start + BLOCK].astype(np.float32) @ query for start in starts]
        return np.argpartition(-np.concatenate(scores), TOP)

    repeat, start_s = 2 if len(vectors) <= IN_MEMORY else 1, time.process_time()
    seconds = min(timed(find) for _ in range(repeat))
    return _reference("the float16 file", seconds, (time.process_time() - start_s) / repeat)


def filters(index: SyntheticIndex, _: argparse.Namespace) -> Result:
    """Time searches with filters, exact ones and those of all hits."""
    mixed = np.concatenate([one.queries[:FILTERED_QUERIES] for one in _questions(index).values()])
    with Catalog(index.home.catalog) as catalog:
        found = time_searches(open_files(catalog, index.home), catalog, mixed)
    return {"searches": found, **_brute_force_of_file(index)}


def grow(index: SyntheticIndex, arguments: argparse.Namespace) -> Result:
    """Add pictures until `newer` are newer than the first build; return the ms of a search then, by kind."""
    with Catalog(index.home.catalog, write=True) as catalog:
        missing = len(index.vectors()) + arguments.newer - catalog.stamp().last_id
        if missing > 0:
            _store(catalog, _new_batches(index, catalog.stamp().last_id + 1, missing))
            build_if_stale(catalog, index.home, lambda _: None)
        files = open_files(catalog, index.home)
        return {
            kind: 1e3 * median(_searches(files, catalog, questions.queries)[0])
            for kind, questions in _questions(index).items()
        }


def add(index: SyntheticIndex, _: argparse.Namespace) -> Result:
    """Add a hundred pictures as a train does that has embedded them: rows in batches, then the derived files."""
    with Catalog(index.home.catalog, write=True) as catalog:
        batches = list(_new_batches(index, catalog.stamp().last_id + 1, ADDED))
        store = timed(lambda: _store(catalog, batches))
        return {
            "store_seconds": store,
            "build_seconds": timed(lambda: build_if_stale(catalog, index.home, lambda _: None)),
        }


def _new_batches(index: SyntheticIndex, first: int, count: int) -> Iterator[EmbeddedBatch]:
    """Yield batches of new pictures, which are like some of those that are there."""
    vectors = near_queries(index.vectors()[:SAMPLE].astype(np.float32), count, seed=first)
    for start in range(0, count, BATCH):
        rows = vectors[start : start + BATCH]
        files = [ImageFile(b"/new/%08d.jpg" % (first + start + place), 1, 10**18) for place in range(len(rows))]
        facts = PictureFacts(640, 480, "JPEG")
        yield EmbeddedBatch(
            tuple(EmbeddedImage(file, sha256(file.path).digest(), 2 * 10**18, facts) for file in files), rows
        )


def _store(catalog: Catalog, batches: Any) -> None:
    for batch in batches:
        catalog.record(batch)


STEPS = {step.__name__: step for step in (make, reset, read, build, warm, filters, grow, add)}


def main() -> None:
    """Do one step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--data", choices=[*KINDS, "real"], default="clustered")
    parser.add_argument("--newer", type=int, default=0)
    arguments = parser.parse_args()
    index = SyntheticIndex(arguments.directory.absolute(), arguments.dim)
    json.dump(STEPS[arguments.step](index, arguments), sys.stdout)


if __name__ == "__main__":
    main()
