"""Opening and searching the files of FAISS; they are mapped into memory, so a search reads only what it needs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from image_index.errors import StorageError
from image_index.records import DerivedState, Ids, Stamp, Vectors
from image_index.vectors.derived_file import Contents, state
from image_index.vectors.lists import QUERY_LENGTH, rotation_of

Scores = NDArray[np.float32]

DEPTH, DEEPEST = 15, 5000
"""How many more candidates than hits are asked of inverted lists: for each hit, and at most.

The more hits, the closer they lie to the middle of all scores, and the fewer others an error puts before one of them.
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FaissIndex:
    """Open inverted lists, and what they hold."""

    contents: Contents
    _index: Any  # FAISS's stubs do not know what its subclasses have

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

    @property
    def nprobe(self) -> int:
        """How many inverted lists a search visits at most."""
        return int(faiss.extract_index_ivf(self._index).nprobe)

    def candidates(self, count: int) -> int:
        """Return how many to ask for where the best `count` are wanted: more than that, for scores are estimates."""
        return count + min(DEPTH * count, DEEPEST)

    def search(self, query: Vectors, count: int, among: Ids | None = None) -> tuple[Scores, Ids]:
        """Return the scores and ids, best first, of the `count` vectors nearest to `query` (D,) by inner product.

        `among` limits the search to those ids; the fewer they are, the more lists are visited. Fewer than `count` come
        back only where there are fewer. The scores are estimates, see `contents.error`.
        """
        with _one_thread():
            return self._search(query, count, among)

    def _search(self, query: Vectors, count: int, among: Ids | None) -> tuple[Scores, Ids]:
        selector = _selector(among, self.contents.stamp.last_id) if among is not None else None
        count = min(count, max(self.contents.count, 1))
        ivf = faiss.extract_index_ivf(self._index)
        turned = QUERY_LENGTH * rotation_of(self._index).apply(query[np.newaxis])
        # nprobe is tuned for a search of everything. Among a tenth of the ids, the best ten are as far away as the best
        # hundred of all are, and so are their lists: ten times as many are visited.
        share = max(len(among) / self.contents.count if among is not None else 1.0, 1 / self.contents.count)
        # To compare the centroids takes as long as to visit the lists of a picture, 2.5 ms for 12,600: it is done once.
        nearness, lists = ivf.quantizer.search(turned, min(ivf.nlist, int(np.ceil(ivf.nprobe / share))))
        wanted = self._probes(nearness[0] / QUERY_LENGTH)
        while True:
            nprobe = min(ivf.nlist, int(np.ceil(wanted / share)))
            if nprobe > lists.shape[1]:
                nearness, lists = ivf.quantizer.search(turned, nprobe)
            scores, ids = _visited(ivf, turned, lists[:, :nprobe], count, selector)
            if len(ids) == count or nprobe == ivf.nlist:
                return scores / QUERY_LENGTH, ids
            wanted *= 4

    def _probes(self, nearness: Scores) -> int:
        """Return how many lists a query needs, by the scores (P,) of the nearest centroids, best first."""
        if nearness[0] >= self.contents.near_score:
            return self.contents.near_nprobe
        within = int(np.count_nonzero(nearness >= nearness[0] - self.contents.gap))
        return min(max(within, self.contents.near_nprobe), self.nprobe)


def _visited(
    ivf: Any, query: Vectors, lists: NDArray[np.int64], count: int, selector: faiss.IDSelector | None
) -> tuple[Scores, Ids]:
    """Return the scores and ids that FAISS finds in `lists` (1, P) for one query (1, D), at most `count`.

    The wrapper of `search_preassigned` for Python takes no selector.
    """
    parameters = faiss.SearchParametersIVF(sel=selector, nprobe=lists.shape[1])  # type: ignore[call-arg]
    lists, unused = np.ascontiguousarray(lists), np.zeros(lists.shape, np.float32)  # RaBitQ scores need no nearness
    scores, ids = np.empty((1, count), np.float32), np.empty((1, count), np.int64)
    arrays = (faiss.swig_ptr(array) for array in (lists, unused, scores, ids))
    ivf.search_preassigned_c(1, faiss.swig_ptr(query), count, *arrays, False, parameters)
    filled = ids[0] >= 0
    return scores[0][filled], ids[0][filled]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep FAISS to this thread: to wake others takes longer than one query, 20 ms where the cores are busy."""
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
    holds = index.ntotal, index.d
    if not isinstance(index, faiss.IndexPreTransform) or holds != (contents.count, contents.stamp.dim):
        _warn(path, "it does not hold what it says")
        return None
    return FaissIndex(contents, index)


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
