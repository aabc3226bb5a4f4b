"""Rebuilds the files derived from the catalog's vectors when they are too far behind; only a train does, no search.

    index.faiss   everything up to some id                           rebuilt when a twentieth of it is new or gone
    moments.f32   mean and covariance of the same vectors            rebuilt with it
    tail.faiss    the rows newer than that, beside a large index     rebuilt when a thousand are newer still
    the catalog   those thousand; every search compares them one by one

So a train that adds a hundred pictures to a million writes no FAISS file, or one of 50 MB.
"""

from __future__ import annotations

from image_index.catalog.reader import CatalogReader
from image_index.records import Progress, Report, Stamp
from image_index.settings import IndexHome
from image_index.vectors.derived_file import FLAT_LIMIT, state
from image_index.vectors.moments import measure, write_moments

SMALL_INDEX = 20_000
"""Up to as many vectors index.faiss is rebuilt after every change: it takes 0.1 s."""

STALE_FRACTION = 0.05
"""A larger one is rebuilt once this share of it is new or gone, or once as many are new as a flat tail can hold."""

CHECKED_BYTES = 64 << 20
"""So many bytes of each file are checked after a train, drawn by lot: 0.03 s. `imgidx verify` reads all of them."""

SCAN_LIMIT = 1000
"""How many rows a search reads from the catalog at most, beside a large index: it takes 3 ms."""


def build_if_stale(catalog: CatalogReader, home: IndexHome, report: Report, *, thorough: bool = True) -> None:
    """Rebuild the derived files that are missing, damaged, or too far behind the catalog.

    `thorough=False` checks of a large file only what a search checks; otherwise a share of it is checked, see `state`.
    """
    now = catalog.stamp()
    built, moments, tail = (
        state(path, now.catalog_id, thorough=thorough, at_most=CHECKED_BYTES)[1]
        for path in (home.faiss, home.moments, home.tail)
    )
    if built is None and not now.count:
        return
    if built is None or _is_stale(built.stamp, now):
        rebuild(catalog, home, report)
        return
    if moments is None:
        build_moments(catalog, home, now)
    after = built.stamp.last_id
    covered = tail.stamp.last_id if tail and tail.after == after else after
    if now.last_id - covered > SCAN_LIMIT:
        from image_index.vectors.build import build_tail

        report(Progress("index", 0, now.last_id - after))
        build_tail(home.tail, now, after, lambda: catalog.vectors_after(after))


def rebuild(catalog: CatalogReader, home: IndexHome, report: Report = lambda _: None) -> None:
    """Write index.faiss and the moments anew, of everything that the catalog holds; then there is no tail."""
    from image_index.training.sample_queries import sample_queries
    from image_index.vectors.build import build_index

    now = catalog.stamp()
    report(Progress("index", 0, now.count))
    build_index(home.faiss, now, lambda: catalog.vectors_after(0), lambda: sample_queries(catalog, home))
    home.tail.unlink(missing_ok=True)
    build_moments(catalog, home, now)


def build_moments(catalog: CatalogReader, home: IndexHome, now: Stamp) -> None:
    """Write the moments of all vectors that the catalog holds."""
    write_moments(home.moments, now, measure(catalog.vectors_after(0), now.count, now.dim))


def _is_stale(built: Stamp, now: Stamp) -> bool:
    """Tell whether index.faiss is further behind the catalog than a search should compensate for."""
    new = now.last_id - built.last_id
    gone = built.count + new - now.count
    if new < 0 or now.generation < built.generation:  # the catalog is an older one, put back from a copy
        return True
    if now.count <= SMALL_INDEX:
        return now.generation != built.generation
    return max(new, gone) > min(STALE_FRACTION * now.count, FLAT_LIMIT)
