"""The vectors of texts that were searched for before: a repeated search needs no model.

It is a cache in the catalog: a search does not wait to write it, and does without where it cannot be written.
"""

from __future__ import annotations

import time
import zlib

import numpy as np
from numpy.typing import NDArray

from image_index.catalog.database import Database
from image_index.catalog.schema import atomic, storage_errors, unless_refused
from image_index.records import ModelFacts

QUERIES_KEPT = 1000
"""How many texts are remembered: 2 MB of 512 dimensions."""

FRESH_S = 86_400
"""A text that was used within this time is not marked as used again: a repeated search then writes nothing."""


class QueryMemory:
    """The texts that were searched for in an index, with their vectors; the least recently used are dropped."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, text: str, model: ModelFacts) -> NDArray[np.float32] | None:
        """Return the vector (D,) that `model` gave `text` in an earlier search; None where none is stored undamaged."""
        key = text.encode("utf-8", "surrogatepass")
        sql = "SELECT vector, used_at_s FROM queries WHERE text = ? AND fingerprint = ?"
        row = self._database.one(sql, (key, model.fingerprint))
        if row is None:
            return None
        with self._database.damage_errors():
            vector, used_at_s = bytes(row[0]), int(row[1])
        if len(vector) != 4 * model.dim + 4 or vector[-4:] != _crc(key, model, vector[:-4]):
            return None
        # A search is a reader: it writes only when the order of use would otherwise be wrong by more than a day.
        if used_at_s < time.time() - FRESH_S:
            self._write(("UPDATE queries SET used_at_s = ? WHERE text = ?", (int(time.time()), key)))
        return np.frombuffer(vector[:-4], "<f4").astype(np.float32)

    def remember(self, text: str, model: ModelFacts, vector: NDArray[np.float32]) -> None:
        """Store the vector (D,) of `text`, if the catalog can be written to now, and drop what was used longest ago."""
        # float32, not float16 as images have: a repeated search must give the very same scores as the first
        key, content = text.encode("utf-8", "surrogatepass"), vector.astype("<f4").tobytes()
        row = (key, model.fingerprint, content + _crc(key, model, content), int(time.time()))
        oldest = "SELECT text FROM queries ORDER BY used_at_s DESC, rowid DESC LIMIT -1 OFFSET ?"
        self._write(
            ("INSERT OR REPLACE INTO queries VALUES (?, ?, ?, ?)", row),
            (f"DELETE FROM queries WHERE text IN ({oldest})", (QUERIES_KEPT,)),
        )

    def clear(self) -> None:
        """Forget all texts: what encoded them may have been damaged."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM queries")

    def _write(self, *statements: tuple[str, tuple[object, ...]]) -> None:
        """Run statements in one transaction, if the catalog can be written to at once."""
        connection = self._database.connection
        with storage_errors(self._database.path), unless_refused(connection), atomic(connection):
            for sql, parameters in statements:
                connection.execute(sql, parameters)


def _crc(key: bytes, model: ModelFacts, content: bytes) -> bytes:
    """Return the CRC-32 of a row; SQLite has none, and a wrong vector would go unnoticed."""
    return zlib.crc32(key + model.fingerprint.encode("ascii") + content).to_bytes(4, "little")
