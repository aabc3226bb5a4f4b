"""Listening: the socket, the address that is printed, and the end by a signal."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from urllib.parse import quote

import uvicorn

from image_index.catalog.reader import CatalogReader
from image_index.errors import UsageError
from image_index.files.atomic import remove
from image_index.paths import resolve
from image_index.service.access import LOOPBACK_NAMES, Rules
from image_index.service.app import make_app
from image_index.service.connections import PunctualProtocol, allow_files
from image_index.service.sessions import Training
from image_index.service.sessions_runner import EmbeddedRunner, Runner
from image_index.service.tokens import keep_token, make_token
from image_index.settings import IndexHome

FIRST_PASSED = 3
"""The file descriptor of the first socket that systemd passes."""

END_S = 6
"""How long requests at work may take after a signal; then their connections are closed."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Where to listen and who may ask; `port` 0 is one that is free, `root_path` what a proxy has cut off the path.

    `hosts` are further names by which the server is called. The token is kept in `token_file`; without one it is new
    at every start, and lies in the index home until the end. With `open_access` there is none. Below the directories
    that are `allowed`, and in the roots of the index, sessions may train. With `allow_urls` a search may name
    pictures of the public web.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    root_path: str = ""
    hosts: tuple[str, ...] = ()
    token_file: Path | None = None
    open_access: bool = False
    allowed: tuple[Path, ...] = ()
    allow_urls: bool = False


def serve(
    home: IndexHome,
    options: ServeOptions,
    ready: Callable[[str], None],
    make_runner: Callable[[IndexHome], Runner] | None = None,
) -> None:
    """Answer requests until a signal ends that; `ready` is given the address as soon as it can be asked for.

    The address has the token in it. `make_runner` makes who runs the sessions, by default the server itself. Raises
    `IndexNotFound` where there is no index, `UsageError` where the options make no sense or the port is taken.
    """
    _check(options)
    allow_files()
    with ExitStack() as stack, CatalogReader(home.catalog):  # so that the journal files stay while the server reads
        passed = _passed_socket()
        listener = stack.enter_context(passed or _listen(options))
        host, port = listener.getsockname()[:2]
        if passed:
            options = replace(options, host=host)
            _check(options)
        token = None
        if options.token_file is not None:
            token = keep_token(options.token_file)
        elif not options.open_access:
            file = home.path / f"serve-{port}.token"
            stack.callback(remove, file)
            token = make_token(file)
        hosts = frozenset(name.lower() for name in (*LOOPBACK_NAMES, options.host, *options.hosts))
        training = Training((make_runner or EmbeddedRunner)(home), tuple(resolve(path) for path in options.allowed))
        app = make_app(home, Rules(hosts, token, f"imgidx-{port}"), training=training, allow_urls=options.allow_urls)
        server = _Server(_config(app, options), training)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # before `ready`: whoever has the address may end it
                signal.signal(number, server.handle_exit)
        ready(_address(options, port, token))
        server.run(sockets=[listener])


class _Server(uvicorn.Server):
    """A server whose session begins to stop with the signal, and not only when all requests have ended."""

    def __init__(self, config: uvicorn.Config, training: Training) -> None:
        super().__init__(config)
        self._training = training

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; uvicorn makes this the handler of its signals."""
        self._training.end()
        super().handle_exit(sig, frame)


def _config(app: object, options: ServeOptions) -> uvicorn.Config:
    """Return how uvicorn is to run: nothing of a request goes into a log, for an address may hold the token."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # uvicorn has its own types for ASGI, which mypy cannot match with Starlette's
        http=PunctualProtocol,
        root_path=options.root_path,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=END_S,
    )


def _check(options: ServeOptions) -> None:
    """Raise `UsageError` for options that make no sense together."""
    if options.root_path and (not options.root_path.startswith("/") or options.root_path.endswith("/")):
        raise UsageError(
            "--root-path begins with a slash and does not end with one, for example: --root-path /pictures"
        )
    if options.open_access and options.token_file is not None:
        raise UsageError("--no-token and --token-file cannot be had at once", "choose one")
    if options.open_access and not _is_loopback(options.host):
        raise UsageError(f"without a token anybody could ask at {options.host}", "leave out --no-token or --host")


def _is_loopback(host: str) -> bool:
    """Tell whether `host` is reached from this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may lead anywhere tomorrow
        return False


def _passed_socket() -> socket.socket | None:
    """Return the socket on which systemd listens for this process, None where it does not (sd_listen_fds(3)).

    Raises `UsageError` for anything but one TCP socket.
    """
    passed = {name: os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    if passed["LISTEN_PID"] != str(os.getpid()):
        return None
    if passed["LISTEN_FDS"] == "1":
        listener = socket.socket(fileno=FIRST_PASSED)
        listener.set_inheritable(False)
        if listener.family in {socket.AF_INET, socket.AF_INET6}:
            return listener
    raise UsageError("systemd is to pass one TCP socket", "ListenStream=127.0.0.1:8000, once")


def _listen(options: ServeOptions) -> socket.socket:
    """Return a socket that listens; raise `UsageError` where the address cannot be had."""
    where = f"{options.host} port {options.port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot listen at {where}: {error}", "--port 0 takes a port that is free") from error


def _address(options: ServeOptions, port: int, token: str | None) -> str:
    """Return the address to open, with the token in it."""
    host = f"[{options.host}]" if ":" in options.host else options.host
    secret = f"?token={quote(token)}" if token else ""
    return f"http://{host}:{port}{options.root_path}/{secret}"
