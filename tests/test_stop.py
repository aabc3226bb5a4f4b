"""When a run is asked to stop."""

from __future__ import annotations

import time

import pytest

from image_index.stop import StopRequest


def test_a_run_goes_on_until_it_is_asked_to_stop() -> None:
    """Neither a request that says nothing nor a deadline that is still to come stops it."""
    assert not StopRequest()()
    assert not StopRequest(deadline=time.monotonic() + 3600)()


def test_a_signal_stops_a_run_at_any_time() -> None:
    """A handler sets the number, which the run then ends with."""
    stop = StopRequest(deadline=time.monotonic() + 3600)
    stop.signal_number = 15
    assert stop()


def test_a_run_stops_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """From that instant on, without anybody setting anything."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stop = StopRequest(deadline=101.0)
    assert not stop()
    now = 101.0
    assert stop()
