"""The server's side of a queue: its sessions are run by the workers of a Redis, each index by one at a time."""

from __future__ import annotations

import logging
from threading import Event, Thread

from redis.exceptions import RedisError

from image_index.errors import ImgidxError
from image_index.records import RunKind, Session
from image_index.service.index_queue import offer
from image_index.service.redis_server import check_address, connect, greet, shown_address
from image_index.service.sessions_runner import LOOK_EVERY_S, adopt_sessions, interrupt
from image_index.settings import IndexHome

CLOSE_S = 3.0
"""How long the end waits for an offer: a Redis that is reached and does not answer would hold it up for ever."""

logger = logging.getLogger(__name__)


class QueueRunner:
    """Sees to it that the sessions of an index have a job in Redis; where Redis is away, once it is back."""

    kind = RunKind.QUEUE

    def __init__(self, home: IndexHome, url: str, *, allow_open: bool = False) -> None:
        """Raise `UsageError` for an address that is none, is open to others, or does not let us in."""
        check_address(url, allow_open=allow_open)
        greet(url)
        self._home, self._address, self._redis = home, shown_address(url), connect(url)
        self._wake, self._ending, self._is_away = Event(), False, False
        self._thread = Thread(target=self._work, daemon=True, name="queue")

    def open(self) -> None:
        """Offer the sessions that wait already, until `close`."""
        adopt_sessions(self._home, self.kind)
        self._thread.start()

    def start(self, _: Session) -> None:
        """Offer a session that has just been queued."""
        self._wake.set()

    def cancel(self, session: Session) -> None:
        """Have a session stopped that its row asks to stop: its worker sees that within two seconds.

        Only a run that no worker has is sent a signal from here: workers may have process numbers of their own.
        """
        if session.kind is not self.kind:
            interrupt(self._home, session)
        self._wake.set()

    def end(self) -> None:
        """Offer no more; what runs is the workers' own."""
        self._ending = True

    def close(self) -> None:
        """Return once nothing is offered any more, or Redis has not answered for a while."""
        self._ending = True
        self._wake.set()
        self._thread.join(CLOSE_S)

    def _work(self) -> None:
        """Offer what waits, now and then, until the end."""
        while not self._ending:
            try:
                offer(self._redis, self._home)
                self._is_away = False
            except RedisError as error:
                if not self._is_away:
                    logger.warning("%s cannot be reached: %s; sessions wait until it can", self._address, error)
                self._is_away = True
            except ImgidxError as error:  # the index may be gone, and come back
                logger.info("No session could be offered: %s", error)
            except Exception:  # of RQ, over what another process has changed meanwhile
                logger.exception("A session could not be offered; it is tried again")
            self._wake.wait(LOOK_EVERY_S)
            self._wake.clear()
