"""Calls that must end in time, although what they call knows no deadline."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what `call` returns, or raise what it raises; raise `TimeoutError` after so many seconds.

    The call goes on in a thread of its own that does not keep the process alive: a name server that does not answer,
    or a web server that sends a byte a second, cannot be interrupted from Python.
    """
    outcome: Future[T] = Future()

    def answer() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:
            outcome.set_exception(error)

    Thread(target=answer, daemon=True).start()
    return outcome.result(timeout=seconds)
