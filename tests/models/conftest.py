"""A hub that is out of reach or on localhost, and its cache."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_hub import FakeHub, hub_settings, serve


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forbid every socket."""

    def forbid(*_: object, **__: object) -> None:
        raise AssertionError("the network was touched")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, forbid)


@pytest.fixture
def hf_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give an empty HF_HOME."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with hub_settings(tmp_path / "home/hub"):
        yield tmp_path / "home"


@pytest.fixture
def fake(hf_home: Path) -> Iterator[FakeHub]:
    """Give an empty hub on localhost."""
    fake = FakeHub()
    with serve(fake) as endpoint, hub_settings(hf_home / "hub", endpoint=endpoint):
        yield fake
