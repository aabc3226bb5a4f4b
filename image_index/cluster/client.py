"""The driver's way to the cluster: Ray's client in a child of its own, and the channel to it.

Where Ray loses its head, it ends the process that it is loaded in, past every `finally`. That must not be the driver:
it has to say what happened, and to keep its exit code.
"""

from __future__ import annotations

import logging
import re
import subprocess
from contextlib import suppress
from multiprocessing.connection import wait

from image_index.cluster.messages import RUN_AGAIN, Cluster, Connect, Event, Order
from image_index.errors import UsageError, WorkersFailed
from image_index.workers.channel import Channel, ChannelClosed, open_pair
from image_index.workers.child import SEND_TIMEOUT_S, start_process

LEAVE_S = 3.0
"""How long the client may take to leave the cluster; what is left of its nodes then, Ray ends by itself."""

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing leaves the user's machines
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # nodes run the imgidx that is installed there
}


class ClusterClient(Cluster):
    """The cluster at an address, joined by a child process."""

    def __init__(self, address: str) -> None:
        """Start nothing yet; raise `UsageError` for an address that Ray would take to mean something else."""
        if not re.fullmatch(r"auto|(ray://)?[^/\s]+:\d+", address):  # `local`, for one, would start a cluster
            raise UsageError(f"--cluster takes auto, HOST:PORT or ray://HOST:PORT; not {address!r}")
        self._address = address
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None

    def open(self) -> None:
        """Begin to join the cluster; once that is done, this does nothing."""
        if self._process is None:
            self._channel, theirs = open_pair()
            level = logging.getLogger("image_index").getEffectiveLevel()
            self._channel.send(Connect(self._address, level), SEND_TIMEOUT_S)
            self._process = start_process("image_index.cluster.client_main", theirs, ENVIRONMENT)

    def send(self, order: Order) -> None:
        """Give an order, which is carried out later; where the client is gone, `events` says so."""
        if self._channel:
            with suppress(ChannelClosed):
                self._channel.send(order, SEND_TIMEOUT_S)

    def events(self, timeout_s: float) -> list[Event]:
        """Wait for events, at most so long. Raises `WorkersFailed` where the cluster is gone."""
        events: list[Event] = []
        if self._channel is None or not wait([self._channel.fileno()], timeout_s):
            return events
        try:
            events.extend(self._channel.receive_ready())
        except ChannelClosed as error:
            if not events:  # else the next call comes here again
                raise WorkersFailed(
                    f"the cluster at {self._address} has lost its head; what is stored is kept",
                    RUN_AGAIN,
                ) from error
        return events

    def close(self) -> None:
        """Leave the cluster, which ends every node, and end the client."""
        if self._process and self._channel:
            with suppress(ChannelClosed):
                self._channel.send(None, SEND_TIMEOUT_S)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(LEAVE_S)
            self._process.kill()
            self._process.wait()
            if self._process.stdin:
                self._process.stdin.close()
            self._channel.close()
        self._process = self._channel = None
