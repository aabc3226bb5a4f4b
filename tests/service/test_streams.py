"""Answers that are sent piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.types import Message

from image_index.errors import WorkersFailed
from image_index.service.streams import Places, Stream


async def pieces(ended: list[str]) -> AsyncIterator[bytes]:
    """Yield pieces for ever; say when that ends."""
    try:
        while True:
            await asyncio.sleep(0)
            yield b"x"
    finally:
        ended.append("pieces")


async def answer(ended: list[str], send: Any, receive: Any) -> None:
    """Send an answer without end."""
    stream = Stream(pieces(ended), "text/plain", {}, lambda: ended.append("place"))
    await stream({"type": "http", "method": "GET", "headers": []}, receive, send)


@pytest.mark.parametrize("sent", [0, 3])
def test_a_client_that_leaves_ends_its_answer(sent: int) -> None:
    """Also before its first piece."""
    taken: list[Message] = []

    async def send(message: Message) -> None:
        taken.append(message)

    async def leave() -> Message:
        while len(taken) < sent:
            await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    ended: list[str] = []
    asyncio.run(answer(ended, send, leave))
    assert ended[-1] == "place"


def test_places_are_few() -> None:
    """One that is given back can be taken again."""
    places = Places(1)
    places.take()
    with pytest.raises(WorkersFailed, match="as many"):
        places.take()
    places.give_back()
    places.take()
