"""A call returns what it returns, or is given up in time."""

from __future__ import annotations

from threading import Event
from time import monotonic

import pytest

from image_index.deadline import within


def test_an_answer_in_time_is_returned() -> None:
    """Whatever it is."""
    assert within(5, lambda: 7) == 7


def test_an_error_is_raised_here() -> None:
    """As if there were no other thread."""
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0)


def test_a_call_that_does_not_end_is_given_up() -> None:
    """After the deadline, and not much later."""
    released = Event()
    start = monotonic()
    with pytest.raises(TimeoutError):
        within(0.1, lambda: released.wait(30))
    assert 0.1 <= monotonic() - start < 10
    released.set()
