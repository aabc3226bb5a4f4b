"""A few threads for what numpy does without the interpreter's lock, with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, TypeVar

from image_index.machine import core_count

if TYPE_CHECKING:
    from concurrent.futures import Future

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 4
"""More threads would hold more blocks of vectors in memory than a build may take."""


def in_threads(work: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
    """Yield `work(item)` of each item, in order; the caller's thread takes the items, a few ahead of the work."""
    from concurrent.futures import ThreadPoolExecutor  # 10 ms for both, which a search does not need

    from threadpoolctl import threadpool_limits

    threads = min(MOST, core_count())
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
