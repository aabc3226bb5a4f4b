"""What a catalog says of itself, its roots, runs and failures, and of images to whoever plans; nothing here writes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from image_index.catalog.schema import (
    copy_database,
    damaged,
    open_database,
    open_untouched,
    storage_errors,
    version_of,
)
from image_index.paths import below, path_range
from image_index.records import (
    Counts,
    Failure,
    ImageFile,
    KnownFailure,
    KnownImage,
    ModelFacts,
    Preprocess,
    Root,
    Stage,
    Stamp,
)

_KNOWN = "SELECT id, path, size, mtime_ns, sha256, read_at_ns, missing_since_s IS NOT NULL FROM images"
_BELOW = "path >= ? AND path < ?"

ROWS_AT_A_TIME = 256
"""How many rows are fetched in one go: one at a time takes twice as long."""


class CatalogReader:
    """An open catalog, to be read; use it as a context manager. Errors of SQLite surface as `StorageError`."""

    def __init__(self, path: Path, *, write: bool = False) -> None:
        """Open the catalog at `path`; only `write` creates one where there is none."""
        self._path = path
        self._connection = open_database(path, write=write)

    @classmethod
    def untouched(cls, path: Path) -> Self:
        """Open the catalog at `path` without writing a byte to it or beside it; its schema may be an older one."""
        reader = cls.__new__(cls)
        reader._path, reader._connection = path, open_untouched(path)
        return reader

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Any]:
        """Yield the rows of a query."""
        with storage_errors(self._path):
            cursor = self._connection.execute(sql, parameters)
            while rows := cursor.fetchmany(ROWS_AT_A_TIME):
                yield from rows

    def _one(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Return the first row of a query, or None."""
        with storage_errors(self._path):
            return self._connection.execute(sql, parameters).fetchone()

    @contextmanager
    def _true_values(self) -> Iterator[None]:
        """Report values that nobody wrote, as a flipped bit leaves them, as damage."""
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise damaged(self._path, f"{type(error).__name__}: {error}") from error

    # The model and the roots

    @property
    def model(self) -> ModelFacts | None:
        """The model all vectors were made with; None in an index that holds nothing yet."""
        row = self._one("SELECT name, weights_sha256, config, preprocess, dim FROM model")
        if row is None:
            return None
        with self._true_values():
            stored: dict[str, Any] = json.loads(row[3])
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
            preprocess = Preprocess(**values)
        return ModelFacts(row[0], row[1], row[2], preprocess, row[4])

    def roots(self) -> list[Root]:
        """Return the roots in path order."""
        return [Root(*row) for row in self._rows("SELECT path, scanned_at_s, problem FROM roots ORDER BY path")]

    # Images, for planning

    def known(self, root: bytes, others: Iterable[bytes] = ()) -> Iterator[KnownImage]:
        """Yield the rows of `root` (the file itself, or all inside it) in path order, less those of `others`."""
        # one walk of the index each, merged: for an OR, SQLite would collect and sort all rows first
        sql = f"{_KNOWN} WHERE path = ? UNION ALL {_KNOWN} WHERE {_BELOW} ORDER BY path"
        rows = self._rows(sql, (root, *path_range(root)))
        images = map(KnownImage._make, rows)
        apart = tuple(below(other) for other in others if other != root)
        return (image for image in images if not below(image.path).startswith(apart)) if apart else images

    def missing_images(self) -> Iterator[KnownImage]:
        """Yield the rows whose file is gone."""
        for row in self._rows(f"{_KNOWN} WHERE missing_since_s IS NOT NULL"):
            yield KnownImage(*row)

    def images_of_size(self, sizes: Iterable[int]) -> Iterator[KnownImage]:
        """Yield the rows whose file has one of `sizes` (bytes)."""
        for size in sizes:
            for row in self._rows(f"{_KNOWN} WHERE size = ?", (size,)):
                yield KnownImage(*row)

    def image_at(self, path: bytes) -> KnownImage | None:
        """Return the row of `path`, if there is one."""
        row = self._one(f"{_KNOWN} WHERE path = ?", (path,))
        return KnownImage(*row) if row else None

    def times_at(self, path: bytes) -> tuple[int, int | None] | None:
        """Return when the image at `path` was read (ns) and since when it is missing (s), if there is one."""
        row = self._one("SELECT read_at_ns, missing_since_s FROM images WHERE path = ?", (path,))
        return row and (row[0], row[1])

    def knows(self, path: bytes) -> bool:
        """Tell whether anything at or inside `path` is known: an image, a failure or a root."""
        parameters = (path, *path_range(path))
        tables = ("images", "failures", "roots")
        return any(self._one(f"SELECT 1 FROM {table} WHERE path = ? OR {_BELOW}", parameters) for table in tables)

    # Failures

    def failures(self) -> Iterator[KnownFailure]:
        """Yield every known failure in path order."""
        return map(self._failure, self._rows("SELECT * FROM failures ORDER BY path"))

    def failure_at(self, path: bytes) -> KnownFailure | None:
        """Return the failure of the file at `path`, if there is one."""
        row = self._one("SELECT * FROM failures WHERE path = ?", (path,))
        return self._failure(row) if row else None

    def _failure(self, row: Sequence[Any]) -> KnownFailure:
        """Return what a row of failures says."""
        path, size, mtime_ns, stage, reason, *times = row
        with self._true_values():
            return KnownFailure(Failure(ImageFile(path, size, mtime_ns), Stage(stage), reason), *times)

    def failed_below(self, root: bytes) -> dict[bytes, tuple[int, int]]:
        """Return the size and mtime_ns, by path, of the files of `root` that failed."""
        sql = f"SELECT path, size, mtime_ns FROM failures WHERE path = ? OR {_BELOW}"
        return {path: (size, mtime_ns) for path, size, mtime_ns in self._rows(sql, (root, *path_range(root)))}

    # What the vectors are

    @property
    def catalog_id(self) -> str:
        """What tells this catalog from all others."""
        return str(self._one("SELECT value FROM meta WHERE key = 'catalog_id'")[0])

    def stamp(self) -> Stamp:
        """Return what the vectors are now."""
        meta, model = dict(self._rows("SELECT key, value FROM meta")), self.model
        last_id, count = self._one("SELECT coalesce(max(id), 0), count(*) FROM images")  # one vector each
        with self._true_values():
            return Stamp(meta["catalog_id"], int(meta["generation"]), last_id, count, model.dim if model else 0)

    # Checks and copies

    def integrity_problems(self) -> Iterator[str]:
        """Yield what SQLite finds wrong with the file, or else images without vector and the other way round."""
        damage = [row[0] for row in self._rows("PRAGMA integrity_check") if row[0] != "ok"]
        yield from damage
        if damage:
            return
        lonely = "SELECT count(*) FROM images WHERE id NOT IN (SELECT image_id FROM vectors)"
        orphans = "SELECT count(*) FROM vectors WHERE image_id NOT IN (SELECT id FROM images)"
        for sql, what in ((lonely, "images have no vector"), (orphans, "vectors have no image")):
            (count,) = self._one(sql)
            if count:
                yield f"{count} {what}"

    def count_odd_vectors(self, dim: int) -> int:
        """Return how many vectors do not have `dim` dimensions."""
        return int(self._one("SELECT count(*) FROM vectors WHERE length(vector) != ?", (2 * dim,))[0])

    def count_missing(self, for_s: int) -> int:
        """Return how many images have been missing for at least `for_s` seconds."""
        sql = "SELECT count(*) FROM images WHERE missing_since_s <= ?"
        return int(self._one(sql, (int(time.time()) - for_s,))[0])

    def copy_to(self, path: Path) -> None:
        """Write a consistent copy of the catalog to a new file at `path`, whoever writes to it meanwhile."""
        with storage_errors(self._path):
            copy_database(self._connection, path)

    # Status

    @property
    def schema(self) -> int:
        """How many migrations the catalog has seen."""
        with storage_errors(self._path):
            return version_of(self._connection)

    def holds_pictures(self) -> bool:
        """Tell whether there is any image that is not missing; unlike `counts`, without reading all rows."""
        return self._one("SELECT 1 FROM images WHERE missing_since_s IS NULL LIMIT 1") is not None

    def counts(self) -> Counts:
        """Return how many pictures, missing pictures and failures there are; `images` does not count missing ones."""
        total, missing, failures = self._one(  # the partial index counts the missing; a scan of all rows would be slow
            "SELECT (SELECT count(*) FROM images), (SELECT count(*) FROM images WHERE missing_since_s IS NOT NULL),"
            " (SELECT count(*) FROM failures)"
        )
        return Counts(total - missing, missing, failures)

    def last_run(self) -> dict[str, Any] | None:
        """Return the newest run: `started_at_s`, `ended_at_s`, `outcome`, `error`, and the keys of its summary."""
        row = self._one("SELECT started_at_s, ended_at_s, outcome, summary FROM runs ORDER BY id DESC")
        with self._true_values():
            if row is None:
                return None
            times = {"started_at_s": row[0], "ended_at_s": row[1]}
            return {**times, "outcome": row[2], "error": None, **json.loads(row[3])}
