"""What is searched for: texts and pictures, each with a weight, added up.

One query comes from the words of a command line (`make_query`), many from the lines of a file (`read_queries`).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, BinaryIO

from image_index.errors import QueryError, UsageError
from image_index.search.prompts import check_prompts, sentences

_WEIGHT = re.compile(r"(\d+(?:\.\d+)?):(?!\s*\d)\s*(.+)", re.DOTALL | re.ASCII)
_PICTURE = ("./", "../", "/", "~/", "http://", "https://")
MOST_WEIGHT = 1e6
"""The largest weight: of what is less than a millionth beside it nothing is left in float32."""

_URL = ("http://", "https://")
_OTHER_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)

KEYS = ("name", "text", "image", "add", "minus")
"""What an object may say; `image`, `add` and `minus` are a text or a list of texts."""


class Kind(StrEnum):
    """What a term is."""

    TEXT = "text"
    FILE = "file"
    URL = "url"


@dataclass(frozen=True, slots=True)
class Term:
    """A text, the path of a picture, or its URL; a `weight` below zero takes away."""

    kind: Kind
    value: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Query:
    """The weighted sum of its terms; `name` is what one of many queries is called in the output."""

    terms: tuple[Term, ...]
    name: str | None = None


def make_query(
    text: str | None = None,
    images: Iterable[str] = (),
    add: Iterable[str] = (),
    minus: Iterable[str] = (),
    name: str | None = None,
) -> Query:
    """Return the query for a text, pictures (files or URLs), and what is added to them and taken away.

    A word of `add` and `minus` that begins with `./`, `../`, `/`, `~/` or `http(s)://` is a picture, any other a text.
    Each may have a weight in front: `2:golden retriever`, `0.5:./dog.jpg`. Raises `QueryError` for an empty text, a
    weight of zero, or a query of nothing.
    """
    terms = [_term(text, picture=False)] if text is not None else []
    terms += [_term(word, picture=True) for word in images]
    terms += [_term(word, picture=None) for word in add]
    terms += [_negative(_term(word, picture=None)) for word in minus]
    if not terms:
        raise QueryError('search takes a text or --image FILE: imgidx search "a red car"')
    return Query(tuple(terms), name)


def with_prompts(query: Query, prompts: Sequence[str]) -> Query:
    """Return a query whose texts stand in each of `prompts`, sentences such as "a photo of a {}."; `{}` is the text.

    With several, the text counts as the mean of the sentences' unit vectors. Raises `UsageError` for a sentence without
    `{}`.
    """
    check_prompts(prompts)
    terms = (sentence for term in query.terms for sentence in _in_sentences(term, prompts))
    return replace(query, terms=tuple(terms)) if prompts else query


def _in_sentences(term: Term, prompts: Sequence[str]) -> Iterator[Term]:
    """Yield a text in each of `prompts`, which together weigh as much as it did; a picture as it is."""
    if term.kind is not Kind.TEXT:
        yield term
        return
    for sentence in sentences([term.value], prompts):
        yield replace(term, value=sentence, weight=term.weight / len(prompts))


def _term(word: str, *, picture: bool | None) -> Term:
    """Return the term that a word means; `picture` None: as its beginning says."""
    weight, value = _weighted(word)
    if picture is None:
        picture = value.startswith(_PICTURE)
    if not value.strip():
        raise QueryError(
            "the query is empty", "describe what the picture shows, for example: imgidx search 'a red car'"
        )
    if picture and _OTHER_URL.match(value) and not value.startswith(_URL):
        raise QueryError(f"{value.partition(':')[0]}:// cannot be fetched", "give an http or https address, or a file")
    kind = Kind.TEXT if not picture else Kind.URL if value.startswith(_URL) else Kind.FILE
    return Term(kind, value, weight)


def _weighted(word: str) -> tuple[float, str]:
    """Return the weight and the rest of a word; a digit behind the colon, as in `16:9`, means that it has none."""
    match = _WEIGHT.fullmatch(word)
    return (weight_of(match[1], word), match[2]) if match else (1.0, word)


def weight_of(number: str, word: str) -> float:
    """Return a weight from its digits, which stand in front of a word; raise `QueryError` for one of no use."""
    weight = float(number)
    if not weight:
        raise QueryError(f"the weight of {word!r} is zero", f"leave it out, or write it as: 1:{word}")
    if weight > MOST_WEIGHT:
        raise QueryError(
            f"the weight of {word!r} is over a million", "the weights of a query only count by their ratio"
        )
    return weight


def _negative(term: Term) -> Term:
    """Return a term with the opposite weight."""
    return replace(term, weight=-term.weight)


# Many queries


def read_queries(source: str) -> Iterator[Query | QueryError]:
    """Yield the queries in a file, or on standard input for `-`, as its lines come; empty lines are skipped.

    A line is a text, or a JSON object with any of `KEYS`. One that is no query is yielded as the error that it is, for
    the others to go on. Raises `UsageError` at once if the file cannot be read.
    """
    if source == "-":
        return _parsed(sys.stdin.buffer, "standard input")
    try:
        return _parsed_and_closed(open(source, "rb"), source)
    except OSError as error:
        raise UsageError(f"cannot read the queries in {source}: {error.strerror}") from error


def _parsed_and_closed(file: BinaryIO, source: str) -> Iterator[Query | QueryError]:
    """Yield what each line of a file of ours says, then close it."""
    with file:
        yield from _parsed(file, source)


def _parsed(stream: BinaryIO, source: str) -> Iterator[Query | QueryError]:
    """Yield what each line of a stream says."""
    for number, line in enumerate(iter(stream.readline, b""), 1):
        if line.strip():
            try:
                yield _query(line)
            except (QueryError, ValueError) as error:
                yield QueryError(f"line {number} of {source}: {error}")


def _query(line: bytes) -> Query:
    """Return the query of a line; raise `QueryError` or `ValueError`, saying why, for a line that is none."""
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
    """Return the texts under a key of an object, which holds one text or a list of them."""
    value = record.get(key, [])
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise QueryError(f"{key!r} must be a text or a list of texts")
    return texts
