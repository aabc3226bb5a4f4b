"""Many queries from a file or a pipe, one a line: a text, or a JSON object."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, BinaryIO

from image_index.errors import QueryError, UsageError
from image_index.search.query import Query, make_query

KEYS = ("name", "text", "image", "add", "minus")
"""What an object may say; `image`, `add` and `minus` are a text or a list of texts."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no query, and why."""

    problem: str
    name: None = None


def read_queries(source: str) -> Iterator[Query | BadLine]:
    """Yield the queries of a file, or of standard input for `-`, as its lines come; lines of nothing are skipped.

    Raises `UsageError` at once where the file cannot be read.
    """
    if source == "-":
        return _queries(sys.stdin.buffer, "standard input")
    try:
        return _queries(open(source, "rb"), source)  # `_queries` closes it
    except OSError as error:
        raise UsageError(f"cannot read the queries in {source}: {error.strerror}") from error


def _queries(stream: BinaryIO, source: str) -> Iterator[Query | BadLine]:
    """Yield what each line of a stream means."""
    with ExitStack() as stack:
        if source != "standard input":
            stack.enter_context(stream)
        for number, line in enumerate(iter(stream.readline, b""), 1):
            if line.strip():
                try:
                    yield _query(line)
                except (QueryError, ValueError) as error:
                    yield BadLine(f"line {number} of {source}: {error}")


def _query(line: bytes) -> Query:
    """Return the query that a line means; raise `QueryError` or `ValueError`, saying why, where it means none."""
    text = line.decode("utf-8-sig").strip()
    if not text.startswith("{"):
        return make_query(text, name=text)
    record = json.loads(text)
    unknown = sorted(record.keys() - set(KEYS))
    if unknown:
        raise QueryError(f"no key is called {unknown[0]!r}", f"there are: {', '.join(KEYS)}")
    words = record.get("text")
    if words is not None and not isinstance(words, str):
        raise QueryError("'text' must be a text")
    images, add, minus = (_texts(record, key) for key in ("image", "add", "minus"))
    return make_query(words, images, add, minus, str(record.get("name", words if words is not None else text)))


def _texts(record: dict[str, Any], key: str) -> list[str]:
    """Return one text of an object, or several."""
    value = record.get(key, [])
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise QueryError(f"{key!r} must be a text or a list of texts")
    return texts
