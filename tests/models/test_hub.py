"""The hub's cache is found where the hub's own client looks; files get there, or a reason comes in time."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path
from time import monotonic

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from image_index.errors import ModelUnavailable
from image_index.models import hub
from tests.support.fake_hub import FakeHub, hub_settings, put
from tests.support.photos import REPOSITORY

REPO = "org/model"


pytestmark = pytest.mark.usefixtures("hf_home")


@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"])
def test_the_environment_names_the_cache(variable: str) -> None:
    """In a process of its own, for the hub's client reads it once."""
    ask = "from image_index.models import hub; print(hub.cache_directory())"
    environment = {"PATH": os.environ["PATH"], "HOME": "/home/me", variable: "/elsewhere"}
    done = subprocess.run(
        [sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    expected = {
        "HF_HOME": "/elsewhere/hub",
        "HF_HUB_CACHE": "/elsewhere",
        "XDG_CACHE_HOME": "/elsewhere/huggingface/hub",
    }
    assert done.stdout == f"{expected[variable]}\n"


def test_cached_file_is_found_in_the_order_asked(hf_home: Path) -> None:
    """The first name that the cache holds wins."""
    put(hf_home, REPO, "second")
    third = put(hf_home, REPO, "third")
    assert hub.find_cached(REPO, ("first", "third", "second")) == third


def test_file_whose_content_is_gone_is_not_cached(hf_home: Path) -> None:
    """A link without its blob, as an interrupted clean-up leaves it, counts as missing."""
    put(hf_home, REPO, "file").resolve().unlink()
    assert hub.find_cached(REPO, ("file",)) is None


def test_download_puts_the_file_where_the_hub_would(hf_home: Path, fake: FakeHub) -> None:
    """What was downloaded is found again, byte for byte, and its blob bears its digest."""
    fake.files[REPO, "file"] = b"content"
    assert hub.download(REPO, "file")
    found = hub.find_cached(REPO, ("file",))
    assert found is not None
    assert found.read_bytes() == b"content"
    twin = put(hf_home / "twin", REPO, "file", b"content")
    assert found.resolve().relative_to(hf_home / "hub") == twin.resolve().relative_to(hf_home / "twin" / "hub")


def test_file_that_the_repository_lacks_is_no_error(fake: FakeHub) -> None:
    """A name that the hub does not have can be followed by another."""
    assert not hub.download(REPO, "file")


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        ((401, "RepoNotFound"), f"has no repository {REPO}"),
        ((404, "RepoNotFound"), f"has no repository {REPO}"),
        ((403, "GatedRepo"), f"terms must be accepted at http.*/{REPO}"),
        ((500, ""), "answered HTTP 500"),
        ((503, ""), "answered HTTP 503"),
        ((429, ""), "answered HTTP 429"),
    ],
)
def test_refusal_of_the_hub_is_said_at_once(fake: FakeHub, refusal: tuple[int, str], reason: str) -> None:
    """Whatever the hub answers instead of a file is the reason, without a second try."""
    fake.refusal = refusal
    with pytest.raises(ModelUnavailable, match=reason):
        hub.download(REPO, "file")
    assert len(fake.requests) == 1


def test_closed_port_is_no_connection(hf_home: Path) -> None:
    """A hub that nothing can connect to is told from one that refuses, and in no time."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
    start = monotonic()
    no_connection = pytest.raises(ModelUnavailable, match=r"no connection to http://127\.0\.0\.1:\d+ \(")
    with hub_settings(hf_home / "hub", endpoint=endpoint), no_connection:
        hub.download(REPO, "file")
    assert monotonic() - start < 5


def test_unknown_host_is_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose name server knows no hub, the usual case of no network, says so."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(
        ModelUnavailable, match=r"no connection to https://huggingface\.co \(Name or service not known\)"
    ):
        hub.download(REPO, "file")


def test_silent_hub_is_given_up(hf_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that takes the connection and says nothing costs the deadline and no more."""
    monkeypatch.setattr(hub, "ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        start = monotonic()
        no_answer = pytest.raises(ModelUnavailable, match="no answer from")
        with hub_settings(hf_home / "hub", endpoint=endpoint), no_answer:
            hub.download(REPO, "file")
        assert monotonic() - start < 5


def test_offline_switch_is_obeyed_without_a_request(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the hub's client reads it from HF_HUB_OFFLINE."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailable, match="HF_HUB_OFFLINE is set"):
        hub.download(REPO, "file")
    assert fake.requests == []


def test_full_disk_is_named(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that the disk has no room for says which disk."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("write failed") from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    fake.files[REPO, "file"] = b"content"
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(ModelUnavailable, match=f"the disk of {hub.cache_directory()} is full"):
        hub.download(REPO, "file")


def test_cache_that_cannot_be_written_is_named(fake: FakeHub, hf_home: Path) -> None:
    """A cache that is no directory is a reason like any other."""
    fake.files[REPO, "file"] = b"content"
    hf_home.mkdir()
    (hf_home / "hub").write_text("in the way")
    with pytest.raises(ModelUnavailable, match=str(hf_home / "hub")):
        hub.download(REPO, "file")


def test_connection_lost_after_the_first_answer_is_no_missing_file(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that the hub has but cannot be brought is an error, not a reason to try the next name."""

    def fail(*_: object, **__: object) -> None:
        raise LocalEntryNotFoundError("not on disk") from ConnectionResetError(errno.ECONNRESET, "reset by peer")

    fake.files[REPO, "file"] = b"content"
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(ModelUnavailable, match=r"no connection to .* \(reset by peer\)"):
        hub.download(REPO, "file")


@pytest.mark.parametrize("shown", [True, False])
def test_progress_bars_are_left_as_they_were(*, shown: bool) -> None:
    """Bars are drawn or not for one download; another user of the library in this process sees no change."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled

    assert not are_progress_bars_disabled()
    with hub.progress_bars(shown=shown):
        assert are_progress_bars_disabled() is not shown
    assert not are_progress_bars_disabled()
