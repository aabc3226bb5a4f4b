"""Connections that are closed where their clients are slow, so that many of them hold up nobody else.

uvicorn waits for ever for the head of a request, for a client that reads no more, and for the end of a body that no
route wants (version 0.54). Its limit of connections refuses the newcomer and not the one that does nothing. How long
the body of a request may take, `access` says.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from http import HTTPStatus

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from image_index.service.problems import problem

HEAD_S = 10.0
"""How long the head of a request may take, from the first byte or from the answer before it."""

STALL_S = 60.0
"""How long a client may take none of what waits for it."""

MOST_CONNECTIONS = 1000
"""How many connections there are at most; for a further one, the one is closed that has been idle for longest."""

FILES = 4096
"""How many files the server may have open, as far as the system lets it: connections, pictures, the index."""


class PunctualProtocol(H11Protocol):
    """A connection with HTTP/1.1 whose client is punctual, or is left."""

    _idle: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, and wait for a request."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in {socket.AF_INET, socket.AF_INET6}:
            # asyncio does so only where a socket says its protocol by number, which one that listens for us does not;
            # without it an answer's second part waits 40 ms for the client to acknowledge the first
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > MOST_CONNECTIONS:
            waiting = [one for one in self.connections if isinstance(one, PunctualProtocol) and one.idle_since]
            min(waiting, key=lambda one: one.idle_since, default=self).leave()
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what has come, unless it belongs to a request that has been refused."""
        if not self._is_refused:
            super().data_received(data)
            self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._stalled = self.loop.call_later(STALL_S, self.leave)

    def resume_writing(self) -> None:
        """Go on: it has read."""
        super().resume_writing()
        _cancel(self._stalled)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        _cancel(self._idle)
        _cancel(self._stalled)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn gives it; it says less
        """Say that it is no HTTP, or that the address or the headers are too long, as every other problem is said."""
        answer = problem(HTTPStatus.BAD_REQUEST, "this is no HTTP, or the address or a header is too long")
        head = h11.Response(status_code=400, headers=[*answer.raw_headers, (b"connection", b"close")])
        for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        # were it closed while more comes, the client would be told that the connection is reset, and not why
        self.transport.write_eof()
        self._is_refused = True

    @property
    def idle_since(self) -> float:
        """Since when there is no whole request that could be answered; 0 where one is being answered."""
        return self._idle.when() if self._idle is not None else 0.0

    def leave(self) -> None:
        """Close the connection at once, whatever waits to be sent."""
        self.transport.abort()

    def _watch(self) -> None:
        """Let the time run while no request is being answered."""
        is_busy = self.cycle is not None and not self.cycle.response_complete
        if is_busy:
            _cancel(self._idle)
            self._idle = None
        elif self._idle is None:
            self._idle = self.loop.call_later(HEAD_S, self.leave)


def allow_files() -> None:
    """Let this process open as many files as it may need: 256 are usual on macOS, 1024 on Linux."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    """Stop a timer, if there is one."""
    if timer is not None:
        timer.cancel()
