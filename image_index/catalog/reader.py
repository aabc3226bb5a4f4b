"""Read-only queries of a catalog.

The model, roots, runs, failures and counts; the rows that planning compares with a scan; and the pictures that filters
choose, with their facts and vectors.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from image_index.catalog.database import Database
from image_index.catalog.filters import DATE, INSIDE, Filters, inside, inside_any
from image_index.catalog.matching import AMONG, Matching
from image_index.catalog.schema import copy_database, damaged, storage_errors, unless_refused, version_of
from image_index.errors import StorageError
from image_index.grid import BYTES
from image_index.half import to_float32
from image_index.paths import AnyPath, Span, absolute, resolve, spans, spellings
from image_index.records import (
    Counts,
    Failure,
    Ids,
    ImageFacts,
    ImageFile,
    KnownFailure,
    KnownImage,
    KnownName,
    ModelFacts,
    PictureFacts,
    Preprocess,
    Root,
    Stage,
    Stamp,
    Vectors,
)

_KNOWN = "SELECT id, path, size, mtime_ns, sha256, read_at_ns, missing_since_s IS NOT NULL, inode FROM images"
_FACTS = f"{', '.join(PictureFacts._fields)}, id, path, size, mtime_ns, sha256, missing_since_s IS NOT NULL"

_NAMES = (
    "SELECT names.path AS path, main, size, mtime_ns, inode"
    " FROM names LEFT JOIN images ON images.path = main AND missing_since_s IS NULL"
)
_AT = "path = coalesce((SELECT main FROM names WHERE path = ?1), ?1)"
"""The SQL condition that a row is that of the file at a path, whichever of its names that is."""

MOST_OF_INODE = 64
"""How many rows, of different file systems, may have one inode."""

PICTURES_AT_A_TIME = 8192
"""How many pictures are read with their vectors in one go: 16 MB of 512 dimensions."""


class CatalogReader(Database):
    """An open catalog, to be read."""

    # The model and the roots

    _model: ModelFacts | None = None

    def read_model(self) -> ModelFacts | None:
        """Return the model all vectors were made with, None while there is none; once found it is not read again.

        It cannot become another one meanwhile: `index_model.check_model` sees to that in every process.
        """
        if self._model is None:
            self._model = self._stored_model()
        return self._model

    def _stored_model(self) -> ModelFacts | None:
        row = self.one("SELECT name, weights_sha256, config, preprocess, dim FROM model")
        if row is None:
            return None
        with self.damage_errors():
            stored: dict[str, Any] = json.loads(row[3])
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
            preprocess = Preprocess(**values)
        return ModelFacts(row[0], row[1], row[2], preprocess, row[4])

    def roots(self) -> list[Root]:
        """Return the roots in path order."""
        return [Root(*row) for row in self.rows("SELECT path, scanned_at_s, problem FROM roots ORDER BY path")]

    # Images, for planning

    def known(self, root: bytes) -> Iterator[KnownImage]:
        """Yield the rows of `root` (the file itself, or all inside it) in path order."""
        return self.known_in(spans([root]))

    def known_in(self, ranges: Iterable[Span]) -> Iterator[KnownImage]:
        """Yield the rows of the paths in `ranges`, which come in path order, as the rows then do."""
        # A walk of the index on paths for each: for an OR, SQLite would collect and sort all rows first, and planning
        # compares a million rows with the scan while both are read (docs/decisions/0004).
        for span in ranges:
            yield from map(KnownImage._make, self.rows(f"{_KNOWN} WHERE path >= ? AND path < ? ORDER BY path", span))

    def names_in(self, ranges: Iterable[Span]) -> Iterator[KnownName]:
        """Yield the other names of files that are in `ranges`, which come in path order, as the names then do."""
        for span in ranges:
            sql = f"{_NAMES} WHERE names.path >= ? AND names.path < ? ORDER BY names.path"
            yield from map(KnownName._make, self.rows(sql, span))

    def other_names(self, main: bytes) -> Iterator[bytes]:
        """Yield the other names of the file whose row is at `main`, in path order."""
        for (path,) in self.rows("SELECT path FROM names WHERE main = ? ORDER BY path", (main,)):
            yield path

    def names_at(self, path: bytes) -> list[bytes]:
        """Return all known names of the file at `path`, the one of its row first; where it has one alone, that."""
        row = self.one("SELECT main FROM names WHERE path = ?", (path,))
        main = row[0] if row else path
        return [main, *self.other_names(main)]

    def holds_names(self) -> bool:
        """Tell whether any file is known under several names."""
        return self.one("SELECT 1 FROM names LIMIT 1") is not None

    def inodes(self) -> NDArray[np.int64]:
        """Return the inodes (n,) that rows have, each once, in ascending order."""
        return np.fromiter((row[0] for row in self.rows("SELECT DISTINCT inode FROM images ORDER BY inode")), np.int64)

    def shared_inodes(self) -> NDArray[np.int64]:
        """Return the inodes (n,) of rows that have size and time in common too, and are not missing.

        One file may have got several rows if its names were never there at the same time.
        """
        # By the index alone first: most inodes have one row, and of a million rows none is then read.
        several = f"SELECT inode FROM images GROUP BY inode HAVING count(*) BETWEEN 2 AND {MOST_OF_INODE}"
        sql = (
            f"SELECT inode FROM images WHERE inode IN ({several}) AND inode != 0 AND missing_since_s IS NULL"
            " GROUP BY inode, size, mtime_ns HAVING count(*) > 1"
        )
        return np.fromiter((row[0] for row in self.rows(sql)), np.int64)

    def images_of_inode(self, inode: int) -> list[KnownImage]:
        """Return the rows of files that had this inode when they were last read.

        A file system that numbers its files has few; one that gives every file the same number has no inodes.
        """
        found = [KnownImage(*row) for row in self.rows(f"{_KNOWN} WHERE inode = ? LIMIT {MOST_OF_INODE + 1}", (inode,))]
        return found if len(found) <= MOST_OF_INODE else []

    def missing_images(self) -> Iterator[KnownImage]:
        """Yield the rows whose file is gone."""
        for row in self.rows(f"{_KNOWN} WHERE missing_since_s IS NOT NULL"):
            yield KnownImage(*row)

    def images_of_size(self, sizes: Iterable[int]) -> Iterator[KnownImage]:
        """Yield the rows whose file has one of `sizes` (bytes)."""
        for size in sizes:
            for row in self.rows(f"{_KNOWN} WHERE size = ?", (size,)):
                yield KnownImage(*row)

    def image_of_id(self, image_id: int) -> KnownImage | None:
        """Return the row of this id, if there is one."""
        row = self.one(f"{_KNOWN} WHERE id = ?", (image_id,))
        return KnownImage(*row) if row else None

    def image_at(self, path: bytes) -> KnownImage | None:
        """Return the row of the file at `path`, any of its names, if there is one."""
        row = self.one(f"{_KNOWN} WHERE {_AT}", (path,))
        return KnownImage(*row) if row else None

    def times_at(self, path: bytes) -> tuple[int, int | None] | None:
        """Return when the image at `path` was read (ns) and since when it is missing (s), if there is one."""
        row = self.one(f"SELECT read_at_ns, missing_since_s FROM images WHERE {_AT}", (path,))
        return row and (row[0], row[1])

    def knows(self, path: bytes) -> bool:
        """Tell whether there is an image, another name of one, a failure or a root at or inside `path`."""
        tables = ("images", "names", "failures", "roots")
        return any(self.one(f"SELECT 1 FROM {table} WHERE {INSIDE}", inside(path)) for table in tables)

    def known_path(self, path: AnyPath) -> bytes:
        """Return the path by which the catalog knows what is at `path`: as it is written, or else with links resolved.

        A training that follows links records what is behind them under the path with the link in it.
        """
        written = absolute(path)
        return written if self.knows(written) else resolve(path)

    def known_spellings(self, path: bytes) -> tuple[bytes, ...]:
        """Return the paths that look like `path` at or inside which there is an image, a failure or a root.

        They differ in how Unicode writes each name: composed as people type it, decomposed as macOS keeps it.
        """
        found = [b""]
        for name in path.split(b"/")[1:]:
            ways = sorted(spellings(name))
            found = [way for before in found for way in (b"%s/%s" % (before, one) for one in ways) if self.knows(way)]
        return tuple(found)

    # Pictures that are compared

    def ranked(self, filters: Filters) -> Iterator[tuple[int, bytes, str]]:
        """Yield the id, the content's SHA-256 and the format of the images that `filters` choose, the best first.

        These are the images of most pixels, then those of most bytes, then the oldest, then the first by path. Unlike a
        search, this asks for the path of the row alone: of a file in another directory none is proposed for deletion.
        """
        order = f"width * height DESC, size DESC, {DATE}, path"
        return self._matching.ranked(self.spelled(filters), "id, sha256, format", order)

    def kept(self) -> frozenset[tuple[int, int]]:
        """Return the pairs of ids that are not to be shown as duplicates, in either order."""
        pairs = [(one, other) for one, other in self.rows("SELECT one, other FROM kept")]
        return frozenset(pairs) | {(other, one) for one, other in pairs}

    def grids_of(self, ids: Iterable[int]) -> dict[int, bytes]:
        """Return the grids (`image_index.grid`), by id, of those images that have one."""
        rows = self.rows(f"SELECT image_id, grid FROM grids WHERE image_id {AMONG}", (json.dumps(list(ids)),))
        return {image_id: grid for image_id, grid in rows if len(grid) == BYTES}

    # Pictures that are searched

    def ids_matching(self, filters: Filters) -> Ids:
        """Return the ids (n,) of the images that `filters` choose by any of their names, in ascending order."""
        return self._matching.ids(self.spelled(filters))

    def few_matching(self, filters: Filters) -> Ids | None:
        """Return the same where an index tells at once that these are few; None means: they may be many."""
        return self._matching.few(self.spelled(filters))

    def matching_of(self, ids: Ids, filters: Filters) -> Ids:
        """Return those of `ids` (n,) that `ids_matching` returns, in ascending order; no other row is looked at."""
        return self._matching.among(ids, self.spelled(filters))

    def listed_files(self, files: Mapping[bytes, int]) -> frozenset[int]:
        """Return which of the files of a list, by their numbers, have a row under any of their names."""
        return self._matching.listed_files(files)

    @property
    def keeps_words(self) -> bool:
        """Whether the catalog has an index of the words in its paths, and this SQLite can use it."""
        return self._matching.keeps_words

    @cached_property
    def _matching(self) -> Matching:
        """What finds the images that filters choose."""
        return Matching(self)

    def spelled(self, filters: Filters) -> Filters:
        """Return `filters` with each directory as the catalog spells it."""
        under, exclude_under = (
            tuple(way for path in paths for way in self.known_spellings(path) or (path,))
            for paths in (filters.under, filters.exclude_under)
        )
        return replace(filters, under=under, exclude_under=exclude_under)

    def ids_under(self, *directories: bytes) -> Ids:
        """Return the ids of the images, missing ones too, all of whose names are `directories` or inside them."""
        here, parameters = inside_any(directories)
        elsewhere = f"SELECT 1 FROM names WHERE main = images.path AND NOT {here}"
        rows = self.rows(f"SELECT id FROM images WHERE {here} AND NOT EXISTS ({elsewhere})", parameters * 2)
        return np.fromiter((row[0] for row in rows), dtype=np.int64)

    def read_last_id(self) -> int:
        """Return the id of the newest image, 0 where there is none."""
        return int(self.one("SELECT coalesce(max(id), 0) FROM images")[0])

    def facts_of(self, ids: Iterable[int]) -> dict[int, ImageFacts]:
        """Return the facts, by id, of those images that exist, in the order of `ids`."""
        wanted = list(ids)
        rows = self.rows(f"SELECT {_FACTS} FROM images WHERE id {AMONG}", (json.dumps(wanted),))
        found = {image.id: image for image in map(_image_facts, rows)}
        return {image_id: found[image_id] for image_id in wanted if image_id in found}

    def facts_at(self, path: bytes) -> ImageFacts | None:
        """Return the facts of the image at `path`, any of its names, if there is one."""
        row = self.one(f"SELECT {_FACTS} FROM images WHERE {_AT}", (path,))
        return _image_facts(row) if row else None

    def images(self, filters: Filters) -> Iterator[ImageFacts]:
        """Yield the facts of the images that `filters` choose, in order of their ids, those without a vector too."""
        ids = self.ids_matching(filters)
        for start in range(0, len(ids), PICTURES_AT_A_TIME):
            yield from self.facts_of(ids[start : start + PICTURES_AT_A_TIME].tolist()).values()

    def facts_beside(self, stem: bytes, formats: Sequence[str]) -> list[ImageFacts]:
        """Return the facts of the images of some formats whose paths begin with `stem` and a dot, as `/p/a.b.nef`."""
        some = ", ".join("?" * len(formats))
        sql = f"SELECT {_FACTS} FROM images WHERE path > ? AND path < ? AND +format IN ({some}) ORDER BY path"
        return list(map(_image_facts, self.rows(sql, (stem + b".", stem + b"/", *formats))))  # a slash follows the dot

    def pictures(self, filters: Filters) -> Iterator[tuple[list[ImageFacts], Vectors]]:
        """Yield facts and vectors (n, D) of the images that `filters` choose and that have one, in order of ids."""
        return self.pictures_in_chunks(self.ids_matching(filters))

    def pictures_in_chunks(self, ids: Ids) -> Iterator[tuple[list[ImageFacts], Vectors]]:
        """Yield facts and vectors (n, D) of those images (m,) that have one, in the order of `ids`."""
        for start in range(0, len(ids), PICTURES_AT_A_TIME):
            yield self.pictures_of(ids[start : start + PICTURES_AT_A_TIME].tolist())

    def pictures_of(self, ids: Iterable[int]) -> tuple[list[ImageFacts], Vectors]:
        """Return the facts and float32 vectors (n, D) of those images that have a vector, in the order of `ids`."""
        found, vectors = self.vectors_of(list(ids))
        facts = self.facts_of(found.tolist())
        there = [place for place, image_id in enumerate(found.tolist()) if image_id in facts]
        return [facts[int(found[place])] for place in there], vectors[there]

    def mark(self, name: str) -> int:
        """Return the id up to which the searches named `name` have shown all images; 0 for a new name."""
        row = self.one("SELECT last_id FROM marks WHERE name = ?", (name,))
        return int(row[0]) if row else 0

    # Vectors

    def vectors_after(self, image_id: int, *, chunk: int = PICTURES_AT_A_TIME) -> Iterator[tuple[Ids, Vectors]]:
        """Yield ids (n,) and float32 vectors (n, D) of the images newer than `image_id`, in order of their ids.

        Missing images are among them: to leave those out here would take a look at every row of `images`.
        """
        for ids, vectors in self.stored_after(image_id, chunk=chunk):
            yield ids, to_float32(vectors)

    def stored_after(
        self, image_id: int, *, chunk: int = PICTURES_AT_A_TIME
    ) -> Iterator[tuple[Ids, NDArray[np.float16]]]:
        """Yield the same with the vectors as they are stored."""
        sql = "SELECT image_id, vector FROM vectors WHERE image_id > ? AND vector IS NOT NULL ORDER BY image_id"
        cursor = self.rows(sql, (image_id,))
        while rows := list(islice(cursor, chunk)):
            yield self._stored(rows)

    def vectors_of(self, ids: Sequence[int] | NDArray[np.int64]) -> tuple[Ids, Vectors]:
        """Return the ids among `ids` that have a vector, in their order, with their float32 vectors (n, D)."""
        wanted = np.asarray(ids, np.int64)
        sql = f"SELECT image_id, vector FROM vectors WHERE image_id {AMONG} AND vector IS NOT NULL"
        found, vectors = self._arrays(list(self.rows(sql, (json.dumps(wanted.tolist()),))))
        if np.array_equal(found, wanted):
            return found, vectors
        order = np.argsort(found)
        places = np.searchsorted(found, wanted, sorter=order)
        there = places < len(found)
        there[there] = found[order[places[there]]] == wanted[there]
        return wanted[there], vectors[order[places[there]]]

    def _arrays(self, rows: list[tuple[int, bytes]]) -> tuple[Ids, Vectors]:
        """Return the ids (n,) and float32 vectors (n, D) of (id, float16 blob) rows."""
        ids, vectors = self._stored(rows)
        return ids, to_float32(vectors)

    def _stored(self, rows: list[tuple[int, bytes]]) -> tuple[Ids, NDArray[np.float16]]:
        if len({len(row[1]) for row in rows}) > 1:
            raise damaged(self.path, "its vectors differ in length")
        ids = np.array([row[0] for row in rows], dtype=np.int64)
        flat = np.frombuffer(b"".join(row[1] for row in rows), dtype="<f2")
        if not rows:  # the shape of what else is read: a picture may have no vector
            model = self.read_model()
            return ids, np.empty((0, model.dim if model else 0), np.float16)
        return ids, flat.reshape(len(rows), -1)

    # Failures

    def count_without_vector(self, filters: Filters) -> int:
        """Return how many of the images that `filters` choose have no vector."""
        without = [row[0] for row in self.rows("SELECT image_id FROM vectors WHERE vector IS NULL")]
        return int(np.isin(self.ids_matching(filters), without).sum())

    def has_vector(self, image_id: int) -> bool:
        """Tell whether an image has a vector, by which searches find it."""
        return self.one("SELECT 1 FROM vectors WHERE image_id = ? AND vector IS NOT NULL", (image_id,)) is not None

    def failures(self) -> Iterator[KnownFailure]:
        """Yield every known failure in path order."""
        return map(self._failure, self.rows("SELECT * FROM failures ORDER BY path"))

    def failure_at(self, path: bytes) -> KnownFailure | None:
        """Return the failure of the file at `path`, if there is one."""
        row = self.one("SELECT * FROM failures WHERE path = ?", (path,))
        return self._failure(row) if row else None

    def _failure(self, row: Sequence[Any]) -> KnownFailure:
        """Return the record of a row of `failures`."""
        path, size, mtime_ns, stage, reason, *times = row
        with self.damage_errors():
            return KnownFailure(Failure(ImageFile(path, size, mtime_ns), Stage(stage), reason), *times)

    def failed_in(self, ranges: Iterable[Span]) -> dict[bytes, tuple[int, int]]:
        """Return the size and mtime_ns, by path, of the files in `ranges` that failed."""
        if self.one("SELECT 1 FROM failures LIMIT 1") is None:  # a list of a million files is a million ranges
            return {}
        sql = "SELECT path, size, mtime_ns FROM failures WHERE path >= ? AND path < ?"
        return {path: (size, mtime_ns) for span in ranges for path, size, mtime_ns in self.rows(sql, span)}

    # The state of the vectors

    def read_catalog_id(self) -> str:
        """Return the random number, in hex, that tells this catalog from all others."""
        return str(self.one("SELECT value FROM meta WHERE key = 'catalog_id'")[0])

    def stamp(self) -> Stamp:
        """Return the stamp of the vectors as they are now."""
        meta, model = dict(self.rows("SELECT key, value FROM meta")), self.read_model()
        without_vector = "SELECT count(*) FROM vectors WHERE vector IS NULL"
        last_id, count = self.one(  # asked for together, they would take a look at every row: 80 ms of a million, not 5
            f"SELECT (SELECT coalesce(max(id), 0) FROM images), (SELECT count(*) FROM images) - ({without_vector})"
        )
        with self.damage_errors():
            return Stamp(meta["catalog_id"], int(meta["generation"]), last_id, count, model.dim if model else 0)

    # Checks and copies

    def integrity_problems(self) -> Iterator[str]:
        """Yield the faults that SQLite finds in the file; if it finds none, images without vector and vice versa."""
        damage = [row[0] for row in self.rows("PRAGMA integrity_check") if row[0] != "ok"]
        yield from damage
        if damage:
            return
        bare = "SELECT count(*) FROM images WHERE id NOT IN (SELECT image_id FROM vectors)"
        orphans = "SELECT count(*) FROM vectors WHERE image_id NOT IN (SELECT id FROM images)"
        for sql, what in ((bare, "images have no vector"), (orphans, "vectors have no image")):
            (count,) = self.one(sql)
            if count:
                yield f"{count} {what}"

    def words_are_sound(self) -> bool:
        """Tell whether the index of words says what the paths say, or cannot be looked at, as while another writes."""
        try:
            with storage_errors(self.path), unless_refused(self.connection):  # SQLite takes the check for a write
                if self.keeps_words:
                    self.connection.execute("INSERT INTO image_words (image_words, rank) VALUES ('integrity-check', 1)")
        except StorageError:
            return False
        return True

    def count_odd_vectors(self, dim: int) -> int:
        """Return how many vectors do not have `dim` dimensions."""
        return int(self.one("SELECT count(*) FROM vectors WHERE length(vector) != ?", (2 * dim,))[0])

    def count_missing(self, for_s: int) -> int:
        """Return how many images have been missing for at least `for_s` seconds."""
        sql = "SELECT count(*) FROM images WHERE missing_since_s <= ?"
        return int(self.one(sql, (int(time.time()) - for_s,))[0])

    def copy_to(self, path: Path) -> None:
        """Write a consistent copy of the catalog to a new file at `path`, also while another process writes."""
        with storage_errors(self.path):
            copy_database(self.connection, path)

    # Status

    def read_schema(self) -> int:
        """Return the number of the catalog's schema, which is that of its last migration."""
        with storage_errors(self.path):
            return version_of(self.connection)

    def holds_pictures(self) -> bool:
        """Tell whether there is any image that is not missing; unlike `counts`, without reading all rows."""
        return self.one("SELECT 1 FROM images WHERE missing_since_s IS NULL LIMIT 1") is not None

    def counts(self) -> Counts:
        """Return how many pictures, missing pictures and failures there are; `images` does not count missing ones."""
        total, missing, failures, without_vector = self.one(
            # two counts, each by an index: one pass that told the missing apart would read every row
            "SELECT (SELECT count(*) FROM images), (SELECT count(*) FROM images WHERE missing_since_s IS NOT NULL),"
            " (SELECT count(*) FROM failures), (SELECT count(*) FROM vectors JOIN images ON id = image_id"
            " WHERE vector IS NULL AND missing_since_s IS NULL)"
        )
        return Counts(total - missing, missing, failures, without_vector)


def _image_facts(row: Sequence[Any]) -> ImageFacts:
    """Return the record of a row of `_FACTS`."""
    split = len(PictureFacts._fields)
    return ImageFacts._make((*row[split:-1], PictureFacts._make(row[:split]), bool(row[-1])))
