"""Pictures from a server on this machine that behaves well, or badly."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import pytest
from PIL import Image

from image_index.errors import UsageError
from image_index.search import web
from image_index.search.web import fetched_picture, shown

pytestmark = pytest.mark.timeout(60)


def picture() -> bytes:
    """Return a PNG."""
    stream = BytesIO()
    Image.new("RGB", (8, 8), (0, 200, 0)).save(stream, "PNG")
    return stream.getvalue()


Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers each path as the test says."""

    answers: ClassVar[dict[str, Answer]]
    seen: ClassVar[list[tuple[str, str | None]]]

    def do_GET(self) -> None:
        """Answer, unless whoever asked is gone."""
        self.seen.append((self.path, self.headers["User-Agent"]))
        with suppress(BrokenPipeError, ConnectionResetError):
            self.answers[self.path.partition("?")[0]](self)

    def answer(self, status: int, *headers: tuple[str, str], body: bytes = b"") -> None:
        """Send an answer."""
        self.send_response(status)
        for header in headers:
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server:
    """A server, and the pictures that it has."""

    def __init__(self) -> None:

        class AHandler(Handler):
            answers: ClassVar[dict[str, Answer]] = {}
            seen: ClassVar[list[tuple[str, str | None]]] = []

        self.handler = AHandler
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self.handler)
        self.http.daemon_threads = True
        self.address = f"127.0.0.1:{self.http.server_port}"

    def serve(self, path: str, answer: Answer) -> str:
        """Answer at `path`; return its URL."""
        self.handler.answers[path] = answer
        return f"http://{self.address}{path}"

    def send(self, path: str, body: bytes, *headers: tuple[str, str], status: int = 200) -> str:
        """Send that at `path`; return its URL."""
        return self.serve(path, lambda handler: handler.answer(status, *headers, body=body))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """Give a server, and a directory of its own for temporary files, which must be empty afterwards."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.http.shutdown()
    made.http.server_close()
    thread.join()
    assert list(tmp_path.iterdir()) == []


def refusal(url: str) -> str:
    """Return why a URL is refused."""
    with pytest.raises(UsageError) as raised, fetched_picture(url):
        pass
    assert shown(url) in str(raised.value)
    return str(raised.value)


PNG = ("Content-Type", "image/png")


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "IMAGE/PNG; q=1", None])
def test_a_picture_is_there_for_the_time_of_the_block(server: Server, kind: str | None) -> None:
    """In a file that its owner alone can reach, of the same bytes."""
    url = server.send("/a/b.PNG", picture(), *([("Content-Type", kind)] if kind else []))
    with fetched_picture(f"{url}?size=1#part") as path:
        assert path.read_bytes() == picture()
        assert path.suffix == ".png"
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not path.exists()
    assert [path for path, _ in server.handler.seen] == ["/a/b.PNG?size=1"]
    assert (server.handler.seen[0][1] or "").startswith("imgidx/")


def test_an_odd_extension_does_not_become_part_of_the_name(server: Server) -> None:
    """What is in the file decides, and no name of a stranger's choosing is made."""
    url = server.send("/picture.exe", picture(), PNG)
    with fetched_picture(url) as path:
        assert path.name == "picture"


def test_a_redirect_is_followed(server: Server) -> None:
    """To another picture, over HTTP."""
    target = server.send("/b", picture(), PNG)
    with fetched_picture(server.send("/a", b"", ("Location", target), status=302)) as path:
        assert path.read_bytes() == picture()


@pytest.mark.parametrize("scheme", ["file", "ftp", "data", "gopher"])
def test_a_redirect_to_anything_but_http_is_refused(server: Server, tmp_path: Path, scheme: str) -> None:
    """A server has no say over the files of this machine."""
    secret = tmp_path.parent / "secret.png"
    secret.write_bytes(picture())
    target = "data:image/png,x" if scheme == "data" else f"{scheme}://{secret}"
    assert "cannot fetch" in refusal(server.send("/a", b"", ("Location", target), status=301))


def test_redirects_without_end_are_refused(server: Server) -> None:
    """After a few."""
    url = server.send("/a", b"", ("Location", "/a"), status=302)
    assert "302" in refusal(url)
    assert len(server.handler.seen) < 15


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/a.png", "data:image/png,x"])
def test_nothing_but_http_is_fetched(server: Server, url: str) -> None:
    """Whatever else urllib could do."""
    with pytest.raises(UsageError, match="cannot fetch"), fetched_picture(url):
        pass


def test_what_is_declared_to_be_no_picture_is_refused(server: Server) -> None:
    """As the page around a picture; the type is named."""
    assert "it is text/html, not a picture" in refusal(server.send("/a", b"<p>", ("Content-Type", "text/html")))


@pytest.mark.parametrize("declared", [True, False])
def test_what_is_too_large_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch, declared: bool) -> None:
    """With a length it is not read at all; without, no more than the limit."""
    monkeypatch.setattr(web, "MAX_BYTES", 1 << 20)
    sent: list[int] = []

    def answer(handler: Handler) -> None:
        handler.answer(200, PNG, *([("Content-Length", str(64 << 20))] if declared else []))
        for _ in range(64):
            handler.wfile.write(bytes(1 << 20))
            sent.append(1)

    reason = refusal(server.serve("/a", answer))
    assert "the most that is fetched" in reason
    assert len(sent) < 64


def test_a_picture_of_just_the_limit_is_fetched(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte more is too many."""
    monkeypatch.setattr(web, "MAX_BYTES", len(picture()))
    url = server.send("/a", picture(), PNG)
    with fetched_picture(url) as path:
        assert path.read_bytes() == picture()
    monkeypatch.setattr(web, "MAX_BYTES", len(picture()) - 1)
    refusal(url)


def test_a_server_that_drips_does_not_hold_up_for_long(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is on the whole, not on each read."""
    monkeypatch.setattr(web, "TIME_LIMIT_S", 0.5)
    done = threading.Event()

    def answer(handler: Handler) -> None:
        handler.answer(200, PNG)
        while not done.wait(0.05):
            handler.wfile.write(b".")

    start = time.monotonic()
    assert "longer than 0.5 seconds" in refusal(server.serve("/a", answer))
    assert time.monotonic() - start < 20
    done.set()


@pytest.mark.parametrize("status", [404, 403, 500])
def test_an_error_of_the_server_is_told(server: Server, status: int) -> None:
    """With its number."""
    assert f"the server answers {status}" in refusal(server.send("/a", b"", status=status))


def test_a_connection_that_breaks_off_is_no_picture(server: Server) -> None:
    """Half of what was announced."""
    url = server.send("/a", picture()[:20], PNG, ("Content-Length", str(len(picture()))))
    assert "broke off" in refusal(url)


def test_a_server_that_is_not_there_is_told(server: Server) -> None:
    """In the words of the system."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert "refused" in refusal(f"http://127.0.0.1:{port}/a.png")


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
def test_a_server_that_speaks_no_http_is_an_error(server: Server, answer: bytes) -> None:
    """Not a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert refusal(f"http://127.0.0.1:{listening.getsockname()[1]}/a")
        thread.join()


@pytest.mark.parametrize("rest", ["/a b.png?key=hidden", "/a.png?key=hidden#hidden", "/to-hidden?hidden"])
@pytest.mark.parametrize("user", ["", "user:hidden@", "hidden@"])
def test_secrets_of_an_address_are_not_shown(server: Server, rest: str, user: str) -> None:
    """Neither user nor password nor query, whatever goes wrong."""
    server.send("/a.png", b"", status=404)
    server.send("/to-hidden", b"", ("Location", "http://user:hidden@example.invalid/"), status=302)
    with pytest.raises(UsageError) as raised, fetched_picture(f"http://{user}{server.address}{rest}"):
        pass
    told = str(raised.value)
    assert f"http://{server.address}/" in told
    assert "hidden" not in told.replace("/to-hidden", "")


def test_an_address_that_is_none_is_an_error() -> None:
    """Not a traceback."""
    with pytest.raises(UsageError, match="cannot fetch the address"), fetched_picture("http://[::1/a.png?key=x"):
        pass


def test_a_proxy_of_the_environment_is_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by every other program."""
    monkeypatch.setenv("http_proxy", f"http://{server.address}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    server.send("http://pictures.invalid/a.png", picture(), PNG)
    with fetched_picture("http://pictures.invalid/a.png") as path:
        assert path.read_bytes() == picture()
    assert os.environ["http_proxy"]
