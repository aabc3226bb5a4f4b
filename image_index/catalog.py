"""The catalog: every fact of an index, in SQLite. One transaction per batch; ids are never used twice."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np

from image_index.paths import below, path_range
from image_index.records import (
    Counts,
    EmbeddedBatch,
    Failure,
    Ids,
    ImageFile,
    KnownFailure,
    KnownImage,
    Match,
    ModelFacts,
    Preprocess,
    Root,
    Stage,
    Stamp,
    Vectors,
)
from image_index.schema import atomic, open_database, storage_errors

_KNOWN = "SELECT id, path, size, mtime_ns, sha256, read_at_ns, missing_since_s IS NOT NULL FROM images"
_BELOW = "path >= ? AND path < ?"


class Catalog:
    """An open catalog; use it as a context manager. Errors of SQLite surface as `StorageError`."""

    def __init__(self, path: Path, *, write: bool = False) -> None:
        """Open the catalog at `path`; only `write` creates one where there is none."""
        self._path = path
        self._connection = open_database(path, write=write)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Any]:
        """Yield the rows of a query."""
        with storage_errors(self._path):
            yield from self._connection.execute(sql, parameters)

    def _one(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Return the first row of a query, or None."""
        with storage_errors(self._path):
            return self._connection.execute(sql, parameters).fetchone()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for one write transaction."""
        with storage_errors(self._path), atomic(self._connection):
            yield self._connection

    # The model

    @property
    def model(self) -> ModelFacts | None:
        """The model all vectors were made with; None in an index that holds nothing yet."""
        row = self._one("SELECT name, weights_sha256, config, preprocess, dim FROM model")
        if row is None:
            return None
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(row[3]).items()}
        return ModelFacts(row[0], row[1], row[2], Preprocess(**values), row[4])

    def set_model(self, facts: ModelFacts) -> None:
        """Store the model; for a model of the same fingerprint this only changes the name it is found by."""
        preprocess = json.dumps(asdict(facts.preprocess))
        row = (facts.name, facts.fingerprint, facts.weights_sha256, facts.config, preprocess, facts.dim)
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO model VALUES (1, ?, ?, ?, ?, ?, ?)", row)

    # Roots

    def roots(self) -> list[Root]:
        """Return the roots in path order."""
        return [Root(*row) for row in self._rows("SELECT path, scanned_at_s, problem FROM roots ORDER BY path")]

    def note_scan(self, root: bytes, problem: str | None) -> None:
        """Record that `root` has been scanned, and what kept the scan from being complete."""
        now = int(time.time())
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO roots VALUES (?1, ?2, ?2, ?3)"
                " ON CONFLICT DO UPDATE SET scanned_at_s = ?2, problem = excluded.problem",
                (root, now, problem),
            )

    # Images, for planning

    def known(self, root: bytes, others: Iterable[bytes] = ()) -> Iterator[KnownImage]:
        """Yield the rows of `root` (the file itself, or all inside it) in path order, less those of `others`."""
        apart = [(other, below(other)) for other in others if other != root]
        for row in self._rows(f"{_KNOWN} WHERE path = ? OR {_BELOW} ORDER BY path", (root, *path_range(root))):
            image = KnownImage(*row)
            if not any(image.path == other or image.path.startswith(prefix) for other, prefix in apart):
                yield image

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

    # Changes

    def mark_missing(self, images: Iterable[KnownImage]) -> None:
        """Note that the files of `images` are gone; their vectors stay."""
        now = int(time.time())
        with self._transaction() as connection:
            sql = "UPDATE images SET missing_since_s = ? WHERE id = ?"
            connection.executemany(sql, ((now, image.id) for image in images))

    def move(self, matches: Iterable[Match]) -> None:
        """Give each image the path, size and time of its file, which holds the same content; it is there (again)."""
        now = time.time_ns()
        sql = "UPDATE images SET path = ?, size = ?, mtime_ns = ?, read_at_ns = ?, missing_since_s = NULL WHERE id = ?"
        with self._transaction() as connection:
            for file, image in ((match.file, match.image) for match in matches):
                _forget_file(connection, file.path, keep_id=image.id)
                connection.execute(sql, (file.path, file.size, file.mtime_ns, now, image.id))

    def copy(self, matches: Iterable[Match]) -> None:
        """Add each file as a new image with the content facts and the vector of the image it equals."""
        now = time.time_ns()
        with self._transaction() as connection:
            for file, image in ((match.file, match.image) for match in matches):
                _forget_file(connection, file.path)
                sql = "SELECT width, height, format, vector FROM images JOIN vectors ON image_id = id WHERE id = ?"
                *shape, vector = connection.execute(sql, (image.id,)).fetchone()
                _insert_image(connection, (file.path, file.size, file.mtime_ns, image.sha256, now, *shape), vector)
            _next_generation(connection)

    def record(self, batch: EmbeddedBatch) -> None:
        """Store an embedded batch in one transaction; each image replaces what was known of its path."""
        now = int(time.time())
        with self._transaction() as connection:
            blobs = batch.vectors.astype("<f2")
            for image, vector in zip(batch.images, blobs, strict=True):
                _forget_file(connection, image.file.path)
                file, shape = image.file, (image.width, image.height, image.format)
                row = (file.path, file.size, file.mtime_ns, image.sha256, image.read_at_ns, *shape)
                _insert_image(connection, row, vector.tobytes())
            for failure in batch.failures:
                _insert_failure(connection, failure, now)
            if batch.images:
                _next_generation(connection)

    # Failures

    def failures(self) -> Iterator[KnownFailure]:
        """Yield every known failure in path order."""
        for path, size, mtime_ns, stage, reason, *times in self._rows("SELECT * FROM failures ORDER BY path"):
            failure = Failure(ImageFile(path, size, mtime_ns), Stage(stage), reason)
            yield KnownFailure(failure, *times)

    def failed_below(self, root: bytes) -> dict[bytes, tuple[int, int]]:
        """Return the size and mtime_ns, by path, of the files of `root` that failed."""
        sql = f"SELECT path, size, mtime_ns FROM failures WHERE path = ? OR {_BELOW}"
        rows = self._rows(sql, (root, *path_range(root)))
        return {path: (size, mtime_ns) for path, size, mtime_ns in rows}

    def drop_failures(self, paths: Iterable[bytes]) -> None:
        """Forget the failures of files that are gone."""
        with self._transaction() as connection:
            connection.executemany("DELETE FROM failures WHERE path = ?", ((path,) for path in paths))

    # Vectors

    def stamp(self) -> Stamp:
        """Return what the vectors are now."""
        meta, model = dict(self._rows("SELECT key, value FROM meta")), self.model
        last_id, count = self._one("SELECT coalesce(max(id), 0), count(*) FROM images")  # one vector each
        return Stamp(meta["catalog_id"], meta["generation"], last_id, count, model.dim if model else 0)

    def vectors_after(
        self, image_id: int, under: bytes | None = None, *, present: bool = False, chunk: int = 8192
    ) -> Iterator[tuple[Ids, Vectors]]:
        """Yield ids (n,) and float32 vectors (n, D) of the images newer than `image_id`, in order of their ids.

        `under` limits them to a directory or file, `present` to those that are not missing.
        """
        conditions = ["image_id > ?"]
        parameters: list[int | bytes] = [image_id]
        if present:
            conditions.append("missing_since_s IS NULL")
        if under is not None:
            conditions.append(f"(path = ? OR {_BELOW})")
            parameters += [under, *path_range(under)]
        cursor = self._rows(
            "SELECT image_id, vector FROM vectors JOIN images ON id = image_id"
            f" WHERE {' AND '.join(conditions)} ORDER BY image_id",
            parameters,
        )
        while rows := list(islice(cursor, chunk)):
            yield _to_arrays(rows)

    def vectors_of(self, ids: Sequence[int]) -> tuple[Ids, Vectors]:
        """Return the ids among `ids` that exist, with their float32 vectors."""
        query = "SELECT image_id, vector FROM vectors WHERE image_id = ?"
        return _to_arrays([row for row in (self._one(query, (image_id,)) for image_id in ids) if row])

    def ids_under(self, directory: bytes) -> Ids:
        """Return the ids of the images at or inside `directory`."""
        rows = self._rows(f"SELECT id FROM images WHERE path = ? OR {_BELOW}", (directory, *path_range(directory)))
        return np.fromiter((row[0] for row in rows), dtype=np.int64)

    def present_paths(self, ids: Iterable[int]) -> dict[int, bytes]:
        """Return the paths, by id, of those images that exist and are not missing."""
        query = "SELECT path FROM images WHERE id = ? AND missing_since_s IS NULL"
        found = ((image_id, self._one(query, (image_id,))) for image_id in ids)
        return {image_id: row[0] for image_id, row in found if row}

    # Status

    def counts(self) -> Counts:
        """Return how many pictures, missing pictures and failures there are; `images` does not count missing ones."""
        total, missing, failures = self._one(  # the partial index counts the missing; a scan of all rows would be slow
            "SELECT (SELECT count(*) FROM images), (SELECT count(*) FROM images WHERE missing_since_s IS NOT NULL),"
            " (SELECT count(*) FROM failures)"
        )
        return Counts(total - missing, missing, failures)

    def start_run(self) -> int:
        """Record that a run has begun; one that is killed stays `running`."""
        with self._transaction() as connection:
            sql = "INSERT INTO runs (started_at_s, outcome, summary) VALUES (?, 'running', '{}')"
            return int(connection.execute(sql, (int(time.time()),)).lastrowid or 0)

    def finish_run(self, run: int, outcome: str, summary: Mapping[str, Any]) -> None:
        """Record how a run ended."""
        with self._transaction() as connection:
            sql = "UPDATE runs SET ended_at_s = ?, outcome = ?, summary = ? WHERE id = ?"
            connection.execute(sql, (int(time.time()), outcome, json.dumps(summary), run))

    def last_run(self) -> dict[str, Any] | None:
        """Return the newest run: `started_at_s`, `ended_at_s`, `outcome`, and the keys of its summary."""
        row = self._one("SELECT started_at_s, ended_at_s, outcome, summary FROM runs ORDER BY id DESC")
        return row and {"started_at_s": row[0], "ended_at_s": row[1], "outcome": row[2], **json.loads(row[3])}


def _to_arrays(rows: list[tuple[int, bytes]]) -> tuple[Ids, Vectors]:
    """Return the ids (n,) and float32 vectors (n, D) of (id, float16 blob) rows."""
    ids = np.array([row[0] for row in rows], dtype=np.int64)
    flat = np.frombuffer(b"".join(row[1] for row in rows), dtype="<f2")
    return ids, flat.reshape(len(rows), -1 if rows else 0).astype(np.float32)


def _next_generation(connection: sqlite3.Connection) -> None:
    """Note that the set of vectors has changed."""
    connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")


def _forget_file(connection: sqlite3.Connection, path: bytes, keep_id: int = -1) -> None:
    """Drop what is known of `path`, but not the row `keep_id`: something newer takes its place."""
    connection.execute("DELETE FROM images WHERE path = ? AND id != ?", (path, keep_id))
    connection.execute("DELETE FROM failures WHERE path = ?", (path,))


def _insert_image(connection: sqlite3.Connection, row: tuple[Any, ...], vector: bytes) -> None:
    """Insert an image and its vector under a new id."""
    columns = "path, size, mtime_ns, sha256, read_at_ns, width, height, format"
    cursor = connection.execute(f"INSERT INTO images ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    connection.execute("INSERT INTO vectors VALUES (?, ?)", (cursor.lastrowid, vector))


def _insert_failure(connection: sqlite3.Connection, failure: Failure, now_s: int) -> None:
    """Remember a failure, counting the attempts; a row of older content at that path is no longer true."""
    file = failure.file
    connection.execute(
        "INSERT INTO failures VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?6) ON CONFLICT DO UPDATE SET size = ?2,"
        " mtime_ns = ?3, stage = ?4, reason = ?5, attempts = attempts + 1, last_failed_at_s = ?6",
        (file.path, file.size, file.mtime_ns, str(failure.stage), failure.reason, now_s),
    )
    missing = "UPDATE images SET missing_since_s = coalesce(missing_since_s, ?) WHERE path = ?"
    connection.execute(missing, (now_s, file.path))
