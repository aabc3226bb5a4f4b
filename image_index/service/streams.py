"""Answers that are sent piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from io import FileIO

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from image_index.errors import WorkersFailed

CHUNK_BYTES = 256 << 10
"""How much of a file is read at a time."""

MOST_AT_ONCE = 4
"""How many archives and contact sheets are made at once; a further one is refused."""


class Stream(StreamingResponse):
    """A streamed answer, after which something is to be given back, however it ends."""

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        media_type: str,
        headers: Mapping[str, str],
        end: Callable[[], None],
    ) -> None:
        """Answer with `pieces`; `end` is called once, however that ends."""
        super().__init__(pieces, media_type=media_type, headers=headers)
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        try:
            async with aclosing(self.body_iterator):  # type: ignore[type-var]  # it is a generator
                await super().__call__(scope, receive, send)
        finally:
            self._end()


async def file_chunks(opened: FileIO, size: int) -> AsyncIterator[bytes]:
    """Yield the first `size` bytes of a file, less where it has become shorter."""
    while size > 0 and (chunk := await run_in_threadpool(opened.read, min(size, CHUNK_BYTES))):
        size -= len(chunk)
        yield chunk


@dataclass(slots=True)
class Places:
    """How many answers of a costly kind may still be begun."""

    free: int = MOST_AT_ONCE

    def take(self) -> None:
        """Take a place, until it is given back; raise `WorkersFailed` where there is none."""
        if not self.free:
            raise WorkersFailed("the server makes as many archives and contact sheets as it may", "try again later")
        self.free -= 1

    def give_back(self) -> None:
        """Give a place back."""
        self.free += 1
