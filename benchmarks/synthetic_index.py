"""An index of synthetic pictures of any size, filled in minutes: 40 µs a picture, ten million in seven minutes.

A directory holds the index, a float16 file of its vectors, whose row r is that of image r + 1, and one more file: the
only one of its pictures that is there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from synthetic_rows import COLUMNS, MARKS, pictures
from vectors import Array

from image_index.catalog.catalog import Catalog
from image_index.records import ModelFacts, Preprocess
from image_index.settings import IndexHome

AT_ONCE = 8192
"""Pictures a transaction; the pages of their rows and of their vectors take turns in the file, as after a training."""

FAST = ("journal_mode = OFF", "synchronous = OFF", "cache_size = -100000", "foreign_keys = OFF")
"""An index that a killed run leaves half filled is made anew, so nothing has to be written twice or waited for."""


@dataclass(frozen=True, slots=True)
class SyntheticIndex:
    """A directory with an index of `dim` dimensions and what it was made of."""

    path: Path
    dim: int

    @property
    def home(self) -> IndexHome:
        """The index itself."""
        return IndexHome(self.path / "index")

    @property
    def vectors_file(self) -> Path:
        """All vectors as little-endian float16, one after the other, without a header."""
        return self.path / "vectors.f16"

    @property
    def picture(self) -> Path:
        """A file that the catalog knows as image 1: the query of `imgidx search --image`, which needs no model."""
        return self.path / "query.jpg"

    def vectors(self) -> NDArray[np.float16]:
        """Return all vectors (N, D), mapped."""
        return np.memmap(self.vectors_file, "<f2", "r").reshape(-1, self.dim)

    def is_filled(self, count: int) -> bool:
        """Tell whether the catalog holds these pictures, and maybe more, in tables as this version makes them."""
        if not self.home.catalog.exists():
            return False
        with TemporaryDirectory() as scratch, Catalog(Path(scratch) / "new.sqlite3", write=True) as new:
            tables = _tables(new)
        with Catalog(self.home.catalog) as catalog:
            return catalog.stamp().count >= count and _tables(catalog) == tables

    def write_vectors(self, pieces: Iterable[Array]) -> None:
        """Write the vectors; a file that a killed run leaves has another name."""
        unfinished = self.vectors_file.with_suffix(".part")
        with unfinished.open("wb") as file:
            for piece in pieces:
                piece.astype("<f2").tofile(file)
        unfinished.rename(self.vectors_file)

    def fill(self) -> None:
        """Store a picture for each vector in place of what the catalog holds; it keeps its model, if it has one."""
        self.home.create()
        with Catalog(self.home.catalog, write=True) as catalog:
            if catalog.read_model() is None:
                shape = Preprocess((224, 224), (0, 0, 0), (1, 1, 1))
                catalog.set_model(ModelFacts("synthetic", "0" * 64, "{}", shape, self.dim))
        self.reset(0)
        with closing(sqlite3.connect(self.home.catalog, isolation_level=None)) as connection:
            for pragma in FAST:
                connection.execute(f"PRAGMA {pragma}")
            self._insert(connection)
        with Catalog(self.home.catalog, write=True) as catalog:
            catalog.rebuild_words()

    def _insert(self, connection: sqlite3.Connection) -> None:
        """Insert all rows, and only then sort them into the indexes."""
        indexes = connection.execute(
            "SELECT name, sql FROM sqlite_master"
            " WHERE type = 'index' AND tbl_name IN ('images', 'vectors') AND sql IS NOT NULL"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        vectors = self.vectors()
        for start in range(0, len(vectors), AT_ONCE):
            piece, first = vectors[start : start + AT_ONCE], start + 1
            rows = pictures(first, len(piece))
            if start == 0:
                rows = chain([(1, *self._make_picture(), *next(rows)[5:])], rows)
            blobs = ((first + place, vector.tobytes()) for place, vector in enumerate(piece))
            connection.execute("BEGIN")
            connection.executemany(f"INSERT INTO images ({COLUMNS}) VALUES ({MARKS})", rows)
            connection.executemany("INSERT INTO vectors VALUES (?, ?)", blobs)
            connection.execute("COMMIT")
        for _, statement in indexes:
            connection.execute(statement)
        connection.execute("UPDATE meta SET value = ? WHERE key = 'generation'", (len(vectors),))

    def _make_picture(self) -> tuple[Any, ...]:
        """Make the one picture that is a file; return its path, size, time and digest."""
        self.picture.write_bytes(b"never opened")
        status = self.picture.stat()
        return bytes(self.picture.absolute()), status.st_size, status.st_mtime_ns, sha256(b"").digest()

    def reset(self, count: int) -> int:
        """Forget the pictures after the first `count`, and all files that are derived from the catalog.

        Return the bytes of the catalog that are in use: what was forgotten leaves free pages in it.
        """
        with Catalog(self.home.catalog, write=True) as catalog:
            _forget_after(catalog, count)
            pages, free, size = (
                catalog.connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
        kept = {self.home.catalog.name, self.home.lock.name}
        for path in self.home.path.iterdir():
            if path.is_file() and path.name not in kept:
                path.unlink()
        return int((pages - free) * size)


def _tables(catalog: Catalog) -> set[str]:
    """Return the statements that make the tables, indexes and triggers of a catalog."""
    return {statement for (statement,) in catalog.connection.execute("SELECT sql FROM sqlite_master") if statement}


def _forget_after(catalog: Catalog, count: int) -> None:
    """Delete the images after the first `count`, so that the next one gets their ids again, as no user can."""
    with catalog.transaction() as connection:
        connection.execute("DELETE FROM images WHERE id > ?", (count,))
        connection.execute("DELETE FROM changed")
        connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'images'", (count,))
        connection.execute("UPDATE meta SET value = ? WHERE key = 'generation'", (count,))
        connection.execute("UPDATE meta SET value = min(value, ?) WHERE key = 'words_up_to_id'", (count,))
