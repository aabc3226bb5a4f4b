"""An open SQLite database: rows, transactions, and errors that say what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from image_index.catalog.schema import atomic, damaged, open_database, open_untouched, storage_errors

ROWS_AT_A_TIME = 256
"""How many rows are fetched in one go: one at a time takes twice as long."""


class Database:
    """An open catalog file; use it as a context manager. Errors of SQLite surface as `StorageError`."""

    def __init__(self, path: Path, *, write: bool = False, untouched: bool = False) -> None:
        """Open the catalog at `path`; only `write` creates one where there is none.

        With `untouched` not a byte is written to it or beside it: its schema may then be an older one.
        """
        self.path = path
        self.connection = open_untouched(path) if untouched else open_database(path, write=write)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it."""
        self.connection.close()

    def refuse_writes(self) -> None:
        """Let nothing be written from now on: SQLite refuses it, as it does on a disk that cannot be written to."""
        self.connection.execute("PRAGMA query_only = ON")

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Any]:
        """Yield the rows of a query."""
        with storage_errors(self.path):
            cursor = self.connection.execute(sql, parameters)
            while rows := cursor.fetchmany(ROWS_AT_A_TIME):
                yield from rows

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Return the first row of a query, or None."""
        with storage_errors(self.path):
            return self.connection.execute(sql, parameters).fetchone()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for one write transaction: all of it is stored, or nothing."""
        with storage_errors(self.path), atomic(self.connection):
            yield self.connection

    @contextmanager
    def damage_errors(self) -> Iterator[None]:
        """Turn errors of a block that makes sense of stored values into the `StorageError` of a damaged catalog.

        SQLite keeps no checksums: a flipped bit may leave it content, and leave JSON that cannot be parsed.
        """
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise damaged(self.path, f"{type(error).__name__}: {error}") from error
