"""An index that is served."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from image_index.search.encode import QueryEncoder
from image_index.settings import IndexHome
from tests.support.served import client_of, listening, make_served


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> IndexHome:
    """Return an index that tests only read."""
    return make_served(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session")
def client(served: IndexHome) -> Iterator[TestClient]:
    """Return a client of it that knows the token."""
    with client_of(served) as found:
        yield found


@pytest.fixture(scope="session")
def address(served: IndexHome) -> Iterator[str]:
    """Return the address of a server of it, for a browser; who opens it gets the cookie."""
    with listening(served) as found:
        yield found


@pytest.fixture
def red_texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every text mean what `red.png` shows, without a model; return the texts that are asked for."""
    asked: list[str] = []

    def text(_: QueryEncoder, words: str) -> Any:
        asked.append(words)
        return np.array([1, 0, 0], np.float32)

    monkeypatch.setattr(QueryEncoder, "text", text)
    monkeypatch.setattr(QueryEncoder, "has_text_tower", True)
    return asked
