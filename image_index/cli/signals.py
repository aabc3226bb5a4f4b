"""SIGINT, SIGTERM and SIGHUP: the first ends a run after the batches in flight, the second at once."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from image_index.errors import Interrupted
from image_index.stop import StopRequest

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stop_on_signals(time_limit_s: float | None = None) -> Iterator[StopRequest]:
    """Yield a request that a signal or the end of the time sets. A signal that was ignored before (nohup) stays so."""
    stop = StopRequest(deadline=None if time_limit_s is None else time.monotonic() + time_limit_s)

    came = False

    def handle(number: int, _: FrameType | None) -> None:
        # The first signal only leaves a note, which is read between batches. Whoever sends a second one does not want
        # to wait for that: the error leaves from wherever the program is, and the catalog rolls back what is open.
        # A note may be there before the first one: that of a session which its row asks to stop.
        nonlocal came
        if came:
            raise Interrupted(number)
        came = True
        stop.signal_number = stop.signal_number or number

    saved = {number: signal.getsignal(number) for number in SIGNALS}
    for number in (number for number in SIGNALS if saved[number] is not signal.SIG_IGN):
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, previous in saved.items():
            signal.signal(number, previous)
