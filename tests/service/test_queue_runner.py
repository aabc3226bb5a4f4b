"""The thread of a server that offers its sessions to a queue."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from redis.exceptions import ConnectionError as NoConnection

from image_index.errors import IndexNotFound
from image_index.service import queue_runner
from image_index.service.queue_runner import QueueRunner
from image_index.settings import IndexHome
from tests.support.library import make_index

URL = "redis://localhost:1"
"""Where no Redis is."""


@pytest.fixture
def home(tmp_path: Path) -> IndexHome:
    """Return an index."""
    made = IndexHome(tmp_path / "index")
    make_index(made, 2)
    return made


def test_whatever_an_offer_raises_the_next_one_is_made(
    home: IndexHome, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Redis may be away, RQ surprised, the index gone; each is told, and a Redis that is away once."""
    errors: Iterator[Exception] = iter(
        [NoConnection("away"), NoConnection("away"), ValueError("surprise"), IndexNotFound("gone")]
    )
    offered = Event()

    def offer(*_: object) -> None:
        for error in errors:
            raise error
        offered.set()

    monkeypatch.setattr(queue_runner, "offer", offer)
    monkeypatch.setattr(queue_runner, "LOOK_EVERY_S", 0.01)
    with caplog.at_level(logging.WARNING, logger=queue_runner.__name__):
        runner = QueueRunner(home, URL)
        runner.open()
        try:
            assert offered.wait(30)
        finally:
            runner.close()
    assert caplog.text.count("away; sessions wait") == 1
    assert "ValueError: surprise" in caplog.text


def test_the_end_does_not_wait_for_an_offer_that_redis_never_answers(
    home: IndexHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis that was stopped holds its connections open."""
    begun, answered, offered = Event(), Event(), Event()

    def offer(*_: object) -> None:
        begun.set()
        answered.wait(10)
        offered.set()

    monkeypatch.setattr(queue_runner, "offer", offer)
    monkeypatch.setattr(queue_runner, "CLOSE_S", 0.01)
    runner = QueueRunner(home, URL)
    runner.open()
    assert begun.wait(30)
    runner.close()
    assert not offered.is_set()
    answered.set()
