"""Pictures that the index does not have, to be searched by: sent along, or fetched from the web."""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from image_index.errors import QueryError
from image_index.formats import readable_extensions
from image_index.search.encode import QueryVector
from image_index.search.public_web import fetch_public
from image_index.search.web import shown
from image_index.service.readers import OpenIndex, Service


@dataclass(frozen=True, slots=True)
class SentPicture:
    """A picture that came with a search, and what its sender calls it."""

    name: str
    data: bytes

    @property
    def digest(self) -> str:
        """What tells its content from all others."""
        return sha256(self.data).hexdigest()

    def encode(self, opened: OpenIndex) -> QueryVector:
        """Return its vector by a child; raise `DecodeError` where it is no picture that can be read."""
        extension = os.path.splitext(self.name)[1].lower()
        suffix = extension if os.fsencode(extension) in readable_extensions() else ""
        with tempfile.TemporaryDirectory(prefix="imgidx-") as directory:
            path = Path(directory) / f"picture{suffix}"
            path.write_bytes(self.data)
            return opened.encoder.picture(os.fsencode(path), self.name)


async def vector_of_url(service: Service, url: str) -> QueryVector:
    """Return the vector of the picture at an address; raise `QueryError` where the server fetches none."""
    if service.fetches is None:
        raise QueryError(
            "the server fetches no pictures from the web", "send the picture itself, or start imgidx serve --allow-urls"
        )
    async with service.fetches:
        picture = SentPicture(shown(url), await asyncio.to_thread(fetch_public, url))
        return await service.child.read(picture.encode)
