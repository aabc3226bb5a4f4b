"""A hub's cache on disk and a hub on localhost, as real as the tests need them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from unittest import mock

from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub_settings(cache: Path, *, endpoint: str = "https://huggingface.co", offline: bool = False) -> Iterator[None]:
    """Let the hub's client, which reads the environment once, in this process look where a test wants."""
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    with mock.patch.multiple(
        constants,
        HF_HUB_CACHE=str(cache),
        ENDPOINT=endpoint,
        HUGGINGFACE_CO_URL_TEMPLATE=template,
        HF_HUB_OFFLINE=offline,
    ):
        yield


def put(home: Path, repo: str, name: str, content: bytes = b"weights") -> Path:
    """Store a file in the cache below HF_HOME as the hub's client does, and return its place in the snapshot."""
    folder = home / "hub" / f"models--{repo.replace('/', '--')}"
    blob = folder / "blobs" / sha256(content).hexdigest()
    pointer = folder / "snapshots" / COMMIT / name
    for path in (blob, pointer, folder / "refs" / "main"):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    (folder / "refs" / "main").write_text(COMMIT)
    return pointer


class FakeHub:
    """What a hub on localhost holds, how it refuses, and which requests have come."""

    def __init__(self) -> None:
        self.files: dict[tuple[str, str], bytes] = {}
        self.refusal: tuple[int, str] | None = None
        self.requests: list[str] = []

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body for the path of a request, /ORG/NAME/resolve/main/FILE."""
        repo, _, name = path.lstrip("/").partition("/resolve/main/")
        status, code = self.refusal or (404, "EntryNotFound")
        if self.refusal or (repo, name) not in self.files:
            return status, {"X-Error-Code": code, "X-Repo-Commit": COMMIT}, b""
        body = self.files[repo, name]
        return 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{sha256(body).hexdigest()}"'}, body


@contextmanager
def serve(hub: FakeHub) -> Iterator[str]:
    """Serve a hub on localhost and give its endpoint."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            status, headers, body = hub.answer(self.path)
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
