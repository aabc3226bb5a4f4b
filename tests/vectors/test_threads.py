"""Threads that work on a few items at a time."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from functools import partial

import pytest
from threadpoolctl import threadpool_info

from image_index.vectors import threads
from image_index.vectors.threads import at_once, in_threads


def test_results_come_in_the_order_of_the_items() -> None:
    """However long each of them takes."""

    def slow_at_first(item: int) -> int:
        time.sleep(0.01 if item < 3 else 0)
        return item * item

    assert list(in_threads(slow_at_first, range(20))) == [item * item for item in range(20)]


def test_items_are_taken_a_few_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that memory stays bounded however slowly results are used."""
    monkeypatch.setattr(threads, "MOST", 2)
    taken = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    results = in_threads(lambda item: item, items())
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(taken) <= 8
    results.close()


def test_an_error_ends_it() -> None:
    """It is raised where its result would have come, and no item is taken after."""
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda item: 1 // item, [2, 1, 0, 1]))


def test_matrices_are_multiplied_by_one_thread_each_meanwhile() -> None:
    """So that threads of OpenBLAS do not fight ours for the processors; afterwards it has them again."""

    def most() -> int:
        pools = [pool for pool in threadpool_info() if "numpy" in pool["filepath"]]  # faiss has an OpenBLAS of its own
        return max(int(pool["num_threads"]) for pool in pools)

    before = most()
    assert list(in_threads(lambda _: most(), range(3))) == [1, 1, 1]
    assert most() == before


def test_what_is_done_at_once_comes_back_in_order() -> None:
    """The first by this thread, the others by threads that are kept."""

    def work(number: int) -> tuple[int, int]:
        time.sleep(0.001 * (3 - number))
        return number, threading.get_ident()

    done = at_once([partial(work, number) for number in range(3)])
    again = at_once([partial(work, number) for number in range(3)])
    assert [number for number, _ in done] == [0, 1, 2]
    assert done[0][1] == again[0][1] == threading.get_ident()
    assert len({ident for _, ident in done + again}) <= 1 + max(2, threads.cores())
    assert at_once([partial(work, 2)]) == [(2, threading.get_ident())]
    with pytest.raises(ZeroDivisionError):
        at_once([lambda: 1, lambda: 1 // 0])


def test_a_process_that_was_forked_has_threads_of_its_own() -> None:
    """A server that searches, and then forks its workers, must not leave them waiting for its threads."""
    at_once([int, int])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of just that
        child = os.fork()
    if not child:
        signal.alarm(10)
        os._exit(0 if at_once([int, int]) == [0, 0] else 1)
    assert os.waitpid(child, 0)[1] == 0
