"""Messages between two processes, over real sockets."""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise
from multiprocessing.connection import wait
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_index.workers.channel import BUFFER_BYTES, Channel, ChannelClosed, open_pair
from tests.support.photos import REPOSITORY

pytestmark = pytest.mark.timeout(60)
Pair = tuple[Channel, Channel]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Give the two ends of a channel."""
    ours, theirs = open_pair()
    yield ours, theirs
    ours.close()
    theirs.close()


def frame(message: Any) -> bytes:
    """Return a message as it goes over the socket: eight bytes of length, and its pickle."""
    payload = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return len(payload).to_bytes(8, "big") + payload


def test_messages_come_in_order_both_ways(pair: Pair) -> None:
    """None is a message like any other."""
    ours, theirs = pair
    messages = [None, 1, "two", b"\0" * 100, {"four": [4]}]
    for one, other in ((ours, theirs), (theirs, ours)):
        for message in messages:
            one.send(message)
        assert list(other.receive_ready()) == messages
        for message in messages:
            one.send(message)
        assert [other.receive() for _ in messages] == messages


def test_nothing_ready_is_nothing(pair: Pair) -> None:
    """Asking without need does not wait."""
    assert list(pair[0].receive_ready()) == []


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=30), min_size=1, max_size=4), st.lists(st.integers(0, 200), max_size=6))
def test_messages_cut_anywhere_are_put_together(messages: list[bytes], cuts: list[int]) -> None:
    """A stream knows no borders: whatever arrives together, each message is yielded once, as soon as it is whole."""
    wire, theirs = socket.socketpair()
    ours = Channel(theirs)
    stream = b"".join(map(frame, messages))
    ends = [len(b"".join(map(frame, messages[: number + 1]))) for number in range(len(messages))]
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    received: list[bytes] = []
    for start, end in pairwise(places):
        wire.sendall(stream[start:end])
        received += ours.receive_ready()
        assert received == messages[: sum(whole <= end for whole in ends)]
    ours.close()
    wire.close()


@pytest.fixture
def wired() -> Iterator[tuple[Channel, socket.socket]]:
    """Give one end of a channel, and a socket that is the other: what is sent there need not be a message."""
    wire, theirs = socket.socketpair()
    ours = Channel(theirs)
    yield ours, wire
    ours.close()
    wire.close()


def test_half_a_message_holds_nobody_up(wired: tuple[Channel, socket.socket]) -> None:
    """A child stopped while it sends leaves its parent free; what it sent is kept until the rest comes."""
    ours, wire = wired
    content = frame("message")
    for cut in (3, 8, 12):
        wire.sendall(content[:cut])
        assert wait([ours.fileno()], 10)
        assert list(ours.receive_ready()) == []
        wire.sendall(content[cut:])
        assert list(ours.receive_ready()) == ["message"]


def test_message_larger_than_the_buffer_gets_through(pair: Pair) -> None:
    """Pictures' vectors of a large batch are more than a socket holds."""
    ours, theirs = pair
    message = bytes(range(256)) * (5 * BUFFER_BYTES // 256)
    sender = threading.Thread(target=theirs.send, args=(message,))
    sender.start()
    received: list[Any] = []
    while not received:
        assert wait([ours.fileno()], 10)
        received += ours.receive_ready()
    sender.join()
    assert received == [message]


def test_large_message_is_waited_for_on_request(pair: Pair) -> None:
    """A child does wait for its next batch, however many pieces it comes in."""
    ours, theirs = pair
    message = b"x" * (3 * BUFFER_BYTES)
    sender = threading.Thread(target=ours.send, args=(message,))
    sender.start()
    assert theirs.receive() == message
    sender.join()


def test_closed_peer_is_known_after_its_last_whole_message(wired: tuple[Channel, socket.socket]) -> None:
    """What a child said before it died counts; half a message does not."""
    ours, wire = wired
    wire.sendall(frame("first") + frame("last") + frame("never whole")[:-1])
    wire.close()
    messages = ours.receive_ready()
    assert [next(messages), next(messages)] == ["first", "last"]
    with pytest.raises(ChannelClosed):
        next(messages)


def test_waiting_ends_when_the_peer_is_gone(pair: Pair) -> None:
    """A child whose parent is gone is not left waiting."""
    ours, theirs = pair
    ours.send("last")
    ours.close()
    assert theirs.receive() == "last"
    with pytest.raises(ChannelClosed):
        theirs.receive()


def test_sending_to_a_closed_peer_raises(pair: Pair) -> None:
    """No SIGPIPE, no OSError."""
    ours, theirs = pair
    theirs.close()
    with pytest.raises(ChannelClosed):
        ours.send("message")


def test_sending_to_a_peer_that_does_not_read_ends_in_time(pair: Pair) -> None:
    """A hung child cannot hang its parent."""
    with pytest.raises(ChannelClosed):
        pair[0].send(bytes(5 * BUFFER_BYTES), timeout_s=0.05)


def test_batches_fit_into_the_socket_of_a_busy_peer(pair: Pair) -> None:
    """Giving work to a child that is busy does not wait."""
    ours, theirs = pair
    for number in range(2):
        ours.send((number, b"x" * 64_000), timeout_s=0)
    assert [number for number, _ in theirs.receive_ready()] == [0, 1]


def test_message_that_cannot_be_pickled_leaves_the_channel_whole(pair: Pair) -> None:
    """Not a byte of it is sent."""
    ours, theirs = pair
    with pytest.raises((TypeError, pickle.PicklingError, AttributeError)):
        ours.send(threading.Lock())
    ours.send("next")
    assert list(theirs.receive_ready()) == ["next"]


def test_threads_do_not_mix_their_messages(pair: Pair) -> None:
    """A log line of another thread never stands in the middle of a result."""
    ours, theirs = pair
    messages = [bytes([number]) * BUFFER_BYTES for number in range(8)]
    threads = [threading.Thread(target=ours.send, args=(message,)) for message in messages]
    for thread in threads:
        thread.start()
    assert sorted(theirs.receive() for _ in messages) == messages
    for thread in threads:
        thread.join()


ECHO = """
import socket, sys
from image_index.workers.channel import Channel
channel = Channel(socket.socket(fileno=int(sys.argv[1])))
while True:
    channel.send(channel.receive())
"""


def test_the_other_end_may_be_in_another_process() -> None:
    """It works there, and the end of the process is seen here."""
    ours, theirs = open_pair()
    command = (sys.executable, "-c", ECHO, str(theirs.fileno()))
    with subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=REPOSITORY) as process:
        theirs.close()
        ours.send({"a": 1})
        assert ours.receive() == {"a": 1}
        process.kill()
    assert wait([ours.fileno()], 10)
    with pytest.raises(ChannelClosed):
        list(ours.receive_ready())
    ours.close()
