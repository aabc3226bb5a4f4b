"""The page: the files in `page/` and the routes that serve them, the libraries in `page/vendor/` as npm ships them.

The page stands at `/` and at the name of each of its views; what it loads lies below `/page/DIGEST/`. The digest is
that of all files, so that a browser keeps each for good and never mixes those of two versions.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath

from fastapi import APIRouter, HTTPException, Request, Response

from image_index.service.access import POLICY

VIEWS = ("duplicates", "failures", "sessions", "status")
"""The views of the page beside the search, which stands at `/`; the page itself finds out which one it shows."""

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""The media types of the files that are served, by their endings; no other file is."""

FOR_GOOD = {"Cache-Control": "private, max-age=31536000, immutable"}

IMPORT_MAP = re.compile(r'<script type="importmap">(.*?)</script>', re.DOTALL)


@dataclass(frozen=True, slots=True)
class PageFiles:
    """The files that the page loads, by their paths in `page/`; `index` is the page itself, which names `digest`."""

    index: str
    digest: str
    contents: dict[str, bytes]

    @classmethod
    def read(cls) -> PageFiles:
        """Read the files of the package, half a megabyte at most."""
        folder = files("image_index.service").joinpath("page")
        contents = dict(sorted(_read(folder)))
        text = folder.joinpath("index.html").read_text(encoding="utf-8")
        whole = sha256(text.encode())
        for path, data in contents.items():
            whole.update(f"{path} {len(data)}\n".encode() + data)
        digest = whole.hexdigest()[:16]
        return cls(text.replace("DIGEST", digest), digest, contents)

    @property
    def policy(self) -> str:
        """The policy of the page: of all that stands in it, it may run its import map alone.

        Browsers take import maps only from the page itself. What is written into the page as HTML from a script is
        refused, wherever it comes from (https://developer.mozilla.org/docs/Web/API/Trusted_Types_API).
        """
        found = IMPORT_MAP.search(self.index)
        assert found is not None
        name = b64encode(sha256(found[1].encode()).digest()).decode()
        return f"{POLICY}; script-src 'self' 'sha256-{name}'; require-trusted-types-for 'script'; trusted-types 'none'"


def _read(folder: Traversable, below: str = "") -> list[tuple[str, bytes]]:
    """Return the paths and contents of the files below a folder whose types are known."""
    found = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _read(entry, f"{below}{entry.name}/")
        elif PurePosixPath(entry.name).suffix in TYPES:
            found.append((f"{below}{entry.name}", entry.read_bytes()))
    return found


def page_routes() -> APIRouter:
    """Return the routes of the page; they are no part of the API."""
    page = PageFiles.read()
    router = APIRouter(include_in_schema=False)
    headers = {
        "Cache-Control": "private, no-cache",
        "ETag": f'"{page.digest}"',
        "Content-Security-Policy": page.policy,
        "Referrer-Policy": "same-origin",  # without it the forms of the page would not say where they come from
    }

    async def index(request: Request) -> Response:
        """Answer with the page."""
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(page.index, media_type="text/html", headers=headers)

    async def file(digest: str, path: str) -> Response:
        """Answer with a file of the page; one of another version is not there."""
        data = page.contents.get(path)
        if digest != page.digest or data is None:
            raise HTTPException(404, f"the page has no file {path}; load it again")
        return Response(data, media_type=TYPES[PurePosixPath(path).suffix], headers=FOR_GOOD)

    async def icon() -> Response:
        """Answer to a browser that shows something else than the page, and asks for the icon by this name."""
        return Response(page.contents["icon.svg"], media_type=TYPES[".svg"], headers=FOR_GOOD)

    router.add_api_route("/favicon.ico", icon)
    for view in ("", *VIEWS):
        router.add_api_route(f"/{view}", index)
    router.add_api_route("/page/{digest}/{path:path}", file)
    return router
