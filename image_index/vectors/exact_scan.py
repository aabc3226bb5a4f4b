"""Comparing a query with every row of float16 vectors: numpy where they are few, FAISS's own loop where they are many.

The scores may differ from those of `einsum` by rounding: who shows them computes them again.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from image_index import half
from image_index.records import Vectors
from image_index.vectors.threads import at_once, cores

if TYPE_CHECKING:
    import faiss

NUMPY_ROWS = 20_000
"""Up to as many rows are compared by numpy, in 8 ms of 512 dimensions; to import FAISS takes 60."""

GATHERED_SHARE = 1 / 256
"""Up to this share of the rows is gathered by numpy, 0.4 us each; FAISS takes 0.1, and 2 ns to pass over a row."""

THREAD_ROWS = 25_000
"""A further thread is worth it for so many rows: one compares them in 3 ms."""

MOST_BEST = 10_000
"""Up to as many best rows FAISS keeps in a heap; for more, all that it has compared are sorted."""

BLOCK_ROWS = 256
"""How many rows numpy converts at a time: they stay in the cache."""

Rows = NDArray[np.int64]
Scores = NDArray[np.float32]


def best_rows(vectors: NDArray[np.float16], query: Vectors, count: int, chosen: Rows | None) -> tuple[Scores, Rows]:
    """Return the scores and the rows, best first, of the `count` of `vectors` (N, D) nearest to `query` (D,).

    `chosen` limits that to some rows, in ascending order.
    """
    count = min(count, len(vectors) if chosen is None else len(chosen))
    if _is_small(vectors, chosen) or count > MOST_BEST or not count:
        rows, scores = _all_at_least(vectors, query, -np.inf, chosen)
    else:
        parts = _in_parts(len(vectors), lambda first, end: _Scan(vectors, query, chosen, first, end).best(count))
        rows, scores = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    if count < len(rows):
        near = np.flatnonzero(scores >= np.partition(scores, -count)[-count]) if count else np.empty(0, np.int64)
        rows, scores = rows[near], scores[near]
    order = np.lexsort((rows, -scores))[:count]
    return scores[order], rows[order]


def rows_at_least(vectors: NDArray[np.float16], query: Vectors, least: float, chosen: Rows | None) -> Rows:
    """Return the rows, in ascending order, of those of `vectors` (N, D) that score at least `least`."""
    return np.sort(_all_at_least(vectors, query, least, chosen)[0])


def _all_at_least(
    vectors: NDArray[np.float16], query: Vectors, least: float, chosen: Rows | None
) -> tuple[Rows, Scores]:
    """Return the rows and the scores of those that score at least `least`."""
    if _is_small(vectors, chosen):
        rows = np.arange(len(vectors)) if chosen is None else chosen
        scores = _numpy_scores(vectors, query, chosen)
        near = scores >= least
        return rows[near], scores[near]
    parts = _in_parts(len(vectors), lambda first, end: _Scan(vectors, query, chosen, first, end).at_least(least))
    rows, scores = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return rows, scores


def _is_small(vectors: NDArray[np.float16], chosen: Rows | None) -> bool:
    """Tell whether numpy is the faster one."""
    compared = len(vectors) if chosen is None else len(chosen)
    return compared <= max(NUMPY_ROWS, GATHERED_SHARE * len(vectors) if chosen is not None else 0)


def _numpy_scores(vectors: NDArray[np.float16], query: Vectors, chosen: Rows | None) -> Scores:
    """Return the scores of all of `vectors`, or of the `chosen` rows."""
    scaled = query * half.SCALE  # not the vectors
    buffer = np.empty((BLOCK_ROWS, vectors.shape[1]), np.float32)
    scores = np.empty(len(vectors) if chosen is None else len(chosen), np.float32)
    for first in range(0, len(scores), BLOCK_ROWS):
        piece = slice(first, first + BLOCK_ROWS)
        block = vectors[piece] if chosen is None else vectors[chosen[piece]]
        scores[piece] = half.scaled_down(block, buffer[: len(block)]) @ scaled
    return scores


def _in_parts(count: int, scan: Any) -> list[tuple[Rows, Scores]]:
    """Return what `scan` returns for the ranges of rows that threads share out among them."""
    threads = max(1, min(cores(), count // THREAD_ROWS))
    limits = [count * number // threads // 8 * 8 for number in range(threads)] + [count]  # a byte of a bitmap is 8 rows
    return at_once([partial(scan, *part) for part in pairwise(limits)])


class _Scan:
    """FAISS's loop over a range of rows for one query.

    FAISS's index would need the vectors in memory of its own, or in a file behind a header; its scanner takes them
    from wherever they are.
    """

    def __init__(self, vectors: NDArray[np.float16], query: Vectors, chosen: Rows | None, first: int, end: int) -> None:
        """Prepare to compare the rows from `first` up to `end`."""
        import faiss  # a small library needs none

        self._first, self._rows = first, vectors[first:end]
        self._query = np.ascontiguousarray(query, np.float32)
        quantizer: Any = faiss.ScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16)
        self._selector = None if chosen is None else _selector(chosen, first, end)
        # 100 bytes that stay: FAISS's wrapper owns no scanner, and one that is told to breaks its types
        scanner: Any = quantizer.select_InvertedListScanner(
            faiss.METRIC_INNER_PRODUCT, None, True, self._selector, False
        )
        scanner.set_query(faiss.swig_ptr(self._query))
        scanner.set_list(0, 0)
        self._scanner, self._quantizer = scanner, quantizer
        self._faiss: Any = faiss

    @property
    def _codes(self) -> Any:
        return self._faiss.swig_ptr(self._rows.view(np.uint8).reshape(-1))

    def best(self, count: int) -> tuple[Rows, Scores]:
        """Return the best `count` rows and their scores, in no order."""
        scores, rows = np.full(count, -np.inf, np.float32), np.full(count, -1, np.int64)
        pointers = self._faiss.swig_ptr(scores), self._faiss.swig_ptr(rows)
        self._scanner.scan_codes(len(self._rows), self._codes, None, *pointers, count)
        found = rows >= 0
        return rows[found] + self._first, scores[found]

    def at_least(self, least: float) -> tuple[Rows, Scores]:
        """Return the rows that score at least `least`, and their scores."""
        result = self._faiss.RangeSearchResult(1)
        partial = self._faiss.RangeSearchPartialResult(result)
        into = partial.new_result(0)
        self._scanner.scan_codes_range(len(self._rows), self._codes, None, _below(least), into)
        partial.finalize()
        count = int(self._faiss.rev_swig_ptr(result.lims, 2)[1])
        if not count:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        scores, rows = self._faiss.rev_swig_ptr(result.distances, count), self._faiss.rev_swig_ptr(result.labels, count)
        return rows + self._first, scores.copy()


def _below(score: float) -> float:
    """Return a float32 number under `score`: FAISS looks for what scores more than its radius."""
    return float(np.nextafter(np.float32(score), np.float32(-np.inf)))


def _selector(chosen: Rows, first: int, end: int) -> faiss.IDSelector:
    """Return what lets FAISS look at the `chosen` rows between `first` and `end` alone; row `first` is its row 0."""
    import faiss

    begin, stop = np.searchsorted(chosen, (first, end))
    allowed = np.zeros(end - first, np.bool_)
    allowed[chosen[begin:stop] - first] = True
    return faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))  # type: ignore[call-arg,arg-type]
