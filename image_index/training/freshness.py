"""Brings the files derived from the catalog's vectors up to date; only a train does, no search.

    vectors.f16   all vectors; new ones are appended             written anew when a quarter of its rows are gone
    moments.f32   their mean and covariance                      measured anew when a twentieth of them is new or gone
    index.faiss   inverted lists, in a large library alone       what they hold is copied, and new ones join them, when
                                                                 some ten thousand are new or gone

So a train that adds a hundred pictures to a million writes a tenth of a megabyte. What is newer than the lists, a
search compares one by one with the vectors; what a killed train has not appended, with the catalog.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from image_index.catalog.filters import Filters
from image_index.catalog.reader import CatalogReader
from image_index.errors import StorageError
from image_index.files.atomic import remove
from image_index.records import Progress, Report, Stamp
from image_index.settings import IndexHome
from image_index.vectors.derived_file import FLAT_LIMIT, state
from image_index.vectors.moments import SAMPLE, measure, write_moments
from image_index.vectors.vector_file import (
    Chunks,
    VectorFile,
    append_vectors,
    open_vectors,
    vectors_state,
    write_vectors,
)

SMALL_INDEX = 20_000
"""Up to as many vectors the moments are measured after every change: it takes 0.1 s."""

STALE_FRACTION = 0.05
"""Those of a larger index are measured anew once this share is new or gone."""

NEWER_ROWS, NEWER_FRACTION = 20_000, 0.01
"""The lists are brought up to date once each of these many are new or gone: 20,000 rows are compared in 2 ms.

To copy the lists of a million takes about a second, those of ten million ten times as long.
"""

CHECKED_BYTES = 32 << 20
"""So many bytes of each file are checked after a train, drawn by lot: 0.02 s. `imgidx verify` reads all of them."""

GONE_ROWS, GONE_FRACTION = 5000, 0.25
"""The file of vectors is written anew once it has more rows of pictures that are gone than each of these."""

SAMPLED, SAMPLED_LAST = 32, 1000
"""How many rows are compared with the catalog after every train, and as many among so many last ones."""


def build_if_stale(catalog: CatalogReader, home: IndexHome, report: Report, *, thorough: bool = True) -> None:
    """Bring the derived files up to date that are missing, damaged, or too far behind the catalog.

    `thorough=False` checks of a large file only what a search checks; otherwise a share of it is checked, see `state`.
    """
    now = catalog.stamp()
    if not now.count and not home.vector_table.exists():
        return
    _update_vectors(catalog, home, now, report, thorough=thorough)
    moments, lists = (
        state(path, now.catalog_id, thorough=thorough, at_most=CHECKED_BYTES)[1] for path in (home.moments, home.faiss)
    )
    if moments is None or _is_stale(moments.stamp, now, STALE_FRACTION * now.count if now.count > SMALL_INDEX else 0):
        build_moments(home, now)
    if now.count <= FLAT_LIMIT:
        remove(home.faiss)
    elif lists is None or _is_stale(lists.stamp, now, max(NEWER_ROWS, NEWER_FRACTION * now.count)):
        _update_lists(catalog, home, now, report)


def rebuild(catalog: CatalogReader, home: IndexHome, report: Report = lambda _: None) -> None:
    """Write all files anew, of everything that the catalog holds."""
    now = catalog.stamp()
    report(Progress("index", 0, now.count))
    write_vectors(home, now, catalog.stored_after(0))
    build_moments(home, now)
    remove(home.faiss)  # what is sound could be wrong all the same
    if now.count > FLAT_LIMIT:
        _update_lists(catalog, home, now, report)


def build_moments(home: IndexHome, now: Stamp) -> None:
    """Write the moments of the vectors in the file."""
    vectors = _opened(home, now)
    write_moments(home.moments, now, measure(vectors.sample(SAMPLE), SAMPLE, now.dim))


def _update_vectors(catalog: CatalogReader, home: IndexHome, now: Stamp, report: Report, *, thorough: bool) -> None:
    """Append new vectors to the file, or write it anew."""
    table = vectors_state(home, now.catalog_id, thorough=thorough, at_most=CHECKED_BYTES)[1]
    if table is not None and table.stamp == now:
        return
    if table is not None and _goes_on(catalog, _opened(home, now), now):
        report(Progress("index", 0, max(0, now.last_id - table.stamp.last_id)))
        append_vectors(home, table, now, catalog.stored_after(table.stamp.last_id))
        rows = len(_opened(home, now))
        if rows - now.count <= max(GONE_ROWS, GONE_FRACTION * rows):
            return
    elif table is not None:
        remove(home.faiss)  # its ids may be others' too
    report(Progress("index", 0, now.count))
    write_vectors(home, now, catalog.stored_after(0))


def _opened(home: IndexHome, now: Stamp) -> VectorFile:
    """Return the file of vectors, which has just been found or made whole."""
    vectors = open_vectors(home, now.catalog_id)
    if vectors is None:
        raise StorageError(f"{home.vectors} cannot be read back", "look at its permissions and its disk")
    return vectors


def _goes_on(catalog: CatalogReader, vectors: VectorFile, now: Stamp) -> bool:
    """Tell whether the catalog has what the file has, and whatever is new in it comes behind that.

    It does not if it is an older one, put back from a copy: then pictures may have ids that were others' before.
    """
    if now.generation < vectors.stamp.generation or now.dim != vectors.stamp.dim:
        return False
    newer = next(catalog.vectors_after(vectors.stamp.last_id, chunk=1), None)
    if newer and len(vectors) and newer[0][0] <= vectors.ids[-1]:
        return False
    count = len(vectors)
    sample = [
        np.linspace(start, count - 1, min(SAMPLED, count), dtype=int) for start in (0, max(0, count - SAMPLED_LAST))
    ]
    ids, true = catalog.vectors_of(vectors.ids[np.unique(np.concatenate(sample))])
    return np.array_equal(vectors.gather(ids)[1], true, equal_nan=True)


def _update_lists(catalog: CatalogReader, home: IndexHome, now: Stamp, report: Report) -> None:
    """Bring index.faiss up to date, or build it, of the rows of the file of vectors whose pictures are still there."""
    from image_index.training.sample_queries import sample_queries
    from image_index.vectors.build import build_index
    from image_index.vectors.grow import grow_index

    report(Progress("index", 0, now.count))
    vectors = _opened(home, now)
    present = np.full(int(vectors.ids[-1]) + 1, len(vectors) == now.count)
    if not present[0]:  # some pictures are gone
        ids = catalog.ids_matching(Filters())
        present[ids[: np.searchsorted(ids, len(present))]] = True

    def newer(image_id: int) -> Chunks:
        for ids, some in vectors.after(image_id).stored():
            there = present[ids]
            yield ids[there], some[there]

    if not grow_index(home.faiss, now, present, newer):
        build_index(home.faiss, now, partial(newer, 0), lambda: sample_queries(catalog, home))


def _is_stale(built: Stamp, now: Stamp, most: float) -> bool:
    """Tell whether more than `most` vectors are new or gone since a file was built, or the catalog is an older one."""
    new = now.last_id - built.last_id
    gone = built.count + new - now.count
    return now.generation < built.generation or max(new, gone) > most
