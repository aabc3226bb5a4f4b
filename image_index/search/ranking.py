"""Query vector to hits: the FAISS files, and an exact scan of what is newer; the catalog has the last word."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from image_index.catalog.filters import Filters
from image_index.catalog.reader import CatalogReader
from image_index.records import Hit, Ids, ImageFacts, Vectors
from image_index.settings import IndexHome
from image_index.vectors.moments import Moments, Spread, measure, read_moments
from image_index.vectors.open_index import FaissIndex, open_index

EXTRA = 6
"""How many more than wanted FAISS is asked for at first: a worse one shows that no wanted one was left out."""

FAISS_ERROR = 1e-5
"""By how much a score of FAISS may differ from ours: both add up D products of float32, in another order."""

FEW = 10_000
"""Up to as many pictures that the filters leave are compared with the query one by one: it takes 0.05 s."""

logger = logging.getLogger(__name__)


class Sort(StrEnum):
    """In which order hits come: the best, the newest, or the first in the alphabet first."""

    SCORE = "score"
    DATE = "date"
    PATH = "path"


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How many hits, of which pictures, how good at least, and in which order; `limit` None means all.

    A `min_score` of -1, the least a cosine can be, means all too: float16 vectors may be a little longer than 1.
    `exact` compares the query with every vector of the catalog, as a search without a limit does. The images `without`
    are never found: a query's own. `on_disk` leaves out the files that are gone although no training has noticed yet.
    """

    limit: int | None = 10
    min_score: float = -1.0
    min_sigma: float = float("-inf")
    exact: bool = False
    sort: Sort = Sort.SCORE
    filters: Filters = field(default_factory=Filters)
    without: frozenset[int] = frozenset()
    on_disk: bool = False


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """The derived files of an index, open: each of `indexes` goes on where the one before ends, the last at `last_id`.

    Without `moments` no hit has a sigma.
    """

    indexes: tuple[FaissIndex, ...] = ()
    last_id: int = 0
    moments: Moments | None = None


_Scored = tuple[float, ImageFacts]

_ORDER: dict[Sort, Callable[[Hit], tuple[float, bytes]]] = {
    Sort.SCORE: lambda hit: (hit.rank, b""),
    Sort.DATE: lambda hit: (-hit.image.date_s, hit.path),
    Sort.PATH: lambda hit: (0, hit.path),
}


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a search comes down to: `among` are the ids that the filters leave, None for all."""

    query: Vectors
    among: Ids | None
    least: float
    missing: bool


def open_files(catalog: CatalogReader, home: IndexHome) -> OpenFiles:
    """Open the derived files of `home`, as far as they are whole and of this catalog."""
    catalog_id, moments = catalog.read_catalog_id(), open_moments(catalog, home)
    first = open_index(home.faiss, catalog_id)
    if first is None:
        if not home.faiss.exists() and catalog.holds_pictures():  # of a damaged one `open_index` warns
            logger.info("There is no index.faiss: searching the catalog itself; the next train builds it")
        return OpenFiles(moments=moments)
    tail = open_index(home.tail, catalog_id) if home.tail.exists() else None
    if tail is None or tail.contents.after != first.stamp.last_id:
        return OpenFiles((first,), first.stamp.last_id, moments)
    return OpenFiles((first, tail), tail.stamp.last_id, moments)


def open_moments(catalog: CatalogReader, home: IndexHome) -> Moments | None:
    """Return the moments of the vectors: as stored, or measured now where a file is missing or far behind."""
    last_id = catalog.read_last_id()
    found = read_moments(home.moments, catalog.read_catalog_id(), last_id // 2)
    if found is None and last_id:
        ids, vectors = catalog.vectors_of(np.arange(1, last_id + 1, max(1, last_id // FEW)))
        found = measure(iter([(ids, vectors)]), len(ids), vectors.shape[1]) if len(ids) else None
    return found


def search(catalog: CatalogReader, home: IndexHome, query: Vectors, options: SearchOptions) -> list[Hit]:
    """Return the pictures nearest to the unit vector `query` (D,), best first, equal scores in the order of their ids.

    Every score is computed from the catalog's own vector, and every id is looked up there: a stale or damaged FAISS
    file can cost a hit, never invent one. Pictures whose file is gone are left out, also where no training has noticed.
    """
    return search_in(open_files(catalog, home), catalog, query, options)


def search_in(files: OpenFiles, catalog: CatalogReader, query: Vectors, options: SearchOptions) -> list[Hit]:
    """Do what `search` does, in files that are open already."""
    spread = files.moments.spread(query) if files.moments else Spread(0.0, 0.0)
    least = max(options.min_score, spread.score(options.min_sigma))
    filters, limit = options.filters, options.limit
    if limit == 0:
        return []
    among = catalog.ids_matching(filters) if filters.chooses else None
    wish = _Wish(query, among, least, filters.missing)
    asked = None if limit is None else limit + len(options.without)
    while True:
        scored = _nearest(files, catalog, wish, asked, exact=options.exact)
        found = [(score, image) for score, image in scored if _is_wanted(image, options)][:limit]
        if asked is None or limit is None or len(found) == limit or len(scored) < asked:
            hits = [Hit(rank, score, spread.sigma(score), image) for rank, (score, image) in enumerate(found, 1)]
            return sorted(hits, key=_ORDER[options.sort])
        asked = 4 * asked  # files are gone that no training has noticed


def _is_wanted(image: ImageFacts, options: SearchOptions) -> bool:
    """Tell whether a picture that was found is to be shown."""
    return image.id not in options.without and (not options.on_disk or os.path.lexists(image.path))


def _nearest(files: OpenFiles, catalog: CatalogReader, wish: _Wish, count: int | None, *, exact: bool) -> list[_Scored]:
    """Return the `count` best pictures, or all, that score well enough."""
    if wish.among is not None and len(wish.among) <= FEW:
        chunks = iter([catalog.vectors_of(wish.among)])
    elif exact or count is None:
        chunks = catalog.vectors_after(0, present=not wish.missing)
    else:
        return _by_faiss(files, catalog, wish, count)
    return _pictures(catalog, wish, _best(_scored(chunks, wish), count))[:count]


def _by_faiss(files: OpenFiles, catalog: CatalogReader, wish: _Wish, count: int) -> list[_Scored]:
    """Return the `count` best pictures that score well enough, of those in the files and those that are newer."""
    chunks = catalog.vectors_after(files.last_id, present=not wish.missing)
    newer = _best(_scored(chunks, wish), count)
    asked = count + EXTRA
    while True:
        found = [index.search(wish.query, asked, wish.among) for index in files.indexes]
        pictures = _pictures(catalog, wish, np.concatenate([newer, *(ids for _, ids in found)]))
        left_out = [
            scores[-1] + index.contents.error + FAISS_ERROR
            for index, (scores, _) in zip(files.indexes, found, strict=True)
            if len(scores) == asked
        ]
        enough = pictures[count - 1][0] if len(pictures) >= count else wish.least
        if not left_out or max(left_out) < enough:
            return pictures[:count]
        asked *= 4  # missing pictures took places, or what comes next may be as good: ask for more


def _scored(chunks: Iterator[tuple[Ids, Vectors]], wish: _Wish) -> Iterator[tuple[Ids, Vectors]]:
    """Yield ids (n,) and scores (n,) of those vectors that are wanted and near enough."""
    for ids, vectors in chunks:
        scores = _scores(vectors, wish.query)
        good = _is_near(scores, wish)
        if wish.among is not None:
            good &= np.isin(ids, wish.among, assume_unique=True)
        yield ids[good], scores[good]


def _best(scored: Iterator[tuple[Ids, Vectors]], count: int | None) -> Ids:
    """Return the ids of the `count` best scores, or of all, in no order."""
    every_id, every_score = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for ids, scores in scored:
        every_id.append(ids)
        every_score.append(scores)
        if count is not None and sum(map(len, every_id)) > 2 * count + FEW:
            best = _order(np.concatenate(every_id), np.concatenate(every_score))[:count]
            every_id, every_score = [np.concatenate(every_id)[best]], [np.concatenate(every_score)[best]]
    ids, scores = np.concatenate(every_id), np.concatenate(every_score)
    return ids if count is None else ids[_order(ids, scores)[:count]]


def _order(ids: Ids, scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the positions of the best first, equal scores in the order of their ids."""
    return np.lexsort((ids, -scores))


def _scores(vectors: Vectors, query: Vectors) -> NDArray[np.float32]:
    """Return the scores (n,) of `vectors` (n, D); unlike `@`, einsum gives equal rows equal scores anywhere."""
    return np.asarray(np.einsum("ij,j->i", vectors, query), np.float32) if len(vectors) else np.empty(0, np.float32)


def _is_near(scores: NDArray[np.float32], wish: _Wish) -> NDArray[np.bool_]:
    """Tell which scores are good enough."""
    return np.asarray(np.maximum(scores, -1.0) >= wish.least)


def _pictures(catalog: CatalogReader, wish: _Wish, candidates: Ids) -> list[_Scored]:
    """Return the scores and facts of those candidates that exist, are there, and are near enough, best first."""
    facts = {
        key: image for key, image in catalog.facts_of(candidates.tolist()).items() if wish.missing or not image.missing
    }
    ids, vectors = catalog.vectors_of(list(facts))
    scores = _scores(vectors, wish.query)
    near = _is_near(scores, wish)
    return [(float(scores[i]), facts[int(ids[i])]) for i in _order(ids, scores) if near[i]]
