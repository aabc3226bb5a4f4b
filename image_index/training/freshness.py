"""Brings the files derived from the catalog's vectors up to date; only a train does, no search.

    vectors.f16   all vectors; new ones are appended             written anew when a quarter of its rows are gone
    moments.f32   their mean and covariance                      measured anew when a twentieth of them is new or gone
    index.faiss   inverted lists, in a large library alone       built anew when a twentieth of them is new or gone

So a train that adds a hundred pictures to a million writes a tenth of a megabyte. What is newer than the lists, a
search compares one by one with the vectors; what a killed train has not appended, with the catalog.
"""

from __future__ import annotations

import numpy as np

from image_index.catalog.reader import CatalogReader
from image_index.errors import StorageError
from image_index.files.atomic import remove
from image_index.records import Progress, Report, Stamp
from image_index.settings import IndexHome
from image_index.vectors.derived_file import FLAT_LIMIT, state
from image_index.vectors.moments import SAMPLE, measure, write_moments
from image_index.vectors.vector_file import VectorFile, append_vectors, open_vectors, vectors_state, write_vectors

SMALL_INDEX = 20_000
"""Up to as many vectors the moments are measured after every change: it takes 0.1 s."""

STALE_FRACTION = 0.05
"""Those of a larger index, and its lists, are made anew once this share is new or gone, or `FLAT_LIMIT` vectors are."""

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
    if moments is None or _is_stale(moments.stamp, now):
        build_moments(home, now)
    if now.count <= FLAT_LIMIT:
        _remove_lists(home)
    elif lists is None or not lists.trained_on or _is_stale(lists.stamp, now):
        _build_lists(catalog, home, now, report)


def rebuild(catalog: CatalogReader, home: IndexHome, report: Report = lambda _: None) -> None:
    """Write all files anew, of everything that the catalog holds."""
    now = catalog.stamp()
    report(Progress("index", 0, now.count))
    write_vectors(home, now, catalog.vectors_after(0))
    build_moments(home, now)
    if now.count <= FLAT_LIMIT:
        _remove_lists(home)
    else:
        _build_lists(catalog, home, now, report)


def build_moments(home: IndexHome, now: Stamp) -> None:
    """Write the moments of the vectors in the file."""
    vectors = _opened(home, now)
    step = max(1, len(vectors) // SAMPLE)
    write_moments(home.moments, now, measure(vectors.chunks(step), SAMPLE, now.dim))


def _update_vectors(catalog: CatalogReader, home: IndexHome, now: Stamp, report: Report, *, thorough: bool) -> None:
    """Append new vectors to the file, or write it anew."""
    table = vectors_state(home, now.catalog_id, thorough=thorough, at_most=CHECKED_BYTES)[1]
    if table is not None and table.stamp == now:
        return
    if table is not None and _goes_on(catalog, _opened(home, now), now):
        report(Progress("index", 0, max(0, now.last_id - table.stamp.last_id)))
        append_vectors(home, table, now, catalog.vectors_after(table.stamp.last_id))
        rows = len(_opened(home, now))
        if rows - now.count <= max(GONE_ROWS, GONE_FRACTION * rows):
            return
    report(Progress("index", 0, now.count))
    write_vectors(home, now, catalog.vectors_after(0))


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


def _build_lists(catalog: CatalogReader, home: IndexHome, now: Stamp, report: Report) -> None:
    """Write index.faiss anew, of the rows of the file of vectors."""
    from image_index.training.sample_queries import sample_queries
    from image_index.vectors.build import build_index

    report(Progress("index", 0, now.count))
    if len(_opened(home, now)) != now.count:  # lists hold nothing that is gone
        write_vectors(home, now, catalog.vectors_after(0))
    vectors = _opened(home, now)
    build_index(home.faiss, now, vectors.chunks, lambda: sample_queries(catalog, home))
    remove(home.tail)


def _remove_lists(home: IndexHome) -> None:
    """Remove the lists of a library that is searched without."""
    remove(home.faiss)
    remove(home.tail)


def _is_stale(built: Stamp, now: Stamp) -> bool:
    """Tell whether a file is further behind the catalog than a search should compensate for."""
    new = now.last_id - built.last_id
    gone = built.count + new - now.count
    if new < 0 or now.generation < built.generation:  # the catalog is an older one, put back from a copy
        return True
    if now.count <= SMALL_INDEX:
        return now.generation != built.generation
    return max(new, gone) > min(STALE_FRACTION * now.count, FLAT_LIMIT)
