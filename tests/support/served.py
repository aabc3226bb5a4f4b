"""A small library that is served, and clients that ask for it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import uvicorn
from PIL import Image
from starlette.testclient import TestClient

from image_index.catalog.catalog import Catalog
from image_index.records import EmbeddedBatch, EmbeddedImage, Failure, ImageFile, PictureFacts, RunKind, Session, Stage
from image_index.service.access import Rules
from image_index.service.app import make_app
from image_index.service.connections import PunctualProtocol
from image_index.service.sessions import Training
from image_index.settings import IndexHome
from image_index.training.freshness import build_if_stale
from image_index.workers.engine import Engine
from tests.support import fake_models
from tests.support.library import starter_digest
from tests.support.records import LONG_AGO_NS

TOKEN = "a-token-of-the-tests"
HOST = "127.0.0.1:8000"
RULES = Rules(frozenset({"127.0.0.1", "localhost", "::1"}), TOKEN, "imgidx-8000")
COLOURS = {"red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250), "pink": (250, 120, 120)}


def make_served(directory: Path, copies: Mapping[str, Sequence[str]] | None = None) -> IndexHome:
    """Make an index of pictures of `COLOURS`, `red.png` and so on, whose vectors are their colours; no child starts.

    `copies` are names of further pictures by the name of that which they are copies of.
    """
    colours = COLOURS | {name: COLOURS[of] for of, names in (copies or {}).items() for name in names}
    home, photos = IndexHome(directory / "index"), directory / "photos"
    photos.mkdir()
    home.create()
    images = [_picture(photos / f"{name}.png", colour) for name, colour in colours.items()]
    vectors = np.array([*colours.values()], np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    broken = Failure(ImageFile(os.fsencode(photos / "broken.png"), 1, 1), Stage.DECODE, "it is broken")
    with Catalog(home.catalog, write=True) as catalog:
        catalog.set_model(replace(fake_models.FACTS, name="starter", weights_sha256=starter_digest()))
        catalog.note_scan(os.fsencode(photos), None)
        catalog.record(EmbeddedBatch(tuple(images), vectors, (broken,)))
        build_if_stale(catalog, home, lambda _: None)
    return home


def _picture(path: Path, colour: tuple[int, int, int]) -> EmbeddedImage:
    """Write a picture and return what embedding it would tell."""
    Image.new("RGB", (400, 300), colour).save(path)
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    file = ImageFile.of(os.fsencode(path), path.stat())
    picture = PictureFacts(400, 300, "png")
    return EmbeddedImage(file, sha256(path.read_bytes()).digest(), 2 * LONG_AGO_NS, picture)


@dataclass
class IdleRunner:
    """Runs no session, and remembers what it was told."""

    kind: RunKind = RunKind.EMBEDDED
    told: list[tuple[str, int]] = field(default_factory=list)

    def open(self) -> None:
        """Do nothing."""

    def start(self, session: Session) -> None:
        """Remember the session."""
        self.told.append(("start", session.id))

    def cancel(self, session: Session) -> None:
        """Remember the session."""
        self.told.append(("cancel", session.id))

    def end(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


@contextmanager
def client_of(
    home: IndexHome,
    rules: Rules = RULES,
    root_path: str = "",
    training: Training | None = None,
    *,
    allow_urls: bool = False,
) -> Iterator[TestClient]:
    """Give a client that knows the token; a child runs a fake model, and sessions are not run."""
    engine = Engine("cpu", loader=fake_models.load)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with TestClient(
        make_app(home, rules, engine, training or Training(IdleRunner()), allow_urls=allow_urls),
        f"http://{HOST}",
        root_path=root_path,
        headers=headers,
        raise_server_exceptions=False,
    ) as client:
        yield client


@contextmanager
def listening(home: IndexHome) -> Iterator[str]:
    """Give the address of a server, with the token in it; a child runs a fake model, and sessions are not run."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        rules, engine = Rules(frozenset({host}), TOKEN, f"imgidx-{port}"), Engine("cpu", loader=fake_models.load)
        app = make_app(home, rules, engine, Training(IdleRunner()))
        with answering(app, listener):
            yield f"http://{host}:{port}/?token={TOKEN}"


@contextmanager
def answering(app: Any, listener: socket.socket) -> Iterator[None]:
    """Answer by an application, for the time of a block, who connects to a socket."""
    config = uvicorn.Config(app, http=PunctualProtocol, log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
