"""What the machine gives a process."""

from __future__ import annotations

import os

import pytest

from image_index.machine import core_count


def test_cores_are_those_we_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container or under taskset that is fewer than the machine has; elsewhere all count."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5, 7}, raising=False)
    assert core_count() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert core_count() == os.cpu_count()
