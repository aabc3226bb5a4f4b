"""A request from outside to end a run early and cleanly."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(slots=True)
class StopRequest:
    """Ends an update after the batches in flight: by a signal, or once `deadline` on the monotonic clock has passed."""

    signal_number: int = 0
    deadline: float | None = None

    def __call__(self) -> bool:
        """Tell whether to stop now."""
        return bool(self.signal_number) or (self.deadline is not None and time.monotonic() >= self.deadline)
