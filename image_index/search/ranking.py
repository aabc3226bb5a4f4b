"""Query vector to hits: what the derived files propose, and a scan of what is newer; the catalog has the last word."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import chain, islice
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from image_index.catalog.filters import Filters
from image_index.catalog.pairs import holds_any_raw, is_raw, pair_of
from image_index.catalog.reader import PICTURES_AT_A_TIME, CatalogReader
from image_index.errors import UsageError
from image_index.records import Hit, Ids, ImageFacts, Vectors
from image_index.settings import IndexHome
from image_index.vectors.moments import Moments, Spread, measure, read_moments
from image_index.vectors.vector_file import VectorFile, open_vectors

if TYPE_CHECKING:
    from image_index.vectors.open_index import FaissIndex

EXTRA, EXTRA_SHARE = 6, 1 / 8
"""How many more than wanted an index is asked for at first: a worse one shows that no wanted one was left out.

Of many hits the scores lie so close together that rounding hides the order of several.
"""

GROWTH = 4
"""How many times as many an index is asked for, whenever those that it has named were not enough."""

ROUNDING = 1e-5
"""By how much an exact score of an index may differ from ours: both add up D products of float32, in another order."""

FEW = 100_000
"""Up to as many pictures that the filters leave are compared with the query one by one: 0.1 us each.

A search in which lists propose some takes 15 to 30 ms of a million, and twice that where few of these pass.
"""

SAMPLED = 10_000
"""About so many vectors are looked at where the moments have to be measured."""

FACTS_AT_A_TIME = 4096
"""How many pictures' facts are read in one go at most; at first only as many as are wanted."""

LOOKED_UP = 64
"""As many candidates are compared at once, or as many as were before."""

PROPOSED = 256
"""How many pictures are proposed at first where filters are checked afterwards: ten of them pass if 4 % of all do."""

logger = logging.getLogger(__name__)


class Sort(StrEnum):
    """In which order hits come: the best, the newest, or the first in the alphabet first."""

    SCORE = "score"
    DATE = "date"
    PATH = "path"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a further page of hits begins: behind the hit of this score and id, which was the `rank`-th.

    Of what has been added since the first page, pictures after `up_to_id`, nothing comes.
    """

    score: float
    image_id: int
    rank: int
    up_to_id: int

    def is_before(self, score: float, image_id: int) -> bool:
        """Tell whether a picture of this score comes behind this place, and was there when the first page was made."""
        return (-score, image_id) > (-self.score, self.image_id) and image_id <= self.up_to_id


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How many hits, of which pictures, how good at least, and in which order; `limit` None means all.

    A `min_score` of -1, the least a cosine can be, means all too: float16 vectors may be a little longer than 1.
    `exact` compares the query with every vector of the catalog, as a search without a limit does. `sort` is score, date
    or path. With `include_query` the query's own pictures may be found too. `after` is where the hits begin, for a page
    of those sorted by score: it costs as much as the first one, however deep it lies.

    Raises `UsageError` for values that make no sense.
    """

    limit: int | None = 10
    min_score: float = -1.0
    min_sigma: float = -math.inf
    exact: bool = False
    sort: str = Sort.SCORE
    filters: Filters = field(default_factory=Filters)
    include_query: bool = False
    after: Place | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"the number of hits must be at least 1, not {self.limit}")
        if math.isnan(self.min_sigma) or math.isnan(self.min_score):
            raise UsageError("a least score or sigma is a number, for example: --min-sigma 3")
        if self.sort not in list(Sort):
            raise UsageError(f"hits are sorted by score, date or path, not by {self.sort!r}")


class Proposing(Protocol):
    """What knows the vectors nearest to a query: inverted lists, or rows of the vector file."""

    @property
    def error(self) -> float:
        """By how much a true score may exceed the one that `search` gives."""

    def search(
        self, query: Vectors, count: int, among: Ids | None = None
    ) -> tuple[NDArray[np.float32], Ids, float | None]:
        """Return the scores and ids, best first, of candidates for the `count` nearest to `query` (D,), `among` ids.

        The third is the most that `search` would give any other, None where there is no other.
        """


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """The derived files of an index, open.

    `indexes` are the inverted lists that a large one has. `vectors` has all vectors
    up to some id, from which scores are computed; without it the catalog itself is asked. Without `moments` no hit has
    a sigma.
    """

    indexes: tuple[FaissIndex, ...] = ()
    moments: Moments | None = None
    vectors: VectorFile | None = None

    @property
    def listed_up_to(self) -> int:
        """The last id that is in the inverted lists."""
        return self.indexes[-1].stamp.last_id if self.indexes else 0

    @property
    def last_id(self) -> int:
        """The last id that is in any of the files."""
        return max(self.listed_up_to, self.vectors.stamp.last_id if self.vectors is not None else 0)

    def proposing(self) -> tuple[Proposing, ...]:
        """Return what together knows all vectors up to `last_id`, each of them once."""
        if self.vectors is None or self.vectors.stamp.last_id <= self.listed_up_to:
            return self.indexes
        return (*self.indexes, self.vectors.after(self.listed_up_to))

    def vectors_of(self, catalog: CatalogReader, ids: Ids) -> tuple[Ids, Vectors]:
        """Return those of `ids` that have a vector, and their float32 vectors (n, D)."""
        if self.vectors is None:
            return catalog.vectors_of(ids)
        found, vectors = self.vectors.gather(ids)
        newer = ids[ids > self.vectors.stamp.last_id]
        if not len(newer):
            return found, vectors
        newer, more = catalog.vectors_of(newer)
        return np.concatenate([found, newer]), np.concatenate([vectors, more])


_Scored = tuple[float, ImageFacts]

_ORDER: dict[str, Callable[[Hit], tuple[float, bytes]]] = {
    Sort.SCORE: lambda hit: (hit.rank, b""),
    Sort.DATE: lambda hit: (-hit.image.date_s, hit.path),
    Sort.PATH: lambda hit: (0, hit.path),
}


@dataclass(frozen=True, slots=True)
class _Sources:
    """Where pictures come from: indexes that propose some, and vectors that are compared with the query one by one."""

    indexes: tuple[Proposing, ...]
    rest: Iterator[tuple[Ids, Vectors]]


@dataclass(frozen=True, slots=True)
class _Criteria:
    """The query and what a hit must meet; `among` are the ids that the filters leave, None where not collected."""

    query: Vectors
    least: float
    filters: Filters
    after: Place | None
    among: Ids | None = None

    @property
    def most(self) -> float:
        """The score that no hit exceeds."""
        return math.inf if self.after is None else self.after.score


def open_files(catalog: CatalogReader, home: IndexHome) -> OpenFiles:
    """Open the derived files of `home`, as far as they are whole and of this catalog."""
    catalog_id, moments = catalog.read_catalog_id(), open_moments(catalog, home)
    vectors, lists = open_vectors(home, catalog_id), _open_lists(home, catalog_id)
    if vectors is None and not home.vector_table.exists() and catalog.holds_pictures():  # a damaged one has its warning
        logger.info("There is no %s: searching the catalog itself; the next train writes it", home.vectors.name)
    return OpenFiles(lists, moments, vectors)


def _open_lists(home: IndexHome, catalog_id: str) -> tuple[FaissIndex, ...]:
    """Open the inverted lists, which a large index has."""
    if not home.faiss.exists():
        return ()
    from image_index.vectors.open_index import open_index  # faiss takes 60 ms: a child for the query is started first

    lists = open_index(home.faiss, catalog_id)
    return () if lists is None else (lists,)


def open_moments(catalog: CatalogReader, home: IndexHome) -> Moments | None:
    """Return the moments of the vectors: as stored, or measured now where a file is missing or far behind."""
    last_id = catalog.read_last_id()
    found = read_moments(home.moments, catalog.read_catalog_id(), last_id // 2)
    if found is None and last_id:
        ids, vectors = catalog.vectors_of(np.arange(1, last_id + 1, max(1, last_id // SAMPLED)))
        found = measure(iter([(ids, vectors)]), len(ids), vectors.shape[1]) if len(ids) else None
    return found


def search(
    files: OpenFiles,
    catalog: CatalogReader,
    query: Vectors,
    options: SearchOptions,
    shown: Callable[[ImageFacts], ImageFacts | None] = lambda image: image,
) -> list[Hit]:
    """Return the pictures nearest to the unit vector `query` (D,), best first, equal scores in the order of their ids.

    Every picture is looked up in the catalog, and its score is compared with that of the vector there: a stale or
    damaged file can cost a hit, never invent one. `shown` knows what no row does, as that a file is gone although no
    training has noticed yet: it returns the picture under the name by which it is shown, or None. Then the next takes
    its place. A RAW file is passed over too where the JPEG or HEIC of its shot is among those that are asked for.
    """
    spread = files.moments.spread(query) if files.moments else Spread(0.0, 0.0)
    least = max(options.min_score, spread.score(options.min_sigma))
    criteria = _Criteria(query, least, options.filters, options.after)
    pictures = _found(files, catalog, criteria, options)

    holds_raw = holds_any_raw(catalog)

    def pair(image: ImageFacts) -> ImageFacts | None:
        other = pair_of(catalog, image) if holds_raw else None
        return shown(other) if other else None

    def comes_as_jpeg(image: ImageFacts) -> bool:
        other = pair(image) if is_raw(image) else None
        return other is not None and _is_asked_for(catalog, criteria, other.id)

    wanted = (
        (score, named, pair(image)) for score, image in pictures if (named := shown(image)) and not comes_as_jpeg(image)
    )
    best = enumerate(islice(wanted, options.limit), start=options.after.rank + 1 if options.after else 1)
    hits = [
        Hit(
            rank,
            score,
            spread.sigma(score),
            image,
            other.path if other else None,
            distance_m=_distance_m(image, options),
        )
        for rank, (score, image, other) in best
    ]
    return in_order(hits, options.sort)


def _distance_m(image: ImageFacts, options: SearchOptions) -> float | None:
    """Return how far from the place that the filters name a picture was taken, None where they name none."""
    near = options.filters.near
    return None if near is None else near.distance_m(image.picture.latitude, image.picture.longitude)


def in_order(hits: Iterable[Hit], sort: str) -> list[Hit]:
    """Return hits sorted by score, that is by their rank, by date or by path."""
    return sorted(hits, key=_ORDER[sort])


def _is_asked_for(catalog: CatalogReader, criteria: _Criteria, image_id: int) -> bool:
    """Tell whether an image meets the criteria, so that it comes in its turn: on this page or before it."""
    if criteria.filters.chooses and not len(catalog.matching_of(np.array([image_id]), criteria.filters)):
        return False
    scored = _rescored(OpenFiles(), catalog, criteria, np.array([image_id]))
    return any(True for _ in _pictures(catalog, replace(criteria, after=None), *scored, at_first=1))


def _found(files: OpenFiles, catalog: CatalogReader, criteria: _Criteria, options: SearchOptions) -> Iterator[_Scored]:
    """Return the pictures that meet the criteria, best first.

    To collect the ids that filters leave takes long where those are many, and then some of the nearest pictures are
    among them. So some are proposed without regard to the filters first, unless an index tells that these leave few.
    """
    filters, scans_all = criteria.filters, options.exact or options.limit is None
    if filters.chooses and files.last_id and not scans_all:
        criteria = replace(criteria, among=catalog.few_matching(filters))
        if criteria.among is None:
            return _ranked(files, catalog, criteria, _all_sources(files, catalog), options)
    return _collected(files, catalog, criteria, options)


def _collected(
    files: OpenFiles, catalog: CatalogReader, criteria: _Criteria, options: SearchOptions
) -> Iterator[_Scored]:
    """Return the same, with the ids that the filters leave collected before anything is compared."""
    if criteria.filters.chooses and criteria.among is None:
        criteria = replace(criteria, among=catalog.ids_matching(criteria.filters))
    is_few = criteria.among is not None and len(criteria.among) <= FEW
    if options.exact or options.limit is None or is_few:
        files = replace(files, indexes=())
    sources = _all_sources(files, catalog)
    if options.limit is None and files.vectors is not None:
        sources = _Sources((), chain(_near(files.vectors, criteria), sources.rest))
    elif criteria.among is not None and is_few and files.vectors is None:
        sources = _Sources((), iter([catalog.vectors_of(criteria.among)]))
    return _ranked(files, catalog, criteria, sources, options)


def _all_sources(files: OpenFiles, catalog: CatalogReader) -> _Sources:
    """Return the indexes, and the vectors that are newer."""
    return _Sources(files.proposing(), catalog.vectors_after(files.last_id))


def _near(vectors: VectorFile, criteria: _Criteria) -> Iterator[tuple[Ids, Vectors]]:
    """Yield the ids and vectors of those rows that may score enough for the criteria, and of some others."""
    if criteria.least <= -1 and criteria.among is None:
        yield from vectors.chunks()
        return
    least = criteria.least - ROUNDING if criteria.least > -1 else -math.inf
    for ids in _in_pieces(vectors.near(criteria.query, least, criteria.among)):
        yield vectors.gather(ids)


def _in_pieces(ids: Ids) -> Iterator[Ids]:
    """Yield ids some thousand at a time."""
    return (ids[start : start + PICTURES_AT_A_TIME] for start in range(0, len(ids), PICTURES_AT_A_TIME))


def _ranked(
    files: OpenFiles,
    catalog: CatalogReader,
    criteria: _Criteria,
    sources: _Sources,
    options: SearchOptions,
) -> Iterator[_Scored]:
    """Yield the pictures that meet the criteria, best first, of all that the sources have.

    An index only proposes ids, `asked` of them or more where its scores are estimates, and their vectors are compared
    with the query. A picture is yielded once it is surely better than all that no index has named yet: those score at
    most as much as the last one it named, give or take its error. Who takes more pictures than are sure makes the
    indexes name four times as many; so nobody has to know in advance how many will turn out to be missing, or not
    wanted.

    Where the ids that the filters leave have not been collected, the catalog tells which of the proposed are among
    them. They are collected after all once four times as many proposals would hardly hold what is wanted.
    """
    checks = criteria.filters.chooses and criteria.among is None
    rest_ids, rest_scores = _scan(sources.rest, criteria)
    more = _first_asked(options, len(rest_ids), checks=checks)
    before, done, passed = options.after.rank if options.after else 0, np.empty(0, np.int64), list[int]()
    while True:
        asked = before + more
        order = _best(rest_ids, rest_scores, asked + 1)  # one more: the best of those left out
        best_unnamed = [*rest_scores[order[asked:]].tolist()]
        found = [(rest_ids[order[:asked]], rest_scores[order[:asked]])]
        for index in sources.indexes:
            named, most = _named(files, catalog, criteria, index, (asked, more))
            found.append(named)
            best_unnamed += [] if most is None else [most]
        ids, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        bound = max(best_unnamed, default=-math.inf)
        sure = (scores > bound) & ~np.isin(ids, done)
        ids, once = np.unique(ids[sure], return_index=True)  # in a damaged file an id may stand twice
        scores = scores[sure][once]
        done = np.concatenate([done, ids])
        if checks:
            chosen = np.isin(ids, catalog.matching_of(ids, criteria.filters))
            ids, scores = ids[chosen], scores[chosen]
            passed += ids.tolist()
        yield from _pictures(catalog, criteria, ids, scores, at_first=options.limit or FACTS_AT_A_TIME)
        if max(bound, -1.0) < criteria.least or bound == -math.inf:
            return
        if checks and (asked > FEW or GROWTH * len(passed) < (options.limit or 0)):
            collected, begun = _collected(files, catalog, criteria, options), set(passed)
            yield from (one for one in collected if one[1].id not in begun)
            return
        more *= GROWTH


def _named(
    files: OpenFiles, catalog: CatalogReader, criteria: _Criteria, index: Proposing, counts: tuple[int, int]
) -> tuple[tuple[Ids, NDArray[np.float32]], float | None]:
    """Return ids and scores of what an index proposes, and the most that any other may score; None: there is no other.

    `counts` are how many are asked for, and how many of them are wanted. Of the candidates beyond the first of these
    only those are looked up that may be among the best of the second; the more have been, the fewer these are.
    """
    asked, wanted = counts
    error = index.error + ROUNDING
    estimates, ids, rest = index.search(criteria.query, asked, criteria.among)
    others = [] if rest is None else [rest]
    ahead = int(np.count_nonzero(estimates > criteria.most + 2 * error))  # they were on pages before
    estimates, ids = estimates[ahead:], ids[ahead:]
    named_ids, scores = _rescored(files, catalog, criteria, ids[:asked])
    end = min(asked, len(ids))
    while True:
        least = np.partition(scores, -wanted)[-wanted] if len(scores) >= wanted else -math.inf
        enough = int(np.count_nonzero(estimates + error >= least))
        if end >= enough:
            break
        more = slice(end, min(enough, end + max(end, LOOKED_UP)))
        more_ids, more_scores = _rescored(files, catalog, criteria, ids[more])
        named_ids, scores, end = np.concatenate([named_ids, more_ids]), np.concatenate([scores, more_scores]), more.stop
    others += estimates[end : end + 1].tolist()
    return (named_ids, scores), max(others) + error if others else None


def _first_asked(options: SearchOptions, rest: int, *, checks: bool) -> int:
    """Return how many pictures FAISS is asked for at first, where `rest` are compared without it."""
    if options.limit is None:
        return rest
    asked = options.limit + EXTRA + int(EXTRA_SHARE * options.limit)
    return max(asked, PROPOSED) if checks else asked


def _scan(chunks: Iterator[tuple[Ids, Vectors]], criteria: _Criteria) -> tuple[Ids, NDArray[np.float32]]:
    """Return the ids (n,) and the scores (n,) of those vectors that meet the criteria."""
    every_id, every_score = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for ids, vectors in chunks:
        scores = _scores(vectors, criteria.query)
        good = _is_near(scores, criteria)
        if criteria.among is not None:
            good &= np.isin(ids, criteria.among, assume_unique=True)
        every_id.append(ids[good])
        every_score.append(scores[good])
    return np.concatenate(every_id), np.concatenate(every_score)


def _best(ids: Ids, scores: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Return the positions of the best `count`, the best first, equal scores in the order of their ids."""
    if count >= len(ids):
        return np.lexsort((ids, -scores))
    least = np.partition(scores, -count)[-count]  # to sort all of a million takes a tenth of a second
    near = np.flatnonzero(scores >= least)
    return near[np.lexsort((ids[near], -scores[near]))][:count]


def _rescored(
    files: OpenFiles, catalog: CatalogReader, criteria: _Criteria, proposed: Ids
) -> tuple[Ids, NDArray[np.float32]]:
    """Return those of the ids that have a vector and whose score meets the criteria, and their scores."""
    return _scan((files.vectors_of(catalog, piece) for piece in _in_pieces(proposed)), criteria)


def _scores(vectors: Vectors, query: Vectors) -> NDArray[np.float32]:
    """Return the scores (n,) of `vectors` (n, D); unlike `@`, einsum gives equal rows equal scores anywhere."""
    return np.asarray(np.einsum("ij,j->i", vectors, query), np.float32) if len(vectors) else np.empty(0, np.float32)


def _is_near(scores: NDArray[np.float32], criteria: _Criteria) -> NDArray[np.bool_]:
    """Tell which scores are good enough, and not those of pages before."""
    return np.asarray((np.maximum(scores, -1.0) >= criteria.least) & (scores <= criteria.most))


def _pictures(
    catalog: CatalogReader, criteria: _Criteria, ids: Ids, scores: NDArray[np.float32], *, at_first: int
) -> Iterator[_Scored]:
    """Yield the scores and facts of those images that exist and meet the criteria, best first.

    Facts are read as they are asked for, `at_first` of so many and then of more: of a thousand candidates mostly ten
    are wanted. A score that is not that of the catalog's own vector comes from a damaged file, and counts for nothing.
    """
    order, start, count = _best(ids, scores, len(ids)), 0, at_first
    while start < len(order):
        piece = order[start : start + count]
        facts = catalog.facts_of(ids[piece].tolist())
        true = dict(zip(*_true_scores(catalog, criteria, ids[piece]), strict=True))
        for score, image_id in zip(scores[piece].tolist(), ids[piece].tolist(), strict=True):
            image = facts.get(image_id)
            if image is None or (image.missing and not criteria.filters.missing):
                continue
            if true.get(image_id) != score:
                logger.warning("%s is left out: the file of vectors is damaged; imgidx verify --repair", image_id)
            elif criteria.after is None or criteria.after.is_before(score, image_id):
                yield score, image
        start, count = start + count, min(GROWTH * count, FACTS_AT_A_TIME)


def _true_scores(catalog: CatalogReader, criteria: _Criteria, ids: Ids) -> tuple[list[int], list[float]]:
    """Return those of `ids` that have a vector in the catalog, and its scores."""
    found, vectors = catalog.vectors_of(ids)
    return found.tolist(), _scores(vectors, criteria.query).tolist()
