"""The Redis server of a queue: its address, and a connection that waits while it is away."""

from __future__ import annotations

import ipaddress
import logging
from typing import Self
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import AbstractBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.retry import Retry

from image_index.errors import UsageError

LOOK_EVERY_S = 1.0
"""How often it is tried whether a Redis that is away is back."""

logger = logging.getLogger(__name__)


def shown_address(url: str) -> str:
    """Return the address without user, password and parameters, for logs and messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def check_address(url: str, *, allow_open: bool) -> None:
    """Raise `UsageError` for what is no address of a Redis, and for one that anybody in the network may write to."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"that is no address of a Redis: {error}", "for example: redis://localhost:6379") from error
    if parts.scheme not in {"redis", "rediss", "unix"} or (parts.scheme != "unix" and not host):
        raise UsageError(f"{shown_address(url)} is no address of a Redis", "for example: redis://localhost:6379")
    if parts.scheme != "unix" and not parts.password and not allow_open and not _is_loopback(host or ""):
        raise UsageError(
            f"{shown_address(url)} is on another machine and asks for no password: anybody who reaches it could start"
            " and stop trainings",
            "give it one, redis://:PASSWORD@HOST:PORT, or say --allow-open-redis",
        )


def _is_loopback(host: str) -> bool:
    """Tell whether `host` is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may lead anywhere
        return False


class Patience(AbstractBackoff):
    """Waits for a Redis that is away until it is back, or until `is_over`: then its error is raised."""

    def __init__(self) -> None:
        self.is_over = False

    def __deepcopy__(self, _: object) -> Self:
        return self  # redis-py copies it for each connection, and all of them end together

    def compute(self, failures: int) -> float:
        """Return how long to wait after so many failures; raise the error that is being handled where it is over."""
        if self.is_over:
            raise  # noqa: PLE0704  # redis-py calls this where it has caught an error
        if failures == 1:
            logger.warning("Redis is away; waiting until it is back")
        return LOOK_EVERY_S


def connect(url: str, patience: Patience | None = None) -> Redis:
    """Return a connection, which asks for nothing yet. With `patience` its commands wait while Redis is away."""
    try:
        return Redis.from_url(url, **({} if patience is None else {"retry": Retry(patience, retries=-1)}))
    except ValueError as error:
        raise UsageError(f"{shown_address(url)} is no address of a Redis: {error}") from error


def greet(url: str) -> None:
    """Ask a Redis whether it is there.

    Raises `UsageError` where it does not let us in; where it is away, it is only said that it is waited for.
    """
    try:
        with connect(url) as redis:
            redis.ping()
    except (AuthenticationError, ResponseError) as error:
        raise UsageError(f"{shown_address(url)} does not let us in: {error}", "look at the password in it") from error
    except RedisError as error:
        logger.warning("%s cannot be reached: %s; waiting until it can", shown_address(url), error)
