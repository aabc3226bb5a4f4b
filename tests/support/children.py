"""What a test sees of the children that pools start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import MagicMock, patch

from image_index.workers.child import Child


@contextmanager
def started_children() -> Iterator[list[Child]]:
    """Give a list that grows by each child that is started."""
    started: list[Child] = []
    start = Child.start

    def start_and_tell(*arguments: Any) -> Child:
        started.append(start(*arguments))
        return started[-1]

    with patch.object(Child, "start", start_and_tell):
        yield started


@contextmanager
def counted_restarts() -> Iterator[MagicMock]:
    """Give what is called whenever a child is replaced; its `call_count` says how often."""
    with patch.object(Child, "successor", autospec=True, side_effect=Child.successor) as replaced:
        yield replaced
