"""Pictures of the public web, and addresses that are none of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from image_index.errors import QueryError
from image_index.search import public_web, web
from image_index.search.public_web import fetch_public, is_public

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "239.255.255.250",
        "255.255.255.255",
        "192.0.2.1",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001:db8::1",
    ],
)
def test_an_address_of_a_private_network_is_not_public(address: str) -> None:
    """In whatever form it is written."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    """Also one that stands in an IPv6 address."""
    assert is_public(address)


class Web:
    """A server on this machine, which the test takes for the public web, and who has asked it."""

    def __init__(self) -> None:
        seen: list[str] = []
        answers: dict[str, Callable[[Any], None]] = {}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append(self.path)
                with suppress(BrokenPipeError, ConnectionResetError):
                    answers[self.path](self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.seen, self.answers = seen, answers
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.port = self.http.server_port

    def url(self, path: str, answer: Callable[[Any], None]) -> str:
        """Answer at `path`; return its URL."""
        self.answers[path] = answer
        return f"http://127.0.0.1:{self.port}{path}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """Return a server whose address counts as public, and no other one of this machine."""
    monkeypatch.setattr(public_web, "is_public", lambda address: address == "127.0.0.1")
    server = Web()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


def picture(handler: Any) -> None:
    """Send something that is called a picture."""
    handler.send_response(200)
    handler.send_header("Content-Type", "image/png")
    handler.end_headers()
    handler.wfile.write(b"pixels")


def redirect(to: str) -> Callable[[Any], None]:
    """Return an answer that leads elsewhere."""

    def answer(handler: Any) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.end_headers()

    return answer


def test_a_picture_of_the_public_web_is_fetched(server: Web) -> None:
    """Also behind a redirect."""
    url = server.url("/a.png", picture)
    assert fetch_public(url) == b"pixels"
    assert fetch_public(server.url("/b", redirect(url))) == b"pixels"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "0"])
def test_this_machine_is_not_asked(host: str) -> None:
    """By none of its names."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        with pytest.raises(QueryError, match="cannot fetch"):
            fetch_public(f"http://{host}:{listener.getsockname()[1]}/a.png")
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize(
    "to", ["http://127.0.0.2:{}/a.png", "http://[::1]:{}/a.png", "file:///etc/passwd", "ftp://127.0.0.1/"]
)
def test_a_redirect_leads_nowhere_else(server: Web, to: str) -> None:
    """Not to a private address, and to no file."""
    with pytest.raises(QueryError, match="cannot fetch"):
        fetch_public(server.url("/b", redirect(to.format(server.port))))
    assert server.seen == ["/b"]


def test_a_name_is_looked_up_once(server: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a name server says afterwards does not count; where it names a private address too, nothing is asked."""
    asked: list[str] = []
    answers = iter([["127.0.0.1"], ["10.0.0.1"], ["127.0.0.1", "10.0.0.1"]])

    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in next(answers)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    server.url("/a.png", picture)
    url = f"http://changing.example:{server.port}/a.png"
    assert fetch_public(url) == b"pixels"
    assert asked == ["changing.example"]
    for _ in range(2):
        with pytest.raises(QueryError, match="not on the public web"):
            fetch_public(url)
    assert server.seen == ["/a.png"]


def test_a_proxy_is_not_asked(server: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would look names up by itself."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert fetch_public(server.url("/a.png", picture)) == b"pixels"


def test_no_connection_is_left_after_the_time_limit(server: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends a byte now and then keeps no thread of ours."""
    monkeypatch.setattr(web, "TIME_LIMIT_S", 0.3)
    left = threading.Event()

    def drip(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "image/png")
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x")
                time.sleep(0.05)
        except OSError:
            left.set()

    with pytest.raises(QueryError, match="took longer"):
        fetch_public(server.url("/a.png", drip))
    assert left.wait(30)
