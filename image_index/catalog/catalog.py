"""Writing to the catalog: every change of an index is one method here, and one transaction.

A batch is stored as a whole or not at all. Ids are never used twice: an id in a stale derived file may name a picture
that is gone, but never another picture.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import combinations

from image_index.catalog.filters import INSIDE, inside
from image_index.catalog.reader import CatalogReader
from image_index.records import (
    EmbeddedBatch,
    EmbeddedImage,
    Failure,
    ImageFile,
    KnownImage,
    Match,
    ModelFacts,
    OtherName,
    PictureFacts,
)

_NEW_COLUMNS = (*ImageFile._fields, "sha256", "read_at_ns", *PictureFacts._fields)
_INSERT_IMAGE = f"INSERT INTO images ({', '.join(_NEW_COLUMNS)}) VALUES ({', '.join('?' * len(_NEW_COLUMNS))})"
_NAMED_ELSEWHERE = (
    "SELECT id, images.path, names.path FROM images CROSS JOIN names ON main = images.path"
    f" WHERE ({INSIDE.replace('path', 'images.path')}) AND NOT ({INSIDE.replace('path', 'names.path')})"
)
_SELECT_CONTENT = (
    f"SELECT vector, grid, {', '.join(PictureFacts._fields)} FROM images"
    " JOIN vectors ON vectors.image_id = id LEFT JOIN grids ON grids.image_id = id WHERE id = ?"
)


_WORDS_OF_NEW = (
    "INSERT INTO image_words (rowid, path) SELECT id, indexed_words(path) FROM images"
    " WHERE id > (SELECT value FROM meta WHERE key = 'words_up_to_id')",
    "UPDATE meta SET value = (SELECT max(id) FROM images)"
    " WHERE key = 'words_up_to_id' AND value < (SELECT max(id) FROM images)",
)


class Catalog(CatalogReader):
    """An open catalog that is written to. Each method is one transaction."""

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for one write transaction, at the end of which the words of new paths are added."""
        with super().transaction() as connection:
            yield connection
            if self.keeps_words:
                for statement in _WORDS_OF_NEW:
                    connection.execute(statement)

    def rebuild_words(self) -> None:
        """Make the words of the paths anew, whatever is wrong with them."""
        with self.transaction() as connection:
            if self.keeps_words:
                connection.execute("INSERT INTO image_words (image_words) VALUES ('rebuild')")
                connection.execute(_WORDS_OF_NEW[1])

    def set_model(self, facts: ModelFacts) -> None:
        """Store the model; a model with the stored fingerprint only changes its name, as when its directory moved."""
        preprocess = json.dumps(asdict(facts.preprocess))
        row = (facts.name, facts.fingerprint, facts.weights_sha256, facts.config, preprocess, facts.dim)
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO model VALUES (1, ?, ?, ?, ?, ?, ?)", row)
        self._model = None

    def note_scan(self, root: bytes, problem: str | None) -> None:
        """Record that `root` has been scanned, and the problem that kept the scan from being complete."""
        now = int(time.time())
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO roots VALUES (?1, ?2, ?2, ?3)"
                " ON CONFLICT DO UPDATE SET scanned_at_s = ?2, problem = excluded.problem",
                (root, now, problem),
            )

    def mark_missing(self, images: Iterable[KnownImage]) -> None:
        """Mark `images` as missing; their vectors stay, in case the files come back."""
        now = int(time.time())
        with self.transaction() as connection:
            sql = "UPDATE images SET missing_since_s = ? WHERE id = ?"
            connection.executemany(sql, ((now, image.id) for image in images))

    def move(self, matches: Iterable[Match]) -> None:
        """Give each image the path, size and time of its file, which has the same content; it is no longer missing."""
        now = time.time_ns()
        sql = (
            "UPDATE images SET path = ?, size = ?, mtime_ns = ?, inode = ?, read_at_ns = ?, missing_since_s = NULL"
            " WHERE id = ?"
        )
        with self.transaction() as connection:
            for file, image in ((match.file, match.image) for match in matches):
                # `mv new.jpg old.jpg` leaves a row for either path: the content that was at the new path has gone
                _forget_file(connection, file.path, keep_id=image.id)
                connection.execute(sql, (file.path, file.size, file.mtime_ns, file.inode, now, image.id))
                _rename(connection, image.path, file.path)

    def add_names(self, names: Iterable[OtherName]) -> None:
        """Note other names of files; what was known at such a path until now is dropped.

        Names of that path become names of its new `main` too: they are all names of one file.
        """
        with self.transaction() as connection:
            for name in names:
                _forget_file(connection, name.path)
                _rename(connection, name.path, name.main)
                connection.execute("INSERT INTO names VALUES (?, ?)", name)

    def drop_names(self, paths: Iterable[bytes]) -> None:
        """Drop other names: no file is there any more, or another one."""
        with self.transaction() as connection:
            connection.executemany("DELETE FROM names WHERE path = ?", ((path,) for path in paths))

    def note_inodes(self, inodes: Iterable[tuple[int, int]]) -> None:
        """Note the inode of each (image id, inode): a file system may number its files anew."""
        with self.transaction() as connection:
            connection.executemany("UPDATE images SET inode = ?2 WHERE id = ?1", inodes)

    def copy(self, matches: Iterable[Match]) -> None:
        """Add each file as a new image with the vector and the facts of the image that has the same content."""
        now = time.time_ns()
        with self.transaction() as connection:
            for file, image in ((match.file, match.image) for match in matches):
                _forget_file(connection, file.path)
                vector, grid, *picture = connection.execute(_SELECT_CONTENT, (image.id,)).fetchone()
                added = EmbeddedImage(file, image.sha256, now, PictureFacts(*picture), grid)
                _insert_image(connection, added, vector)

    def record(self, batch: EmbeddedBatch, note: Callable[[sqlite3.Connection], None] = lambda _: None) -> None:
        """Store an embedded batch in one transaction; each image replaces what was known of its path.

        `note` writes what belongs to the same transaction.
        """
        now = int(time.time())
        with self.transaction() as connection:
            blobs = batch.vectors.astype("<f2")
            for image, vector in zip(batch.images, blobs, strict=True):
                _forget_file(connection, image.file.path)
                _insert_image(connection, image, vector.tobytes() if vector.any() else None)
            for failure in batch.failures:
                _insert_failure(connection, failure, now)
            note(connection)

    def drop_failures(self, paths: Iterable[bytes]) -> None:
        """Drop the failures of these files."""
        with self.transaction() as connection:
            connection.executemany("DELETE FROM failures WHERE path = ?", ((path,) for path in paths))

    def forget(self, path: bytes) -> int:
        """Drop every image, failure and root at or inside `path`; return the number of images.

        An image that has another name elsewhere goes on under that one.
        """
        with self.transaction() as connection:
            elsewhere = connection.execute(_NAMED_ELSEWHERE, inside(path) * 2).fetchall()
            for image_id, (main, name) in {image_id: names for image_id, *names in reversed(elsewhere)}.items():
                connection.execute("UPDATE images SET path = ? WHERE id = ?", (name, image_id))
                _rename(connection, main, name)
            connection.execute(f"DELETE FROM names WHERE {INSIDE.replace('path', 'main')}", inside(path))
            count = connection.execute(f"DELETE FROM images WHERE {INSIDE}", inside(path)).rowcount
            for table in ("names", "failures", "roots"):
                connection.execute(f"DELETE FROM {table} WHERE {INSIDE}", inside(path))
            _next_generation(connection, count)
        return count

    def prune(self, for_s: int) -> int:
        """Drop the images that have been missing for at least `for_s` seconds; return their number."""
        with self.transaction() as connection:
            limit = int(time.time()) - for_s
            count = connection.execute("DELETE FROM images WHERE missing_since_s <= ?", (limit,)).rowcount
            _next_generation(connection, count)
        return count

    def move_mark(self, name: str, last_id: int) -> None:
        """Record that the searches named `name` have shown the images up to `last_id`; a mark never moves back."""
        sql = (
            "INSERT INTO marks VALUES (?1, ?2, ?3)"
            " ON CONFLICT DO UPDATE SET last_id = max(last_id, ?2), moved_at_s = ?3"
        )
        with self.transaction() as connection:
            connection.execute(sql, (name, last_id, int(time.time())))

    def keep(self, ids: Iterable[int], *, kept: bool = True) -> None:
        """Remember that each two of these images are not to be shown as duplicates, or with `kept=False` forget it.

        Ids that there are no longer are passed over.
        """
        pairs = combinations(sorted(ids), 2)
        both = "SELECT one.id, other.id FROM images AS one, images AS other WHERE one.id = ? AND other.id = ?"
        sql = f"INSERT OR IGNORE INTO kept {both}" if kept else "DELETE FROM kept WHERE one = ? AND other = ?"
        with self.transaction() as connection:
            connection.executemany(sql, pairs)


def _next_generation(connection: sqlite3.Connection, changes: int) -> None:
    """Count images that came or went: derived files of an earlier generation are stale."""
    connection.execute("UPDATE meta SET value = value + ? WHERE key = 'generation'", (changes,))


def _forget_file(connection: sqlite3.Connection, path: bytes, keep_id: int = -1) -> None:
    """Drop what is known of the file at `path`, but not the row `keep_id`: something newer takes its place."""
    gone = connection.execute("DELETE FROM images WHERE path = ? AND id != ?", (path, keep_id)).rowcount
    _next_generation(connection, gone)
    for table in ("failures", "names"):
        connection.execute(f"DELETE FROM {table} WHERE path = ?", (path,))


def _rename(connection: sqlite3.Connection, old: bytes, new: bytes) -> None:
    """Make the other names of `old` names of `new`, which itself is no other name any more."""
    if old != new:
        connection.execute("DELETE FROM names WHERE path = ?", (new,))
        connection.execute("UPDATE names SET main = ? WHERE main = ?", (new, old))


def _insert_image(connection: sqlite3.Connection, image: EmbeddedImage, vector: bytes | None) -> None:
    """Insert an image, its vector, float16, and its grid under a new id."""
    row = (*image.file, image.sha256, image.read_at_ns, *image.picture)
    cursor = connection.execute(_INSERT_IMAGE, row)
    connection.execute("INSERT INTO vectors VALUES (?, ?)", (cursor.lastrowid, vector))
    if image.grid is not None:
        connection.execute("INSERT INTO grids VALUES (?, ?)", (cursor.lastrowid, image.grid))
    _next_generation(connection, 1)


def _insert_failure(connection: sqlite3.Connection, failure: Failure, now_s: int) -> None:
    """Store a failure and count its attempts; an image at that path is marked as missing.

    That image is older content, which the file no longer has: its vector stays, for the content may come back.
    """
    file = failure.file
    connection.execute(
        "INSERT INTO failures VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?6) ON CONFLICT DO UPDATE SET size = ?2,"
        " mtime_ns = ?3, stage = ?4, reason = ?5, attempts = attempts + 1, last_failed_at_s = ?6",
        (file.path, file.size, file.mtime_ns, str(failure.stage), failure.reason, now_s),
    )
    missing = "UPDATE images SET missing_since_s = coalesce(missing_since_s, ?) WHERE path = ?"
    connection.execute(missing, (now_s, file.path))
    connection.execute("DELETE FROM names WHERE path = ?", (file.path,))
