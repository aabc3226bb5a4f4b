"""Query vector to hits: the FAISS files, and an exact scan of what is newer; the catalog has the last word."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from image_index.catalog import Catalog
from image_index.faiss_index import FaissIndex, open_index
from image_index.records import Hit, Ids, Vectors
from image_index.settings import IndexHome

EXTRA = 6
"""How many more than wanted FAISS is asked for at first: a worse one shows that no wanted one was left out."""

FAISS_ERROR = 1e-5
"""By how much a score of FAISS may differ from ours: both add up D products of float32, in another order."""

FEW = 10_000
"""Up to as many pictures `under` a directory are compared with the query one by one: it takes 0.05 s."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How many hits, below which directory, and how good at least; `limit` None means all.

    A `min_score` of -1, the least a cosine can be, means all too: float16 vectors may be a little longer than 1.
    `exact` compares the query with every vector of the catalog.
    """

    limit: int | None = 10
    under: bytes | None = None
    min_score: float = -1.0
    exact: bool = False


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """The FAISS files of an index, open: each goes on where the one before ends, the last at `last_id`."""

    indexes: tuple[FaissIndex, ...] = ()
    last_id: int = 0


def open_files(catalog: Catalog, home: IndexHome) -> OpenFiles:
    """Open the FAISS files of `home`, as far as they are whole and of this catalog."""
    catalog_id = catalog.catalog_id
    first = open_index(home.faiss, catalog_id)
    if first is None:
        if catalog.holds_pictures():
            logger.info("No usable index.faiss: searching the catalog itself; the next train rebuilds it")
        return OpenFiles()
    tail = open_index(home.tail, catalog_id) if home.tail.exists() else None
    if tail is None or tail.contents.after != first.stamp.last_id:
        return OpenFiles((first,), first.stamp.last_id)
    return OpenFiles((first, tail), tail.stamp.last_id)


def search(catalog: Catalog, home: IndexHome, query: Vectors, options: SearchOptions) -> list[Hit]:
    """Return the pictures nearest to the unit vector `query` (D,), best first, equal scores in the order of their ids.

    Every score is computed from the catalog's own vector, and every id is looked up there: a stale or damaged FAISS
    file can cost a hit, never invent one.
    """
    return search_in(open_files(catalog, home) if not options.exact else OpenFiles(), catalog, query, options)


def search_in(files: OpenFiles, catalog: Catalog, query: Vectors, options: SearchOptions) -> list[Hit]:
    """Do what `search` does, in files that are open already."""
    wanted = catalog.counts().images if options.limit is None else options.limit
    if not wanted:
        return []
    among = None
    if options.under is not None and not options.exact:
        if not catalog.has_more_under(options.under, FEW):
            few = _best(_scored(catalog.vectors_under(options.under), query), wanted)
            return _good(_hits(catalog, query, few), wanted, options)
        among = catalog.ids_under(options.under)
    newer = _best(_scored(catalog.vectors_after(files.last_id, options.under, present=True), query), wanted)
    asked = wanted + EXTRA
    while True:
        found = [index.search(query, asked, among) for index in files.indexes]
        hits = _hits(catalog, query, np.concatenate([newer, *(ids for _, ids in found)]))
        left_out = [
            scores[-1] + index.contents.error + FAISS_ERROR
            for index, (scores, _) in zip(files.indexes, found, strict=True)
            if len(scores) == asked
        ]
        if not left_out or (len(hits) >= wanted and max(left_out) < hits[wanted - 1].score):
            return _good(hits, wanted, options)
        asked *= 4  # missing pictures took places, or what comes next may be as good: ask for more


def _good(hits: list[Hit], wanted: int, options: SearchOptions) -> list[Hit]:
    """Return the first `wanted` hits that score well enough."""
    return [hit for hit in hits[:wanted] if options.min_score <= max(hit.score, -1.0)]


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
