"""What a catalog says of its pictures to whoever searches: which there are, what is known of them, their vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from image_index.catalog.filters import GLOB_FUNCTION, Filters, glob_matcher
from image_index.catalog.reader import CatalogReader
from image_index.catalog.schema import damaged
from image_index.paths import path_range
from image_index.records import Ids, ImageFacts, PictureFacts, Vectors

_FACTS = f"{', '.join(PictureFacts._fields)}, id, path, size, mtime_ns, sha256, missing_since_s IS NOT NULL"


class PictureReader(CatalogReader):
    """An open catalog that is asked for pictures and vectors."""

    # Which pictures

    def ids_matching(self, filters: Filters) -> Ids:
        """Return the ids (n,) of the images that `filters` mean, in ascending order."""
        condition, parameters = filters.where()
        if filters.globs:
            self._connection.create_function(GLOB_FUNCTION, 1, glob_matcher(filters.globs), deterministic=True)
        rows = self._rows(f"SELECT id FROM images WHERE {condition}", parameters)
        return np.sort(np.fromiter((row[0] for row in rows), dtype=np.int64))

    def ids_under(self, directory: bytes) -> Ids:
        """Return the ids of the images at or inside `directory`, missing ones too."""
        sql = "SELECT id FROM images WHERE path = ? OR path >= ? AND path < ?"
        rows = self._rows(sql, (directory, *path_range(directory)))
        return np.fromiter((row[0] for row in rows), dtype=np.int64)

    @property
    def last_id(self) -> int:
        """The id of the newest image; 0 where there is none."""
        return int(self._one("SELECT coalesce(max(id), 0) FROM images")[0])

    # What is known of them

    def facts_of(self, ids: Iterable[int]) -> dict[int, ImageFacts]:
        """Return what is known, by id, of those images that exist, in the order of `ids`."""
        sql = f"SELECT {_FACTS} FROM images WHERE id = ?"
        rows = (self._one(sql, (image_id,)) for image_id in ids)
        return {image.id: image for image in (_image_facts(row) for row in rows if row)}

    def facts_at(self, path: bytes) -> ImageFacts | None:
        """Return what is known of the image at `path`, if there is one."""
        row = self._one("SELECT id FROM images WHERE path = ?", (path,))
        return self.facts_of(row)[row[0]] if row else None

    def pictures(self, filters: Filters, chunk: int = 8192) -> Iterator[tuple[list[ImageFacts], Vectors]]:
        """Yield what is known of the images that `filters` mean, and their vectors (n, D), in order of their ids."""
        for ids in _pieces(self.ids_matching(filters), chunk):
            facts = self.facts_of(ids.tolist())
            there, vectors = self.vectors_of(list(facts))
            yield [facts[image_id] for image_id in there.tolist()], vectors

    def mark(self, name: str) -> int:
        """Return the id of the newest picture that the searches of this name have shown; 0 for a new name."""
        row = self._one("SELECT last_id FROM marks WHERE name = ?", (name,))
        return int(row[0]) if row else 0

    # Vectors

    def vectors_after(
        self, image_id: int, *, present: bool = False, chunk: int = 8192
    ) -> Iterator[tuple[Ids, Vectors]]:
        """Yield ids (n,) and float32 vectors (n, D) of the images newer than `image_id`, in order of their ids.

        `present` limits them to those that are not missing.
        """
        table, condition = "vectors", ""
        if present:
            table, condition = "vectors JOIN images ON id = image_id", "AND missing_since_s IS NULL"
        sql = f"SELECT image_id, vector FROM {table} WHERE image_id > ? {condition} ORDER BY image_id"
        cursor = self._rows(sql, (image_id,))
        while rows := list(islice(cursor, chunk)):
            yield self._arrays(rows)

    def vectors_of(self, ids: Sequence[int] | NDArray[np.int64]) -> tuple[Ids, Vectors]:
        """Return the ids among `ids` that exist, with their float32 vectors."""
        query = "SELECT image_id, vector FROM vectors WHERE image_id = ?"
        return self._arrays([row for row in (self._one(query, (int(image_id),)) for image_id in ids) if row])

    def _arrays(self, rows: list[tuple[int, bytes]]) -> tuple[Ids, Vectors]:
        """Return the ids (n,) and float32 vectors (n, D) of (id, float16 blob) rows."""
        if len({len(row[1]) for row in rows}) > 1:
            raise damaged(self._path, "its vectors differ in length")
        ids = np.array([row[0] for row in rows], dtype=np.int64)
        flat = np.frombuffer(b"".join(row[1] for row in rows), dtype="<f2")
        return ids, flat.reshape(len(rows), -1 if rows else 0).astype(np.float32)


def _image_facts(row: Sequence[Any]) -> ImageFacts:
    """Return what a row of `_FACTS` says."""
    split = len(PictureFacts._fields)
    *file, missing = row[split:]
    return ImageFacts._make((*file, PictureFacts._make(row[:split]), bool(missing)))


def _pieces(ids: Ids, size: int) -> Iterator[Ids]:
    """Yield `ids` in pieces of at most `size`."""
    return (ids[start : start + size] for start in range(0, len(ids), size))
