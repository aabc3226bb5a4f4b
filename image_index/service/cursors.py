"""Cursors: where the next page of an answer begins.

A cursor names the last thing of a page and not its place in the answer. So nothing comes twice and nothing is left out
when a training stores or marks pictures between two pages.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from pydantic import BaseModel

from image_index.errors import UsageError


def digest(request: BaseModel, *more: str) -> str:
    """Return what tells a request from all others, whichever of its pages it asks for; `more` comes with it."""
    asked = [request.model_dump(exclude={"cursor", "limit"}), more]
    return sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def write_cursor(kind: str, *values: bytes | float) -> str:
    """Return the cursor that says `values` to a request of this kind."""
    texts = [value.hex() if isinstance(value, bytes | float) else str(value) for value in values]
    return base64.urlsafe_b64encode(json.dumps([kind, *texts]).encode()).decode("ascii")


def read_cursor(cursor: str, kind: str, *types: type[bytes | float]) -> tuple[Any, ...]:
    """Return the values of a cursor; raise `UsageError` for one of another request, or that no answer gave."""
    try:
        first, *texts = json.loads(base64.b64decode(cursor, b"-_", validate=True))
        values = tuple(_READ[kind](text) for kind, text in zip(types, texts, strict=True))
    except (ValueError, TypeError, OverflowError, RecursionError):
        first, values = None, ()
    if first != kind:
        raise UsageError("the cursor is not one that this request was answered with", "leave it out to begin again")
    return values


_READ: dict[type, Callable[[str], Any]] = {bytes: bytes.fromhex, float: float.fromhex, int: int}
