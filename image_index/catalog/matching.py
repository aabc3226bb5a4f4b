"""Which images filters choose.

Each condition that an index of SQLite answers is looked up there by itself, and what several find is intersected here:
SQLite keeps no statistics, and uses one index for a query. Only what these leave is looked at row by row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property, reduce
from typing import Any

import numpy as np

from image_index.catalog.database import Database
from image_index.catalog.filters import (
    DATE,
    DISTANCE_FUNCTION,
    GLOB_FUNCTION,
    LISTED,
    MONTH_DAY_FUNCTION,
    WORD_FUNCTION,
    Filters,
    glob_matcher,
    month_day,
    spans_of_day,
)
from image_index.catalog.schema import atomic, has_fts5, storage_errors
from image_index.positions import distance_m
from image_index.records import Ids
from image_index.words import word_matcher

AMONG = "IN (SELECT value FROM json_each(?))"
"""The SQL condition that an id is in a list of JSON: one statement, and SQLite reads the rows in order of their ids.

A statement for each id takes five times as long.
"""

NARROW = 30_000
"""So many images are few. To look up as many ids in an index takes 4 ms; to look at as many rows, 60."""

_JOINED = "(SELECT value AS wanted FROM json_each(?)) CROSS JOIN images ON images.id = wanted"
"""The rows of `images` with the ids of a list of JSON, for behind FROM; CROSS keeps their order."""

_NAMED = "(SELECT main FROM names WHERE {}) CROSS JOIN images ON path = main"
"""The rows of `images` one of whose other names meets a condition, for behind FROM."""

_IN_SPANS = f"""SELECT id FROM (
    SELECT json_extract(value, '$[0]') AS first, json_extract(value, '$[1]') AS behind FROM json_each(?))
    CROSS JOIN images ON {DATE} >= first AND {DATE} < behind"""
"""The images whose dates are in a list of spans in JSON."""


class Matching:
    """Finds the images of a catalog that filters choose; each directory of the filters is spelled as there."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listed: Mapping[bytes, int] | None = None

    def ids(self, filters: Filters) -> Ids:
        """Return the ids (n,) of the images that `filters` choose by any of their names, in ascending order."""
        self._prepare(filters)
        found = self._looked_up(filters, NARROW) or self._looked_up(filters)
        return self._left(found, filters) if found else self._of_all_rows(filters)

    def few(self, filters: Filters) -> Ids | None:
        """Return the same where an index tells that these are at most `NARROW`; None means: nobody has counted."""
        self._prepare(filters)
        found = self._looked_up(filters, NARROW)
        return self._left(found, filters) if found else None

    def among(self, ids: Ids, filters: Filters) -> Ids:
        """Return those of `ids` (n,) that `filters` choose, in ascending order; no other row is looked at."""
        self._prepare(filters)
        condition, parameters = filters.where()
        of_path, path_parameters = filters.where_path()
        named = f"EXISTS (SELECT 1 FROM names WHERE main = images.path AND {of_path})"
        sql = f"SELECT id FROM {_JOINED} WHERE {condition} AND ({of_path} OR {named})"
        return self._ids_of(sql, [json.dumps(ids.tolist()), *parameters, *path_parameters, *path_parameters])

    def ranked(self, filters: Filters, columns: str, order: str) -> Iterator[Any]:
        """Yield columns of the images that `filters` choose by the path of their rows alone, in an order of SQL's."""
        self._prepare(filters)
        found = self._looked_up(filters, NARROW)
        rows_of, ids = (_JOINED, [json.dumps(_shared(found).tolist())]) if found else ("images", [])
        condition, parameters = filters.where()
        of_path, path_parameters = filters.where_path()
        sql = f"SELECT {columns} FROM {rows_of} WHERE {condition} AND {of_path} ORDER BY {order}"
        return self._database.rows(sql, [*ids, *parameters, *path_parameters])

    def listed_files(self, files: Mapping[bytes, int]) -> frozenset[int]:
        """Return which of the files of a list, by their numbers, have a row under any of their names."""
        self._list(files)
        is_known = " OR ".join(
            f"EXISTS (SELECT 1 FROM {table} WHERE {table}.path = listed.path)" for table in ("images", "names")
        )
        rows = self._database.rows(f"SELECT number FROM {LISTED} AS listed WHERE {is_known}")
        return frozenset(row[0] for row in rows)

    @cached_property
    def keeps_words(self) -> bool:
        """Whether the catalog has an index of the words in its paths, and this SQLite can use it."""
        is_there = self._database.one("SELECT 1 FROM sqlite_master WHERE name = 'image_words'") is not None
        return is_there and has_fts5(self._database.connection)

    def _looked_up(self, filters: Filters, most: int | None = None) -> list[tuple[Filters, Ids]]:
        """Return each condition that an index answers with at most `most` ids, and these ids (n,)."""
        answers = ((part, self._by_index(part, most)) for part in filters.apart())
        return [(part, ids) for part, ids in answers if ids is not None]

    def _by_index(self, part: Filters, most: int | None) -> Ids | None:
        """Return the ids of one condition by its index; None where there is none, or there are more than `most`."""
        of_path, path_parameters = part.where_path()
        if part.words or part.globs:
            sql, values = (part.where_indexed() if self.keeps_words else None) or ("", [])
        elif part.month_day is not None:
            dates = self._database.one(f"SELECT (SELECT min({DATE}) FROM images), (SELECT max({DATE}) FROM images)")
            sql, values = _IN_SPANS, [json.dumps(spans_of_day(part.month_day, *(one or 0 for one in dates)))]
        else:
            condition, parameters = part.where()
            sql, values = f"SELECT id FROM images WHERE {condition} AND {of_path}", [*parameters, *path_parameters]
        if sql and of_path != "1" and self._holds_names():
            # a statement of its own: with an OR, SQLite would not use the index on paths
            sql += (
                f" UNION ALL SELECT id FROM (SELECT main FROM names WHERE {of_path}) CROSS JOIN images ON path = main"
            )
            values = [*values, *path_parameters]
        if not sql:
            return None
        ids = self._ids_of(sql if most is None else f"{sql} LIMIT {most + 1}", values)
        return ids if most is None or len(ids) <= most else None

    def _left(self, found: list[tuple[Filters, Ids]], filters: Filters) -> Ids:
        """Return what remains of the ids that were looked up, once all that no index has answered is looked at."""
        holds_names = self._holds_names()
        for part, _ in found:
            # indexes say too much of words and days, and of several names one has to meet all conditions on paths
            of_path = part.where_path()[0] != "1"
            if not (part.globs or part.words or part.month_day or (holds_names and of_path)):
                filters = filters.without(part)
        ids = _shared(found)
        if filters.chooses:
            return self.among(ids, filters)
        if filters.missing:
            return ids
        missing = self._ids_of("SELECT id FROM images WHERE missing_since_s IS NOT NULL", [])
        return np.setdiff1d(ids, missing, assume_unique=True)

    def _of_all_rows(self, filters: Filters) -> Ids:
        """Return the ids of the images that `filters` choose: every row is looked at."""
        condition, parameters = filters.where()
        of_path, path_parameters = filters.where_path()
        sql, values = f"SELECT id FROM images WHERE {condition} AND {of_path}", [*parameters, *path_parameters]
        if of_path != "1" and self._holds_names():
            sql += f" UNION ALL SELECT id FROM {_NAMED.format(of_path)} WHERE {condition}"
            values += [*path_parameters, *parameters]
        return self._ids_of(sql, values)

    def _ids_of(self, sql: str, values: list[Any]) -> Ids:
        """Return the ids that a query selects, each once, in ascending order.

        SQLite hands them over as one text: a million rows would take 0.4 s to become numbers, and this takes 0.1.
        """
        text = self._database.one(f"SELECT group_concat(id) FROM ({sql})", values)[0]
        ids = np.sort(np.fromstring(text or "", np.int64, sep=","))
        return ids[np.diff(ids, prepend=-1) > 0]  # np.unique takes 20 times as long

    def _holds_names(self) -> bool:
        """Tell whether any file is known under several names."""
        return self._database.one("SELECT 1 FROM names LIMIT 1") is not None

    def _prepare(self, filters: Filters) -> None:
        """Make what the SQL of `filters` needs."""
        connection = self._database.connection
        if filters.globs:
            connection.create_function(GLOB_FUNCTION, 1, glob_matcher(filters.globs), deterministic=True)
        if filters.words:
            connection.create_function(WORD_FUNCTION, 1, word_matcher(filters.words), deterministic=True)
        if filters.near is not None:
            connection.create_function(DISTANCE_FUNCTION, 4, distance_m, deterministic=True)
        if filters.month_day is not None:
            connection.create_function(MONTH_DAY_FUNCTION, 1, month_day)
        self._list(filters.files)

    def _list(self, files: Mapping[bytes, int] | None) -> None:
        """Make the table of listed files, for a search and those after it with the same list."""
        if files is None or files is self._listed:
            return
        connection = self._database.connection
        with storage_errors(self._database.path):
            connection.execute(f"DROP TABLE IF EXISTS {LISTED}")
            connection.execute(f"CREATE TABLE {LISTED} (path BLOB PRIMARY KEY, number INTEGER) WITHOUT ROWID")
            with atomic(connection, "DEFERRED"):  # it is no file of the index that is written to
                connection.executemany(f"INSERT INTO {LISTED} VALUES (?, ?)", files.items())
        self._listed = files


def _shared(found: list[tuple[Filters, Ids]]) -> Ids:
    """Return the ids (n,) that all conditions have found, in ascending order."""
    return reduce(lambda one, other: np.intersect1d(one, other, assume_unique=True), (ids for _, ids in found))
