"""Pictures that are sent along with a search: bounded in number, size and time, and decoded in the killable child."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import Request
from starlette.datastructures import UploadFile

from image_index.errors import UsageError
from image_index.service.access import MOST_JSON_BYTES
from image_index.service.bodies import QUERY, is_form, validated
from image_index.service.requests import SearchRequest
from image_index.service.sent_pictures import SentPicture

MOST_AT_ONCE = 4
"""How many pictures are received and encoded at once; others wait, and are not read meanwhile."""

PICTURE = "picture"
"""The part of a form that is the picture's file."""

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": SearchRequest.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [PICTURE],
                    "additionalProperties": False,
                    "properties": {
                        QUERY: {"type": "string", "contentMediaType": "application/json"},
                        PICTURE: {"type": "string", "format": "binary"},
                    },
                },
            },
        },
    }
}
"""The body of a search, for the OpenAPI document: which of the two it is, its media type says."""


Received = TypeVar("Received")


@dataclass(frozen=True, slots=True)
class Uploads:
    """How many pictures may be on their way."""

    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_AT_ONCE))

    @asynccontextmanager
    async def received(self, request: Request) -> AsyncIterator[tuple[SearchRequest, SentPicture | None]]:
        """Give what a request asks for, and the picture that comes with it; others wait until the block is left.

        Raises the answer 422 for a form that says something else.
        """
        if not is_form(request):
            yield validated(await request.body(), SearchRequest), None
            return
        async with self.places:
            yield await _read_form(request)

    @asynccontextmanager
    async def json_received(self, request: Request) -> AsyncIterator[bytes]:
        """Give a body that may have a picture in it; others wait until the block is left, if it is a large one."""
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) <= MOST_JSON_BYTES:
            yield await request.body()
            return
        async with self.places:
            yield await request.body()


async def _read_form(request: Request) -> tuple[SearchRequest, SentPicture]:
    """Return the query and the picture of a form."""
    async with request.form(max_files=1, max_fields=1) as form:
        query, picture = form.get(QUERY, "{}"), form.get(PICTURE)
        if not {*form} <= {QUERY, PICTURE} or not isinstance(query, str) or not isinstance(picture, UploadFile):
            raise UsageError(f"a form has a file as {PICTURE!r}, and may have a JSON object as {QUERY!r}")
        return validated(query, SearchRequest), SentPicture(picture.filename or "the picture", await picture.read())
