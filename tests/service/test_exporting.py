"""What is chosen, for other programs: paths, archives, contact sheets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from starlette.testclient import TestClient

from image_index.catalog.catalog import Catalog
from image_index.service import exporting
from image_index.service.archive import LEFT_OUT
from image_index.service.streams import MOST_AT_ONCE, Places
from image_index.settings import IndexHome
from tests.support.served import client_of, make_served

PATHS, ZIP, SHEET = (f"/api/v1/export/{name}" for name in ("paths", "zip", "sheet"))


@pytest.fixture
def home(tmp_path: Path) -> IndexHome:
    """Return an index whose pictures a test may change."""
    return make_served(tmp_path)


@pytest.fixture
def own(home: IndexHome) -> Iterator[TestClient]:
    """Return a client of it."""
    with client_of(home) as client:
        yield client


def test_paths_come_byte_for_byte(own: TestClient, home: IndexHome) -> None:
    """In the order in which they are asked for, each once, also where they are no UTF-8."""
    photos = bytes(home.path.parent / "photos")
    odd = photos + b"/caf\xe9\n.png"
    with Catalog(home.catalog, write=True) as catalog, catalog.transaction() as connection:
        connection.execute("UPDATE images SET path = ? WHERE id = 2", (odd,))
    wanted = [photos + b"/blue.png", odd]
    answer = own.post(PATHS, json={"ids": [3, 2, 3], "null": True})
    assert answer.content == b"".join(path + b"\0" for path in wanted)
    answer = own.post(PATHS, json={"ids": [3, 2]})
    assert answer.content == b"".join(path + b"\n" for path in wanted)
    assert answer.headers["Content-Type"] == "text/plain"


def test_an_archive_has_the_originals(own: TestClient, home: IndexHome) -> None:
    """Sent as JSON, or by a form, which lets a browser save the answer."""
    red = home.path.parent / "photos/red.png"
    for answer in (
        own.post(ZIP, json={"ids": [1, 4]}),
        own.post(ZIP, files={"query": (None, json.dumps({"ids": [1, 4]}))}),
    ):
        assert answer.headers["Content-Disposition"] == 'attachment; filename="pictures.zip"'
        found = ZipFile(BytesIO(answer.content))
        assert found.namelist() == ["red.png", "pink.png"]
        assert found.read("red.png") == red.read_bytes()


def test_a_file_that_was_replaced_is_not_in_the_archive(own: TestClient, home: IndexHome) -> None:
    """It may be any file of the user's; the archive says what it lacks."""
    red = home.path.parent / "photos/red.png"
    secret = home.path.parent / "secret"
    secret.write_text("secret")
    red.unlink()
    red.symlink_to(secret)
    found = ZipFile(BytesIO(own.post(ZIP, json={"ids": [1, 2]}).content))
    assert found.namelist() == ["green.png", LEFT_OUT]
    assert b"red.png" in found.read(LEFT_OUT)


def test_a_contact_sheet_shows_the_pictures(own: TestClient, home: IndexHome) -> None:
    """With what is asked for above them, and a reason where there is nothing to show."""
    (home.path.parent / "photos/green.png").unlink()
    answer = own.post(SHEET, json={"ids": [1, 2], "title": "<b>Mine</b>"})
    assert answer.headers["Content-Disposition"] == 'attachment; filename="pictures.html"'
    assert answer.text.count("data:image/webp;base64,") == 1
    assert "the file of picture 2 is gone" in answer.text
    assert "&lt;b&gt;Mine" in answer.text
    assert "<b>Mine" not in answer.text


@pytest.mark.parametrize("path", [PATHS, ZIP, SHEET])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"ids": [1, 99]}, 404),
        ({"ids": ["x"]}, 422),
        ({"ids": ["1"]}, 422),
        ({"ids": [0]}, 422),
        ({"ids": [2**63]}, 422),
        ({"ids": [1] * 100_001}, 422),
        ({}, 422),
        ([1], 422),
        ({"ids": [1], "paths": ["/etc/passwd"]}, 422),
    ],
)
def test_wrong_use_is_told(client: TestClient, path: str, body: Any, status: int) -> None:
    """No traceback, and no archive that is begun."""
    answer = client.post(path, json=body)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")


@pytest.mark.parametrize(
    "form",
    [
        {"files": {"query": ("a.json", b'{"ids": [1]}')}},
        {"files": {"other": (None, "x")}},
        {"files": {"query": (None, "[")}},
        {"files": [("query", (None, "{}")), ("query", (None, "{}"))]},
    ],
)
def test_a_form_that_says_something_else_is_wrong_use(client: TestClient, form: dict[str, Any]) -> None:
    """One field, and no file."""
    assert client.post(ZIP, **form).status_code in (400, 422)


def test_a_request_for_nothing_is_wrong_use(client: TestClient) -> None:
    """A POST without a body has no kind either."""
    for path in (PATHS, ZIP, SHEET):
        assert client.post(path).status_code == 422


def test_an_archive_is_bounded(own: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """In how much it holds, and how many are made at once."""
    monkeypatch.setattr(exporting, "MOST_ARCHIVE_BYTES", 100)
    answer = own.post(ZIP, json={"ids": [1]})
    assert (answer.status_code, answer.json()["exit_code"]) == (422, 2)
    for _ in range(MOST_AT_ONCE + 1):  # a place that was not given back would be missed
        assert own.post(SHEET, json={"ids": [1]}).status_code == 200
    monkeypatch.setattr(Places, "take", partial(Places.take, Places(0)))
    assert own.post(SHEET, json={"ids": [1]}).status_code == 503
