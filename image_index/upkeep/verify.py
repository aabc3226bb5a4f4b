"""Check everything that an index holds, and rebuild what is derived."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from image_index.catalog.catalog import Catalog
from image_index.catalog.lock import exclusive_lock
from image_index.catalog.query_memory import QueryMemory
from image_index.errors import ModelUnavailable, UsageError
from image_index.files.atomic import remove
from image_index.models import tower_files
from image_index.models.names import digest_weights, locate_weights, parse_model
from image_index.records import DerivedState, Stamp, Vectors
from image_index.settings import IndexHome
from image_index.training.freshness import rebuild
from image_index.upkeep.health import Problem
from image_index.vectors.derived_file import FLAT_LIMIT, state
from image_index.vectors.moments import read_moments
from image_index.vectors.open_index import FaissIndex, open_index
from image_index.vectors.vector_file import VectorFile, open_vectors, vectors_state

NORM_TOLERANCE = 0.01
"""How far from one the length of a stored vector may be: float16 rounding makes it 0.0005 at most."""

SAMPLE = 16
"""How many stored vectors are searched for, in FAISS and exactly."""

MISSES_OF_LISTS = 0.05
"""What share of them inverted lists, tuned to find 0.99, may miss."""

FROM_BACKUP = "restore the index from a backup"
REBUILD = "imgidx verify --repair rebuilds it"


def verify(home: IndexHome) -> Iterator[Problem]:
    """Yield what is wrong with the index: SQLite's own integrity, words, vectors, model, derived files, towers.

    Raises `StorageError` where the catalog is too damaged to be read, `IndexNotFound` where there is none.
    """
    with Catalog(home.catalog) as catalog:
        damage = [Problem("catalog", problem, FROM_BACKUP) for problem in catalog.integrity_problems()]
        yield from damage
        if damage:  # whatever else is asked of it may be answered wrongly
            return
        if not catalog.words_are_sound():
            yield Problem("words of the paths", "do not say what the paths say", REBUILD, derived=True)
        bad_vectors = list(_check_vectors(catalog))
        yield from bad_vectors
        yield from _check_model(catalog, home)
        yield from _check_derived(catalog, home, compare=not bad_vectors)
        yield from _check_towers(catalog, home)


def repair(home: IndexHome) -> None:
    """Rebuild the derived files from the catalog; remove damaged towers, which the next train exports again.

    The vectors of texts that the catalog remembers are forgotten with it: bit rot may have made it give wrong ones.
    """
    with Catalog(home.catalog), exclusive_lock(home.lock), Catalog(home.catalog, write=True) as catalog:
        if list(_check_towers(catalog, home)):  # first: the texts that inverted lists are tuned with come from it
            remove(home.towers)
            QueryMemory(catalog).clear()
        if not catalog.words_are_sound():
            catalog.rebuild_words()
        rebuild(catalog, home)


def _check_vectors(catalog: Catalog) -> Iterator[Problem]:
    """Check the shape and the length of every vector."""
    stamp = catalog.stamp()
    wrong_size = catalog.count_odd_vectors(stamp.dim)
    if wrong_size:
        yield Problem("vectors", f"{wrong_size} do not have {stamp.dim} dimensions", FROM_BACKUP)
        return
    lengths = [np.linalg.norm(vectors, axis=1) for _, vectors in catalog.vectors_after(0)]
    wrong = sum(int((~(np.abs(length - 1) < NORM_TOLERANCE)).sum()) for length in lengths)  # ~ also catches NaN
    if wrong:
        yield Problem("vectors", f"{wrong} are not of length one", FROM_BACKUP)


def _check_model(catalog: Catalog, home: IndexHome) -> Iterator[Problem]:
    """Check that the model's weights, where they are at hand, are still those of the index."""
    model = catalog.read_model()
    if model is None:
        return
    try:
        weights = locate_weights(parse_model(model.name))
    except (ModelUnavailable, UsageError) as error:  # its directory is gone, or open_clip no longer has it
        yield Problem.of("model", error)
        return
    rotten = tower_files.find_rotten_weights(home.towers)  # those of the hub's cache are believed by their name
    if weights is not None and digest_weights(weights) != model.weights_sha256:
        rotten = str(weights)
    if rotten:
        problem = f"the weights of {model.name} at {rotten} are no longer those of this index"
        yield Problem("model", problem, "restore them, or train another index with --index DIR")


def _check_derived(catalog: Catalog, home: IndexHome, *, compare: bool) -> Iterator[Problem]:
    """Check the derived files byte by byte; `compare` what they hold and find with the catalog."""
    now = catalog.stamp()
    if not now.count and not home.vector_table.exists():
        return
    found, table = vectors_state(home, now.catalog_id)
    vectors = open_vectors(home, now.catalog_id) if table else None
    if vectors is None:
        fault = "is missing" if found is DerivedState.ABSENT else "is damaged, or of another index"
        yield Problem("vectors.f16", fault, REBUILD, derived=True)
        return
    wrong = _count_wrong(catalog, vectors) if compare else 0
    if wrong:
        yield Problem("vectors.f16", f"{wrong} of its vectors are not the catalog's", REBUILD, derived=True)
    if read_moments(home.moments, now.catalog_id, vectors.stamp.last_id // 2) is None:
        yield Problem("moments.f32", "is missing or damaged", REBUILD, derived=True)
    yield from _check_lists(catalog, home, now, compare=compare)


def _count_wrong(catalog: Catalog, vectors: VectorFile) -> int:
    """Return how many of the catalog's vectors the file should hold and does not, or not as they are."""
    wrong = 0
    for ids, true in catalog.vectors_after(0):
        found, there = vectors.gather(ids)
        same = np.flatnonzero((there == true[np.isin(ids, found)]).all(axis=1))
        wrong += int((ids <= vectors.stamp.last_id).sum()) - len(same)
    return wrong


def _check_lists(catalog: Catalog, home: IndexHome, now: Stamp, *, compare: bool) -> Iterator[Problem]:
    """Check the inverted lists of a large library, and `compare` what they find with an exact search."""
    if not home.faiss.exists():
        if now.count > FLAT_LIMIT:
            yield Problem("index.faiss", "is missing", REBUILD, derived=True)
        return
    index = open_index(home.faiss, now.catalog_id)
    if index is None or state(home.faiss, now.catalog_id)[1] is None:
        yield Problem("index.faiss", "is damaged, or of another index", REBUILD, derived=True)
        return
    missed = _missed(catalog, index, now) if compare else 0
    if missed > MISSES_OF_LISTS * SAMPLE * 10:
        yield Problem("index.faiss", f"misses {missed} of {SAMPLE * 10} sampled neighbours", REBUILD, derived=True)


def _check_towers(catalog: Catalog, home: IndexHome) -> Iterator[Problem]:
    """Check the exported towers byte by byte; that there are none is no fault, for a child can do their work."""
    model = catalog.read_model()
    if model and tower_files.state(home.towers, model.fingerprint)[0] is DerivedState.DAMAGED:
        yield Problem("towers", tower_files.fault(home.towers), tower_files.EXPORTED_AGAIN, derived=True)


def _missed(catalog: Catalog, index: FaissIndex, now: Stamp) -> int:
    """Return how many of the exact top scores of sampled vectors the lists do not reach."""
    step = max(1, now.last_id // SAMPLE)
    _, queries = catalog.vectors_of(range(1, index.stamp.last_id + 1, step))
    count, error = min(10, index.stamp.count), 1e-3 + index.contents.error
    exact = [np.sort(scores)[::-1][:count] for scores in _exact_scores(catalog, queries, index.stamp.last_id)]
    return sum(
        int((best > index.search(query, count)[0][: len(best)] + error).sum())
        for query, best in zip(queries, exact, strict=True)
    )


def _exact_scores(catalog: Catalog, queries: Vectors, last_id: int) -> Vectors:
    """Return the scores (Q, N) of the catalog's vectors up to `last_id`."""
    parts = [queries @ vectors[ids <= last_id].T for ids, vectors in catalog.vectors_after(0)]
    return np.concatenate(parts, axis=1) if parts else np.zeros((len(queries), 0), np.float32)
