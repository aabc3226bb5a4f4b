"""What is searched for: texts and pictures, each with a weight, added up."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from image_index.errors import QueryError

_WEIGHT = re.compile(r"(\d+(?:\.\d+)?):(?!\s*\d)\s*(.+)", re.DOTALL | re.ASCII)
_PICTURE = ("./", "../", "/", "~/", "http://", "https://")
_URL = ("http://", "https://")
_OTHER_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


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


def _term(word: str, *, picture: bool | None) -> Term:
    """Return the term that a word means; `picture` None: as its beginning says."""
    weight, value = _weighted(word)
    if picture is None:
        picture = value.startswith(_PICTURE)
    if not value.strip():
        raise QueryError(
            "the query is empty", "describe what the picture shows, for example: imgidx search 'a red car'"
        )
    if not weight:
        raise QueryError(f"the weight of {word!r} is zero", f"leave it out, or write it as: 1:{word}")
    if picture and _OTHER_URL.match(value) and not value.startswith(_URL):
        raise QueryError(f"{value.partition(':')[0]}:// cannot be fetched", "give an http or https address, or a file")
    kind = Kind.TEXT if not picture else Kind.URL if value.startswith(_URL) else Kind.FILE
    return Term(kind, value, weight)


def _weighted(word: str) -> tuple[float, str]:
    """Return the weight and the rest of a word; a digit behind the colon, as in `16:9`, means that it has none."""
    match = _WEIGHT.fullmatch(word)
    return (float(match[1]), match[2]) if match else (1.0, word)


def _negative(term: Term) -> Term:
    """Return a term with the opposite weight."""
    return replace(term, weight=-term.weight)
