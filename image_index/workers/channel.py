"""Messages between parent and child, over a socket pair: each is 8 bytes of length, big-endian, and a pickle."""

from __future__ import annotations

import pickle
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

BUFFER_BYTES = 1 << 20
"""Room in the socket for messages under way; macOS gives 8 kB unasked, too little for one batch."""

_HEADER_BYTES = 8


class ChannelClosed(Exception):
    """The other side is gone."""


def open_pair() -> tuple[Channel, Channel]:
    """Return the two ends of a new channel."""
    ours, theirs = socket.socketpair()
    return Channel(ours), Channel(theirs)


class Channel:
    """One end of a channel; the other end may be in another process."""

    def __init__(self, end: socket.socket) -> None:
        """Take over a connected socket."""
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        self._socket = end
        self._received = bytearray()
        self._sending = threading.Lock()

    def fileno(self) -> int:
        """Return the file descriptor, for `multiprocessing.connection.wait`."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end; the other one then reads the end of the stream."""
        self._socket.close()

    def send(self, message: Any, timeout_s: float | None = None) -> None:
        """Send one message; raise `ChannelClosed` if the other side is gone or takes nothing for `timeout_s`."""
        payload = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        with self._sending:
            try:
                self._socket.settimeout(timeout_s)
                self._socket.sendall(len(payload).to_bytes(_HEADER_BYTES, "big") + payload)
            except OSError as error:
                raise ChannelClosed from error

    def receive_ready(self) -> Iterator[Any]:
        """Read what has arrived and yield the messages that are complete; call it when the socket is readable.

        Raises `ChannelClosed` after the last message once the other side has closed.
        """
        # `multiprocessing.Connection.recv` would wait here for the rest of a message. A child that is stopped or
        # swapped out while it sends would then hold up the parent, and with it every other child. So half a message
        # stays in the buffer, and the deadline of that child decides what becomes of it.
        try:
            self._socket.settimeout(0)
            while data := self._socket.recv(BUFFER_BYTES):
                self._received += data
            closed = True
        except BlockingIOError:
            closed = False
        except OSError:
            closed = True
        yield from self._complete_messages()
        if closed:
            raise ChannelClosed

    def is_readable(self) -> bool:
        """Tell whether a message has arrived, or begun to."""
        poll = select.poll()  # a socket may have a number beyond those that `select.select` takes
        poll.register(self._socket, select.POLLIN)
        return bool(self._received) or bool(poll.poll(0))

    def receive(self) -> Any:
        """Wait for one message and return it; raise `ChannelClosed` at the end of the stream."""
        while True:
            for message in self._complete_messages():
                return message
            try:
                self._socket.settimeout(None)
                data = self._socket.recv(BUFFER_BYTES)
            except OSError as error:
                raise ChannelClosed from error
            if not data:
                raise ChannelClosed
            self._received += data

    def _complete_messages(self) -> Iterator[Any]:
        """Take the complete messages out of the buffer, one by one."""
        while len(self._received) >= _HEADER_BYTES:
            end = _HEADER_BYTES + int.from_bytes(self._received[:_HEADER_BYTES], "big")
            if len(self._received) < end:
                return
            message = pickle.loads(self._received[_HEADER_BYTES:end])
            del self._received[:end]
            yield message
