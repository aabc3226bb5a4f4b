"""Opening and searching the files of FAISS; they are mapped into memory, so a search reads only what it needs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from image_index.errors import StorageError
from image_index.records import DerivedState, Ids, Stamp, Vectors
from image_index.vectors.derived_file import Contents, state
from image_index.vectors.lists import QUERY_LENGTH, rotation_of
from image_index.vectors.threads import at_once, cores

Scores = NDArray[np.float32]

DEPTH, DEEPEST = 23, 1000
"""How many more candidates than hits are kept at first: for each hit, and at most.

The more hits, the closer they lie to the middle of all scores, and the fewer others an error puts before one of them.
"""

CROWD = 5000
"""From so many candidates on, no more are kept because they lie close together: who needs more asks for more hits."""

FIRST_LISTS = 16
"""How many lists are visited before it is known what score the others have to beat."""

MANY_CODES = 400_000
"""To visit so many takes so long that to keep more candidates of them costs little, and to do it again a lot."""

GROWTH = 4
"""How many times as many lists are visited where too little was found, or candidates kept where these are too few."""

MAX_SHARE, MAX_CODES = 0.25, 1_000_000
"""The largest share of the lists that a search visits, and about how many codes: queries that lie far from all vectors,
and vectors without any order, would need all. So many codes take 160 MB of 512 dimensions and 20 ms.
"""

THREAD_CODES, MOST_THREADS = 15_000, 4
"""A further thread is worth it for so many codes, which take half a millisecond."""

_NOTHING: tuple[Scores, Ids] = np.empty(0, np.float32), np.empty(0, np.int64)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FaissIndex:
    """Open inverted lists, and what they hold."""

    contents: Contents
    _index: Any  # FAISS's stubs do not know what its subclasses have
    _radii: NDArray[np.float32]

    @property
    def stamp(self) -> Stamp:
        """The stamp of the catalog it was built from."""
        return self.contents.stamp

    @property
    def error(self) -> float:
        """By how much a true score may exceed the one that `search` gives."""
        return self.contents.error

    @property
    def nlist(self) -> int:
        """How many inverted lists there are."""
        return int(faiss.extract_index_ivf(self._index).nlist)

    def search(self, query: Vectors, count: int, among: Ids | None = None) -> tuple[Scores, Ids, float | None]:
        """Return the scores and ids, best first, of candidates for the `count` vectors nearest to `query` (D,).

        So many are nearest by inner product that the best `count` are hardly ever missing. `among` limits the search to
        those ids. The scores are estimates, see `contents.error`. The third is the most that the estimate of any other
        vector may be, None where there is no other.

        The most promising lists are visited, and then all that may hold something better than what was found. The
        candidates must reach as far below the last of the best as the error does. Where they do not, or might not after
        a visit that takes long, all is done again with more of them.
        """
        selector = _selector(among, self.contents.stamp.last_id) if among is not None else None
        rotation = rotation_of(self._index)
        turned = QUERY_LENGTH * _inner_products(query, rotation.A.data(), rotation.d_out)
        highest = self._highest(turned)
        order = np.argsort(-highest)
        promising = highest[order[: self._most(among)]]
        wanted = fewest = count + min(DEPTH * count, DEEPEST)
        first = end = min(FIRST_LISTS, len(order))
        visited, (scores, ids) = 0, _NOTHING
        while True:
            kept = min(wanted, self.contents.count)
            more_scores, more_ids = self._visit(turned, order[visited:end], kept, selector)
            scores, ids = np.concatenate([scores, more_scores]), np.concatenate([ids, more_ids])
            best = np.argsort(-scores, kind="stable")[:wanted]
            scores, ids, visited = scores[best], ids[best], end
            if len(ids) < wanted:
                if visited == len(order):
                    return scores, ids, None
                end = min(GROWTH * visited, len(order))
                continue
            last = float(scores[count - 1])
            end = max(first, int(np.count_nonzero(promising >= last)))
            crowded = scores[-1] > last - self.error and wanted < CROWD
            if crowded or (wanted == fewest and self._codes(end - visited) > MANY_CODES):
                wanted, visited, (scores, ids) = GROWTH * wanted, 0, _NOTHING
            elif visited >= end:
                return scores, ids, float(scores[-1])

    def _highest(self, turned: Vectors) -> Scores:
        """Return what the vectors of each list may score at most (L,), for a query (D,) that has been turned."""
        quantizer: Any = faiss.downcast_index(faiss.extract_index_ivf(self._index).quantizer)
        scores = _inner_products(turned, quantizer.get_xb(), quantizer.ntotal) / QUERY_LENGTH
        is_picture = scores.max() >= self.contents.near_score
        highest: Scores = scores + (self.contents.near_reach if is_picture else self.contents.reach) * self._radii
        return highest

    def _most(self, among: Ids | None) -> int:
        """Return how many lists are visited at most where enough has been found.

        Among a tenth of the ids, the best ten are as far away as the best hundred of all are.
        """
        share = len(among) / max(self.contents.count, 1) if among is not None else 1.0
        most = min(MAX_SHARE, MAX_CODES / max(self.contents.count, 1))
        return int(np.ceil(most * self.nlist / max(share, most)))

    def _codes(self, lists: int) -> int:
        """Return about how many codes so many lists hold."""
        return lists * self.contents.count // self.nlist

    def _visit(
        self, turned: Vectors, lists: NDArray[np.int64], count: int, selector: faiss.IDSelector | None
    ) -> tuple[Scores, Ids]:
        """Return the scores and ids of the best `count` in `lists` (P,), or of twice as many, in no order."""
        ivf = faiss.extract_index_ivf(self._index)
        threads = max(1, min(MOST_THREADS, cores(), self._codes(len(lists)) // THREAD_CODES))
        parts = [partial(_visited, ivf, turned, lists[first::threads], count, selector) for first in range(threads)]
        found_scores, found_ids = zip(*at_once(parts), strict=True)
        return np.concatenate(found_scores), np.concatenate(found_ids)


def _inner_products(query: Vectors, rows: Any, count: int) -> Scores:
    """Return the scores (n,) of `count` rows of float32, given by their address, for a query (D,).

    FAISS's own searches do this for many queries at once, and for one take four times as long.
    """
    query, scores = np.ascontiguousarray(query, np.float32), np.empty(count, np.float32)
    faiss.fvec_inner_products_ny(  # type: ignore[attr-defined]
        faiss.swig_ptr(scores), faiss.swig_ptr(query), rows, len(query), count
    )
    return scores


def _visited(
    ivf: Any, query: Vectors, lists: NDArray[np.int64], count: int, selector: faiss.IDSelector | None
) -> tuple[Scores, Ids]:
    """Return the scores and ids that FAISS finds in `lists` (P,) for one query (D,), at most `count`.

    The wrapper of `search_preassigned` for Python takes no selector.
    """
    parameters = faiss.SearchParametersIVF(sel=selector, nprobe=len(lists))  # type: ignore[call-arg]
    lists, unused = np.ascontiguousarray(lists), np.zeros(len(lists), np.float32)  # RaBitQ scores need no nearness
    scores, ids = np.empty((1, count), np.float32), np.empty((1, count), np.int64)
    arrays = (faiss.swig_ptr(array) for array in (lists, unused, scores, ids))
    with _one_thread():
        ivf.search_preassigned_c(1, faiss.swig_ptr(query), count, *arrays, False, parameters)
    filled = ids[0] >= 0
    return scores[0][filled] / QUERY_LENGTH, ids[0][filled]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep FAISS to this thread: its own threads take 20 ms to wake where the cores are busy."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def _selector(ids: Ids, last_id: int) -> faiss.IDSelector:
    """Return what lets FAISS look at `ids` alone."""
    allowed = np.zeros(last_id + 1, np.bool_)
    allowed[ids[ids <= last_id]] = True
    return faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))  # type: ignore[call-arg,arg-type]


def open_index(path: Path, catalog_id: str) -> FaissIndex | None:
    """Open the index at `path` if it is whole and of the catalog `catalog_id`; else None."""
    found, contents = state(path, catalog_id, thorough=False)
    if contents is None:
        if found is DerivedState.DAMAGED:
            _warn(path, "damaged, or of another catalog")
        return None
    try:
        index = map_index(path)
    except StorageError as error:
        _warn(path, error.problem)
        return None
    opened = FaissIndex(contents, index, np.array(contents.radii, np.float32))
    holds = index.ntotal, index.d
    if (
        not isinstance(index, faiss.IndexPreTransform)
        or holds != (contents.count, contents.stamp.dim)
        or opened.nlist != len(contents.radii)
    ):
        _warn(path, "it does not hold what it says")
        return None
    return opened


def map_index(path: Path) -> Any:
    """Return FAISS's own index of a file, mapped into memory; raise `StorageError` where FAISS cannot read it."""
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except (RuntimeError, MemoryError) as error:  # a damaged length is a request for terabytes
        cause = str(error).partition("\n")[0]
        raise StorageError(f"FAISS {faiss.__version__} cannot read {path}: {cause}", "run imgidx doctor") from error


def _warn(path: Path, cause: str) -> None:
    """Say that an index is not used."""
    logger.warning("Ignoring the index %s (%s); the next train, or imgidx verify --repair, rebuilds it", path, cause)
