"""Clients that are slow, and many of them."""

from __future__ import annotations

import json
import resource
import socket
from asyncio.trsock import TransportSocket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from threading import Event
from time import sleep
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.types import Receive, Scope, Send

from image_index.search.encode import QueryEncoder
from image_index.service import access, connections
from image_index.service.connections import allow_files
from image_index.settings import IndexHome
from tests.support.served import TOKEN, answering, listening

MANY = 500
HEAD = f"Host: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n".encode()
QUERY = b"POST /api/v1/search HTTP/1.1\r\n" + HEAD + b"Content-Length: 1000\r\n\r\n{"


@contextmanager
def server(home: IndexHome) -> Iterator[tuple[str, int]]:
    """Give the address of a server."""
    with listening(home) as address:
        parts = urlsplit(address)
        assert parts.hostname is not None
        assert parts.port is not None
        yield parts.hostname, parts.port


def found(address: tuple[str, int], **query: Any) -> list[int]:
    """Return the ids that a search finds."""
    client = HTTPConnection(*address, timeout=30)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    client.request("POST", "/api/v1/search", json.dumps(query), headers)
    hits = json.loads(client.getresponse().read())["hits"]
    client.close()
    return [hit["id"] for hit in hits]


def connect(address: tuple[str, int], data: bytes) -> socket.socket:
    """Return a connection through which something has been sent."""
    connection = socket.create_connection(address, timeout=30)
    connection.sendall(data)
    return connection


def rest(connection: socket.socket) -> bytes:
    """Return what comes until the server closes the connection; a test that waits for ever ends by its timeout."""
    data = b""
    try:
        while chunk := connection.recv(1 << 16):
            data += chunk
    except ConnectionResetError:
        pass
    return data


def test_many_slow_clients_starve_no_search(served: IndexHome) -> None:
    """500 at once, half of them amid the head of a request, half amid the body."""
    allow_files()
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 3 * MANY:
        pytest.skip("the system allows too few open files")
    with server(served) as address, ExitStack() as stack:
        for number in range(MANY):
            stack.enter_context(connect(address, QUERY if number % 2 else QUERY[:30]))
        assert found(address, image_id=1, limit=1) == [4]


def test_many_searches_at_once_are_all_answered(served: IndexHome) -> None:
    """Or told that there is too much to do; the next one is answered."""
    query = b'{"image_id": 1}'
    head = b"POST /api/v1/search HTTP/1.1\r\nConnection: close\r\n" + HEAD
    with server(served) as address, ExitStack() as stack:
        waiting = [
            stack.enter_context(connect(address, head + b"Content-Length: %d\r\n\r\n" % len(query) + query))
            for _ in range(100)
        ]
        assert {rest(one).split()[1] for one in waiting} <= {b"200", b"503"}
        assert found(address, image_id=1, limit=1) == [4]


@pytest.mark.parametrize("path", ["/", "/api/v1/status", "/api/v1/images/1/thumbnail", "/nowhere"])
def test_head_is_get_without_the_body(served: IndexHome, path: str) -> None:
    """RFC 9110 asks every server for it; `curl -I` sends it."""
    request = f" {path} HTTP/1.1\r\nConnection: close\r\n".encode() + HEAD + b"\r\n"
    with server(served) as address:
        answers = []
        for method in (b"GET", b"HEAD"):
            with connect(address, method + request) as connection:
                answers.append(rest(connection).partition(b"\r\n\r\n"))
    (head, _, body), (same, _, nothing) = answers
    assert (len(body) > 0, nothing) == (True, b"")
    assert undated(same) == undated(head)


def undated(head: bytes) -> list[bytes]:
    """Return the lines of the head of an answer but for its date."""
    return [line for line in head.split(b"\r\n") if not line.startswith(b"date:")]


@pytest.mark.parametrize("sent", [b"", QUERY[:30]])
def test_who_sends_no_request_is_left(served: IndexHome, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    """However little it sends, and also behind an answer."""
    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    with server(served) as address:
        with connect(address, sent) as connection:
            assert rest(connection) == b""
        with connect(address, b"GET /healthz HTTP/1.1\r\n" + HEAD + b"\r\n" + sent) as connection:
            assert rest(connection).endswith(b'{"status":"ok"}')


def test_a_body_that_does_not_come_is_not_waited_for(served: IndexHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and what comes of it later is not waited for either."""
    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    monkeypatch.setattr(access, "BODY_S", 0.2)
    with server(served) as address, connect(address, QUERY) as connection:
        assert b" 408 " in rest(connection).partition(b"\r\n")[0]


def test_an_answer_may_take_longer_than_a_request(served: IndexHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits are for clients."""
    monkeypatch.setattr(connections, "HEAD_S", 0.1)
    monkeypatch.setattr(access, "BODY_S", 0.1)
    monkeypatch.setattr(QueryEncoder, "has_text_tower", True)

    def text(encoder: QueryEncoder, _: str) -> Any:
        sleep(0.5)
        return encoder.picture(bytes(served.path.parent / "photos/red.png"))

    monkeypatch.setattr(QueryEncoder, "text", text)
    with server(served) as address:
        assert found(address, text="red", limit=1) == [1]


def test_who_reads_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent ends, and what it holds is free again."""
    monkeypatch.setattr(connections, "STALL_S", 0.2)
    ended = Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.body"})
        ended.set()

    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener, answering(app, listener):
        client = connect(listener.getsockname(), request)
        assert ended.wait(60)
        client.close()


def test_who_has_been_idle_for_longest_makes_room(served: IndexHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """For one who asks; so nobody is kept out by connections that do nothing."""
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 2)
    with server(served) as address, connect(address, b"G") as first, connect(address, b"G") as second:
        assert found(address, image_id=1, limit=1) == [4]
        assert rest(first) == b""
        second.sendall(b"ET /healthz HTTP/1.1\r\nConnection: close\r\n" + HEAD + b"\r\n")
        assert b" 200 " in rest(second)


def test_an_answer_is_not_held_back(served: IndexHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its second part would wait 40 ms for the client to acknowledge the first (Nagle's algorithm)."""
    options: list[tuple[int, ...]] = []
    monkeypatch.setattr(TransportSocket, "setsockopt", lambda _, *option: options.append(option))
    with server(served) as address:
        found(address, image_id=1)
    assert (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in options


def test_what_is_no_http_is_a_problem_like_others(served: IndexHome) -> None:
    """As is an address that is too long."""
    with server(served) as address:
        for sent in (b"what?\r\n\r\n", b"GET /" + b"x" * 10_000_000 + b" HTTP/1.1\r\n"):
            with connect(address, sent) as connection:
                head, _, body = rest(connection).partition(b"\r\n\r\n")
            assert b"application/problem+json" in head
            assert json.loads(body)["status"] == 400
