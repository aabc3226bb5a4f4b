"""The threads that read."""

from __future__ import annotations

import asyncio
from threading import Event, get_ident

import pytest

from image_index.errors import WorkersFailed
from image_index.service import readers
from image_index.service.readers import OpenIndex, Readers, Source
from image_index.settings import IndexHome


def test_a_long_read_does_not_keep_others_waiting(served: IndexHome) -> None:
    """Each thread has its own connections."""

    async def run() -> tuple[int, int]:
        threads, done = Readers(Source(served), threads=2), Event()

        def long(_: OpenIndex) -> int:
            assert done.wait(60)
            return get_ident()

        def short(opened: OpenIndex) -> int:
            assert len(opened.index) == 4
            done.set()
            return get_ident()

        try:
            first, second = await asyncio.gather(threads.read(long), threads.read(short))
        finally:
            threads.stop()
        return first, second

    first, second = asyncio.run(run())
    assert first != second


def test_what_waits_is_bounded(served: IndexHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """A further read is refused at once, and those that wait are let go at the end."""
    monkeypatch.setattr(readers, "MOST_WAITING", 1)

    async def run() -> tuple[object, object]:
        threads, begun, done = Readers(Source(served)), Event(), Event()

        def long(_: OpenIndex) -> str:
            begun.set()
            assert done.wait(60)
            return "done"

        at_work = asyncio.create_task(threads.read(long))
        await asyncio.to_thread(begun.wait, 60)
        waiting = asyncio.create_task(threads.read(lambda _: "never"))
        await asyncio.sleep(0)
        with pytest.raises(WorkersFailed, match="too much to do"):
            await threads.read(lambda _: "refused")
        done.set()
        threads.stop()
        return await asyncio.gather(at_work, waiting, return_exceptions=True)

    first, second = asyncio.run(run())
    assert first == "done"
    assert second == "never" or isinstance(second, asyncio.CancelledError)
