"""Fetches a picture from the web for a query: once, within limits, to a private file that is removed afterwards."""

from __future__ import annotations

import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse, InvalidURL
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from image_index.deadline import within
from image_index.errors import QueryError
from image_index.formats import readable_extensions

MAX_BYTES = 50 << 20
"""A picture of more bytes is refused."""

TIME_LIMIT_S = 30.0
"""How long a fetch may take, from the first word to the last byte."""

BINARY_TYPES = {"application/octet-stream", "binary/octet-stream"}
"""What servers call a file that they know nothing of; a picture may be one."""

HANDLERS = (
    urllib.request.ProxyHandler,
    urllib.request.UnknownHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPRedirectHandler,
    urllib.request.HTTPErrorProcessor,
)
"""What urllib uses. There is no handler for file:, ftp: or data:, so a redirect cannot lead there either."""


Handlers = Sequence[urllib.request.BaseHandler]
"""The handlers that open a URL."""


@contextmanager
def fetched_picture(url: str) -> Iterator[Path]:
    """Give the path of a private copy of the picture at `url`, for the time of a block.

    Raises `QueryError`, naming the URL without credentials, if it cannot be fetched: over http and https alone, of at
    most `MAX_BYTES`, within `TIME_LIMIT_S`, and not declared to be anything but a picture.
    """
    data = fetch_in_time(url, [handler() for handler in HANDLERS])
    extension = os.path.splitext(urlsplit(url).path)[1].lower()
    suffix = extension if os.fsencode(extension) in readable_extensions() else ""
    with tempfile.TemporaryDirectory(prefix="imgidx-") as directory:
        path = Path(directory) / f"picture{suffix}"
        path.write_bytes(data)
        yield path


def shown(url: str) -> str:
    """Return `url` as it is shown: without user, password, query and fragment, any of which may be a secret."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the address"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def fetch_in_time(url: str, handlers: Handlers) -> bytes:
    """Return the bytes at `url`, opened by `handlers`; raises what `fetched_picture` raises.

    urllib's own timeout is for each read, and a slow server needs many.
    """
    try:
        found = within(TIME_LIMIT_S, lambda: _fetch(url, handlers))
    except TimeoutError:
        found = f"it took longer than {TIME_LIMIT_S:g} seconds"
    if isinstance(found, str):
        raise QueryError(
            f"cannot fetch {shown(url)}: {found}", "check the address, or save the picture and name the file"
        )
    return found


def _fetch(url: str, handlers: Handlers) -> bytes | str:
    """Return the bytes at `url`, or why they cannot be fetched."""
    opener = urllib.request.OpenerDirector()
    for handler in handlers:
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", f"imgidx/{version('imgidx')}"), ("Accept", "image/*")]
    try:
        if "@" in urlsplit(url).netloc:
            return "a user and a password in the address are not supported"
        with opener.open(url, timeout=TIME_LIMIT_S) as response:
            return _content(response)
    except urllib.error.HTTPError as error:
        error.close()
        return f"the server answers {error.code} {error.reason}"
    except InvalidURL:  # its text has all of the URL
        return "it is no address"
    except (OSError, HTTPException, ValueError) as error:
        return str(getattr(error, "reason", "") or error or type(error).__name__)


def _content(response: HTTPResponse) -> bytes:
    """Return the body of a response; raise ValueError with what is wrong with it."""
    kind = response.headers.get_content_type() if response.headers["Content-Type"] else "image/*"
    if not kind.startswith("image/") and kind not in BINARY_TYPES:
        raise ValueError(f"it is {kind}, not a picture")
    announced = int(response.headers["Content-Length"] or 0)
    data = response.read(MAX_BYTES + 1) if announced <= MAX_BYTES else b""
    if max(announced, len(data)) > MAX_BYTES:
        raise ValueError(f"it has over {MAX_BYTES >> 20} MiB, the most that is fetched")
    if len(data) < announced:
        raise ValueError("the connection broke off")
    return data
