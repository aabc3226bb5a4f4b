"""`imgidx serve`: the index in a browser and over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from image_index.cli.options import (
    IndexOption,
    QuietOption,
    VerboseOption,
    common,
    extra_packages,
    given_path,
    write,
)
from image_index.cli.output import open_page
from image_index.cli.signals import stop_on_signals
from image_index.cli.worker import QUEUE_PACKAGES, AllowOpenRedisOption
from image_index.settings import IndexHome

if TYPE_CHECKING:
    from image_index.service.sessions_runner import Runner

PACKAGES = {"fastapi", "multipart", "prometheus_client", "pydantic", "python_multipart", "starlette", "uvicorn"}
"""What the extra `web` brings."""

HostOption = Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where to listen; by default this machine.")]
PortOption = Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="0 takes one that is free.")]
RootPathOption = Annotated[
    str, typer.Option("--root-path", metavar="PATH", help="What a reverse proxy cuts off the path: /pictures.")
]
AllowHostOption = Annotated[
    list[str] | None,
    typer.Option("--allow-host", metavar="NAME", help="Another name of this server, as of a proxy. May be repeated."),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        parser=given_path,
        metavar="FILE",
        help="Where the token is kept from start to start; made if it is not there.",
    ),
]
NoTokenOption = Annotated[bool, typer.Option("--no-token", help="Let every user of this machine ask.")]
AllowOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--allow",
        parser=given_path,
        metavar="DIR",
        help="A directory below which sessions may train, beside the roots of the index. May be repeated.",
    ),
]
AllowUrlsOption = Annotated[
    bool, typer.Option("--allow-urls", help="Fetch pictures that a search names from the public web.")
]
QueueOption = Annotated[
    str | None,
    typer.Option(
        "--queue", metavar="URL", help="Leave sessions to the imgidx worker of this Redis: redis://localhost:6379."
    ),
]
OpenOption = Annotated[bool, typer.Option("--open", help="Open it in the browser.")]


def serve(
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    root_path: RootPathOption = "",
    allow_host: AllowHostOption = None,
    token_file: TokenFileOption = None,
    no_token: NoTokenOption = False,
    allow: AllowOption = None,
    allow_urls: AllowUrlsOption = False,
    queue: QueueOption = None,
    allow_open_redis: AllowOpenRedisOption = False,
    open: OpenOption = False,  # noqa: A002  # the option's name
    index: IndexOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Show the index in a browser, and answer over HTTP what it holds.

    Prints the address, with the token that whoever asks must know. Trains what it is asked to. SIGINT and SIGTERM end
    it once the requests at work are done, and stop a training as they stop imgidx train. Needs the extra web.

    Example: imgidx serve --port 0

    Exit codes: 0 ended by a signal, 2 wrong use, 4 no index, 5 a newer index, 9 disk or catalog.
    """
    with extra_packages("imgidx serve", "web", PACKAGES):
        from image_index.service.server import ServeOptions
        from image_index.service.server import serve as answer_requests

    names, allowed = tuple(allow_host or ()), tuple(allow or ())
    options = ServeOptions(
        host, port, root_path, names, token_file, open_access=no_token, allowed=allowed, allow_urls=allow_urls
    )
    setup = common(index, quiet=quiet, verbose=verbose)
    make_runner = _queue_runner(queue, allow_open=allow_open_redis) if queue else None

    def ready(address: str) -> None:
        # where the token lasts, it must not get into the log of whatever has started the server
        write(f"{address.partition('?')[0] if token_file else address}\n")
        if open:
            _open_address(address, Path(private))

    with TemporaryDirectory(prefix="imgidx-") as private, stop_on_signals():  # puts the handlers back at the end
        answer_requests(setup.home, options, ready, make_runner)
    return 0


def _queue_runner(url: str, *, allow_open: bool) -> Callable[[IndexHome], Runner]:
    """Return what makes the runner of a server whose sessions go into a queue."""
    with extra_packages("imgidx serve --queue", "queue", QUEUE_PACKAGES):
        from image_index.service.queue_runner import QueueRunner

    return lambda home: QueueRunner(home, url, allow_open=allow_open)


def _open_address(address: str, private: Path) -> None:
    """Show an address in the browser by a page in a private directory that leads there.

    An address on the browser's command line could be read, with the token in it, by every user of the machine.
    """
    page = private / "serve.html"
    page.write_text(f'<meta http-equiv="refresh" content="0; url={escape(address)}">\n', encoding="utf-8")
    open_page(page)
