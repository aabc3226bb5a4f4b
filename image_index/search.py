"""Query vector to hits: the FAISS index, and an exact scan of what is newer; the catalog has the last word."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from image_index import faiss_index
from image_index.catalog import Catalog
from image_index.records import Hit, Ids, Vectors
from image_index.settings import IndexHome

EXTRA = 6
"""How many more than wanted FAISS is asked for at first: a worse one shows that no wanted one was left out."""

FAISS_ERROR = 1e-5
"""By how much a score of FAISS may differ from ours: both add up D products of float32, in another order."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How many hits, below which directory, and how good at least; `limit` None means all.

    A `min_score` of -1, the least a cosine can be, means all too: float16 vectors may be a little longer than 1.
    """

    limit: int | None = 10
    under: bytes | None = None
    min_score: float = -1.0


def search(catalog: Catalog, home: IndexHome, query: Vectors, options: SearchOptions) -> list[Hit]:
    """Return the pictures nearest to the unit vector `query` (D,), best first, equal scores in the order of their ids.

    Every score is computed from the catalog's own vector, and every id is looked up there: a stale or damaged FAISS
    file can cost a hit, never invent one.
    """
    wanted = catalog.counts().images if options.limit is None else options.limit
    if not wanted:
        return []
    stamp = catalog.stamp()
    index = faiss_index.open_index(home.faiss, stamp.catalog_id)
    if index is None and stamp.count:
        logger.info("No usable index.faiss: searching the catalog itself; the next train rebuilds it")
    last_id = index.stamp.last_id if index else 0
    newer = _best(_scored(catalog.vectors_after(last_id, options.under, present=True), query), wanted)
    among = catalog.ids_under(options.under) if options.under is not None else None
    if among is not None and not len(among):
        return []
    asked = wanted + EXTRA
    while True:
        old_scores, old = index.search(query, asked, among) if index else (np.empty(0), np.empty(0, np.int64))
        hits = _hits(catalog, query, np.concatenate([old, newer]))
        if len(old) < asked or (len(hits) >= wanted and old_scores[-1] < hits[wanted - 1].score - FAISS_ERROR):
            return [hit for hit in hits[:wanted] if options.min_score <= max(hit.score, -1.0)]
        asked *= 4  # missing pictures took places, or what comes next may be as good: ask for more


def _scored(chunks: Iterator[tuple[Ids, Vectors]], query: Vectors) -> Iterator[tuple[Ids, Vectors]]:
    """Yield ids (n,) and their scores (n,)."""
    for ids, vectors in chunks:
        yield ids, _scores(vectors, query)


def _best(scored: Iterator[tuple[Ids, Vectors]], count: int) -> Ids:
    """Return the ids of the `count` best scores, in no order."""
    ids, scores = np.empty(0, np.int64), np.empty(0, np.float32)
    for more_ids, more_scores in scored:
        ids, scores = np.concatenate([ids, more_ids]), np.concatenate([scores, more_scores])
        if len(ids) > count:
            best = np.lexsort((ids, -scores))[:count]
            ids, scores = ids[best], scores[best]
    return ids


def _scores(vectors: Vectors, query: Vectors) -> NDArray[np.float32]:
    """Return the scores (n,) of `vectors` (n, D); unlike `@`, einsum gives equal rows equal scores anywhere."""
    return np.asarray(np.einsum("ij,j->i", vectors, query), np.float32)


def _hits(catalog: Catalog, query: Vectors, candidates: Ids) -> list[Hit]:
    """Return the hits among `candidates` that exist and are not missing, best first."""
    paths = catalog.present_paths(candidates.tolist())
    ids, vectors = catalog.vectors_of(list(paths))
    scores = _scores(vectors, query) if len(ids) else np.empty(0, np.float32)
    order = np.lexsort((ids, -scores))
    return [Hit(rank, float(scores[i]), paths[int(ids[i])], int(ids[i])) for rank, i in enumerate(order, 1)]
