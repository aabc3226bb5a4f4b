"""What is done to an index on purpose: rows forgotten, rows long missing dropped, a copy made.

Nothing else ever deletes what is known of a picture.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from image_index.catalog.catalog import Catalog
from image_index.catalog.lock import exclusive_lock
from image_index.errors import StorageError, UsageError
from image_index.files.atomic import remove, replacing_directory, replacing_file
from image_index.paths import AnyPath, printable
from image_index.settings import IndexHome
from image_index.vectors.vector_file import copy_vectors


def forget(home: IndexHome, named: tuple[AnyPath, ...], *, dry_run: bool = False) -> int:
    """Drop everything known at or inside each path that is `named`, as roots too; return how many pictures that were.

    Raises `UsageError`, and drops nothing, where the index knows nothing of one of them.
    """
    with Catalog(home.catalog) as catalog:
        paths = tuple(map(catalog.known_path, named))
        unknown = [path for path in paths if not catalog.knows(path)]
        count = len(catalog.ids_under(*paths))
    if unknown:
        raise UsageError(f"the index knows nothing of {printable(unknown[0])}", "imgidx status lists its roots")
    if not dry_run:
        with exclusive_lock(home.lock), Catalog(home.catalog, write=True) as catalog:
            count = sum(catalog.forget(path) for path in paths)
        remove(home.thumbnails)  # which must not show any more what was dropped on purpose
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
    `destination` already holds something, and `StorageError`, leaving no half copy, where the disk refuses.
    """
    copy = IndexHome(destination.absolute())
    if destination.exists() and not (destination.is_dir() and not any(destination.iterdir())):
        raise UsageError(f"{destination} is not an empty directory", "name a new directory for the backup")
    with Catalog(home.catalog) as catalog:
        copy.create()
        try:
            copy_vectors(home, copy)  # first: a derived file may be older than its catalog, never newer
            _copy_file(home.faiss, copy.faiss)
            _copy_file(home.moments, copy.moments)
            _copy_directory(home.towers, copy.towers)
            with replacing_file(copy.catalog) as draft:  # last: without a catalog it is no index
                catalog.copy_to(draft)
        except (OSError, StorageError) as error:
            for path in (*copy.vector_files, copy.faiss, copy.moments, copy.towers):
                remove(path)
            cause, step = (error.strerror, "") if isinstance(error, OSError) else (error.problem, error.next_step)
            raise StorageError(f"cannot write the backup {destination}: {cause}", step) from error
    return copy


def _copy_directory(source: Path, destination: Path) -> None:
    """Copy the files of a directory, where there is one: the copy can be searched at once, also without the model."""
    with suppress(FileNotFoundError):  # a train may just be replacing it; a copy of half of it is not believed
        names = [path.name for path in source.iterdir()]
        with replacing_directory(destination) as draft:
            for name in names:
                _copy_file(source / name, draft / name)


def _copy_file(source: Path, destination: Path) -> None:
    """Copy a file, where there is one, to a new file that only its owner can read; its modification time stays."""
    with suppress(FileNotFoundError), source.open("rb") as file, replacing_file(destination) as draft:
        with draft.open("r+b") as copy:
            shutil.copyfileobj(file, copy)
        status = os.stat(file.fileno())
        os.utime(draft, ns=(status.st_atime_ns, status.st_mtime_ns))
