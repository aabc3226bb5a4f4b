"""A request from outside to end a run early and cleanly."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class StopRequest:
    """Set from outside, for example by a signal handler, to end an update after the batches in flight."""

    signal_number: int = 0

    def __call__(self) -> bool:
        """Tell whether a stop was asked for."""
        return bool(self.signal_number)
