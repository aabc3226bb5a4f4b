"""A few threads for what numpy and FAISS do without the interpreter's lock."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from image_index.machine import core_count

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 4
"""More threads would hold more blocks of vectors in memory than a build may take."""


@cache
def cores() -> int:
    """Return how many processors there are; to ask the system takes up to 2 ms."""
    return core_count()


def at_once(works: Sequence[Callable[[], Result]]) -> list[Result]:
    """Return what each of `works` returns: the first is done by this thread, the others beside it.

    The others' threads are kept: to start them for one search takes up to a millisecond.
    """
    waiting = [_helpers().submit(work) for work in works[1:]]
    return [works[0](), *(future.result() for future in waiting)]


@cache
def _helpers() -> ThreadPoolExecutor:
    """Return the threads that help in searches."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(cores())


os.register_at_fork(after_in_child=_helpers.cache_clear)  # else the child would wait for threads that it does not have


def in_threads(work: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
    """Yield `work(item)` of each item, in order; the caller's thread takes the items, a few ahead of the work."""
    from concurrent.futures import ThreadPoolExecutor  # 10 ms for both, which a search does not need

    from threadpoolctl import threadpool_limits

    threads = min(MOST, cores())
    waiting: deque[Future[Result]] = deque()
    # Else OpenBLAS has threads of its own for each of ours, which spin while they wait: 76 us of 2 cores became 21.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
