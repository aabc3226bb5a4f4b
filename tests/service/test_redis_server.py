"""The address of a Redis: what is taken, what is refused, and what is shown of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from image_index.errors import UsageError
from image_index.service.redis_server import check_address, greet, shown_address
from tests.support.redis_servers import redis_server


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:6379",
        "redis://localhost",
        "redis://127.0.0.1:6379/2",
        "rediss://[::1]:6379",
        "unix:///run/redis.sock",
        "redis://:secret@queue.example:6379",
    ],
)
def test_this_machine_or_a_password_is_asked_for(url: str) -> None:
    """What only this machine reaches needs no password."""
    check_address(url, allow_open=False)


@pytest.mark.parametrize("url", ["redis://queue.example:6379", "redis://user@10.0.0.7", "rediss://0.0.0.0:6379"])
def test_a_redis_on_another_machine_without_a_password_is_refused(url: str) -> None:
    """Unless somebody says that it is meant."""
    with pytest.raises(UsageError, match="--allow-open-redis"):
        check_address(url, allow_open=False)
    check_address(url, allow_open=True)


@pytest.mark.parametrize("url", ["", "localhost:6379", "http://localhost", "redis://", "redis://[::1", "redis://a:b"])
def test_what_is_no_address_is_told(url: str) -> None:
    """With one that would be."""
    with pytest.raises(UsageError, match="redis://localhost:6379"):
        check_address(url, allow_open=True)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379", "redis://localhost:6379"),
        ("rediss://ada:secret@queue.example:6380/1?password=secret", "rediss://queue.example:6380/1"),
        ("redis://:se@cret@localhost", "redis://localhost"),
        ("unix://:secret@/run/redis.sock?db=1", "unix:///run/redis.sock"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    """Nor anything else that is said only to Redis."""
    assert shown_address(url) == shown


def test_a_wrong_password_is_told_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While a Redis that is away is waited for."""
    with redis_server(tmp_path, password="right") as server:
        greet(server.url)
        for wrong in ("redis://:wrong@localhost", "redis://localhost"):
            with pytest.raises(UsageError, match="does not let us in"):
                greet(f"{wrong}:{server.port}")
        assert not caplog.messages
    greet(server.url)
    assert "cannot be reached" in caplog.text
    assert "right" not in caplog.text
