"""What is done to an index on purpose: rows forgotten, rows long missing dropped, a copy made.

Nothing else ever deletes what is known of a picture.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from image_index.catalog import Catalog
from image_index.errors import StorageError, UsageError
from image_index.lock import exclusive_lock
from image_index.paths import printable
from image_index.settings import IndexHome


def forget(home: IndexHome, paths: tuple[bytes, ...], *, dry_run: bool = False) -> int:
    """Drop everything known at or inside each of `paths`, as roots too; return how many pictures that were.

    Raises `UsageError`, and drops nothing, where the index knows nothing of one of them.
    """
    with Catalog(home.catalog) as catalog:
        unknown = [path for path in paths if not catalog.knows(path)]
        count = sum(len(catalog.ids_under(path)) for path in paths)
    if unknown:
        raise UsageError(f"the index knows nothing of {printable(unknown[0])}; imgidx status lists its roots")
    if not dry_run:
        with exclusive_lock(home.lock), Catalog(home.catalog, write=True) as catalog:
            count = sum(catalog.forget(path) for path in paths)
    return count


def prune(home: IndexHome, missing_for_s: float, *, dry_run: bool = False) -> int:
    """Drop the pictures whose file has been missing for at least `missing_for_s` seconds; return how many."""
    if dry_run:
        with Catalog(home.catalog) as catalog:
            return catalog.count_missing(int(missing_for_s))
    with Catalog(home.catalog), exclusive_lock(home.lock), Catalog(home.catalog, write=True) as catalog:
        return catalog.prune(int(missing_for_s))


def backup(home: IndexHome, destination: Path) -> IndexHome:
    """Copy the index to a new index home at `destination`; a train may run meanwhile. Return the copy's home.

    The copy is consistent, of one moment, and can be used at once with --index. Raises `UsageError` where
    `destination` already holds something.
    """
    copy = IndexHome(destination.absolute())
    if destination.exists() and any(destination.iterdir()):
        raise UsageError(f"{destination} is not empty; name a new directory for the backup")
    with Catalog(home.catalog) as catalog:
        copy.create()
        try:
            if home.faiss.exists():  # before the catalog: a FAISS file may be older than its catalog, never newer
                shutil.copy(home.faiss, copy.faiss)
            draft = copy.path / "catalog.tmp"
            catalog.copy_to(draft)
            draft.rename(copy.catalog)
        except OSError as error:
            raise StorageError(f"cannot write the backup {destination}: {error.strerror}") from error
    return copy
