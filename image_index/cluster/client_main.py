"""What runs in the client: a child of the driver that has joined the cluster, and carries orders and events.

A thread for each node waits for what that node says; another looks which machines there are. The main thread carries
out orders. All of them may be stuck in Ray: it is the driver that knows deadlines.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING

from image_index.cluster.messages import (
    Answered,
    ClusterFailed,
    Connect,
    EndNode,
    Examine,
    Examined,
    Finish,
    Give,
    Members,
    NodeLost,
    Order,
    StartNode,
)
from image_index.errors import ImgidxError, UsageError, WorkersFailed
from image_index.workers.channel import Channel, ChannelClosed
from image_index.workers.child_main import ignore_signals, log_to, obey_parent
from image_index.workers.embed import describe

if TYPE_CHECKING:
    from image_index.cluster.rays import RayCluster, RayNode

LONG_POLL_S = 2.0
"""How long a node may say nothing: an empty answer is a sign of life."""

REACH_S = 10.0
"""How long the head may take to accept a connection."""

LOOK_EVERY_S = 3.0
"""How often the client looks which machines there are."""


def main(descriptor: int) -> None:
    """Serve the driver on the socket `descriptor` until it says so or is gone. The first message is `Connect`."""
    obey_parent()
    channel = Channel(socket.socket(fileno=descriptor))
    with suppress(ChannelClosed):
        connect: Connect = channel.receive()
        log_to(channel, connect.log_level)
        try:
            cluster = _join(connect.address)
        except ImgidxError as error:
            channel.send(ClusterFailed(error))
            os._exit(0)
        ignore_signals()  # Ray has just set handlers of its own
        _Client(channel, cluster).serve()
        cluster.leave()
    os._exit(0)


def _join(address: str) -> RayCluster:
    """Join the cluster; raise `UsageError` where Ray is not installed."""
    try:
        from image_index.cluster.rays import RayCluster
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UsageError("--cluster needs more packages", "on Linux: pip install 'imgidx[cluster]'") from error
    _reach(address)
    return RayCluster(address)


def _reach(address: str) -> None:
    """Raise `WorkersFailed` where nothing listens at an address: Ray would try for more than a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()
        except OSError as error:
            step = "see that Ray runs there, and that a firewall lets you through"
            raise WorkersFailed(f"nothing answers at {address}: {error.strerror or error}", step) from error


class _Client:
    """The nodes by the driver's numbers, and the threads that listen to them."""

    def __init__(self, channel: Channel, cluster: RayCluster) -> None:
        self._channel = channel
        self._cluster = cluster
        self._nodes: dict[int, RayNode] = {}

    def serve(self) -> None:
        """Carry out orders until the last one."""
        _in_thread(self._watch_machines)
        while (order := self._channel.receive()) is not None:
            try:
                self._carry_out(order)
            except Exception as error:  # whatever Ray raises here, it is that node which cannot be had
                if not isinstance(order, Examine):
                    self._channel.send(NodeLost(order.number, describe(error)))

    def _carry_out(self, order: Order) -> None:
        """Carry out one order; one for a node that is gone comes to nothing."""
        match order:
            case StartNode():
                self._nodes[order.number] = self._cluster.start(order)
                _in_thread(lambda: self._follow(order.number, self._nodes[order.number]))
            case Give() if order.number in self._nodes:
                self._nodes[order.number].give.remote(order.batches)
            case Finish() if order.number in self._nodes:
                self._nodes[order.number].finish.remote()
            case EndNode() if order.number in self._nodes:
                self._cluster.end(self._nodes.pop(order.number))
            case Examine():
                _in_thread(lambda: self._examine(order))

    def _follow(self, number: int, node: RayNode) -> None:
        """Pass on what a node says, until it says nothing more."""
        from image_index.cluster.rays import NodeGone

        answer = None
        try:
            while answer is None or not answer.finished:
                answer = self._cluster.take(node, LONG_POLL_S)
                self._channel.send(Answered(number, answer))
        except NodeGone as error:
            self._channel.send(NodeLost(number, str(error)))

    def _examine(self, order: Examine) -> None:
        """Pass on what a machine says of itself."""
        from image_index.cluster.rays import NodeGone

        try:
            self._channel.send(Examined(order.machine, self._cluster.examine(order)))
        except NodeGone as error:
            self._channel.send(Examined(order.machine, str(error)))

    def _watch_machines(self) -> None:
        """Say again and again which machines there are, until the cluster is gone."""
        try:
            while True:
                self._channel.send(Members(self._cluster.machines()))
                time.sleep(LOOK_EVERY_S)
        except ImgidxError as error:
            self._channel.send(ClusterFailed(error))


def _in_thread(work: Callable[[], None]) -> None:
    """Run `work` beside everything else, until it ends or the driver is gone."""

    def run() -> None:
        with suppress(ChannelClosed):
            work()

    Thread(target=run, daemon=True).start()
