"""Pictures that are sent along with a search."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient
from starlette.types import Message

from image_index.service import access, sent_pictures
from image_index.settings import IndexHome
from tests.support.served import HOST, TOKEN, client_of

SEARCH = "/api/v1/search"
RED, GREEN, BLUE, PINK = 1, 2, 3, 4


@pytest.fixture(scope="module")
def client(served: IndexHome) -> Iterator[TestClient]:
    """Return a client of a server of its own, whose child is started once."""
    with client_of(served) as found:
        yield found


def png(colour: tuple[int, int, int]) -> bytes:
    """Return a picture of one colour."""
    data = BytesIO()
    Image.new("RGB", (16, 16), colour).save(data, "PNG")
    return data.getvalue()


def post(client: TestClient, data: bytes, file_name: str = "mine.png", **query: Any) -> Any:
    """Search by a picture."""
    return client.post(SEARCH, files={"picture": (file_name, data)}, data={"query": json.dumps(query)} if query else {})


def test_a_picture_is_searched_by(client: TestClient) -> None:
    """Encoded by the child; the terms of the query are added to it."""
    answer = post(client, png((240, 30, 30)))
    assert [hit["id"] for hit in answer.json()["hits"]][:2] == [RED, PINK]
    answer = post(client, png((240, 30, 30)), image_id=[BLUE], limit=1, name="mine")
    (hit,) = answer.json()["hits"]
    assert (hit["query"], hit["id"] != BLUE) == ("mine", True)


def test_a_picture_may_be_subtracted(client: TestClient) -> None:
    """Less like what is sent: the weight is below zero."""
    answer = post(client, png((10, 250, 10)), image_id=[PINK], picture_weight=-2)
    with_weight = [hit["id"] for hit in answer.json()["hits"]]
    assert (with_weight[0], with_weight[-1]) == (RED, GREEN)
    assert post(client, png((10, 250, 10)), picture_weight=1e9).status_code == 422


def test_the_pages_are_those_of_one_picture(client: TestClient) -> None:
    """It is sent again with the cursor; with another one the cursor is none."""
    whole = [hit["id"] for hit in post(client, png((240, 30, 30))).json()["hits"]]
    first = post(client, png((240, 30, 30)), limit=3).json()
    second = post(client, png((240, 30, 30)), limit=3, cursor=first["next"]).json()
    assert [hit["id"] for hit in first["hits"] + second["hits"]] == whole
    assert post(client, png((0, 0, 9)), limit=3, cursor=first["next"]).status_code == 422


def test_what_is_no_picture_is_told_by_its_name(client: TestClient) -> None:
    """And nothing of where it was put meanwhile; the next one is answered."""
    answer = post(client, b"no picture", "../../evil\x07.png")
    assert (answer.status_code, answer.json()["exit_code"]) == (422, 2)
    assert answer.json()["detail"].startswith("cannot use ")
    assert "imgidx-" not in answer.text
    assert post(client, png((9, 9, 250)), limit=1).json()["hits"][0]["id"] == BLUE


def test_a_picture_of_the_web_is_searched_by_where_that_is_allowed(
    served: IndexHome, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is encoded as one that is sent; what cannot be had is told."""
    asked: list[str] = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        return png((240, 30, 30)) if url.endswith("red.png") else b"no picture"

    monkeypatch.setattr(sent_pictures, "fetch_public", fetch)
    url = "https://example.org/red.png"
    for path, body in ((SEARCH, {"image": url}), ("/knn-service", {"image_url": url})):
        answer = client.post(path, json=body)
        assert (answer.status_code, "fetches no pictures" in answer.json()["detail"]) == (422, True)
    assert asked == []
    with client_of(served, allow_urls=True) as other:
        hits = other.post(SEARCH, json={"add": [f"2:{url}"], "image_id": f"0.1:{BLUE}"}).json()["hits"]
        assert hits[0]["id"] == RED
        assert other.post("/knn-service", json={"image_url": url}).json()[0]["id"] == RED
        answer = other.get(SEARCH, params={"image": "https://me:secret@example.org/x.png?key=secret"})
        assert answer.status_code == 422
        assert "https://example.org/x.png" in answer.json()["detail"]
        assert "secret" not in answer.text
        assert other.get(SEARCH, params={"image": [url] * 5}).status_code == 422
    assert len(asked) == 3


@pytest.mark.parametrize(
    "form",
    [
        {"files": {"query": (None, "{}")}},
        {"files": {"other": ("a.png", b"x")}},
        {"files": [("picture", ("a.png", b"x")), ("picture", ("b.png", b"x"))]},
        {"files": {"picture": ("a.png", b"x")}, "data": {"query": "["}},
        {"files": {"picture": ("a.png", b"x")}, "data": {"query": '{"limit": 0}'}},
        {"files": {"picture": ("a.png", b"x")}, "data": {"query": "{}", "more": "x"}},
    ],
)
def test_a_form_that_says_something_else_is_wrong_use(client: TestClient, form: dict[str, Any]) -> None:
    """One picture and one query, and nothing else."""
    answer = client.post(SEARCH, **form)
    assert answer.status_code in (400, 422)
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_form_without_its_boundary_is_wrong_use(client: TestClient) -> None:
    """As is one that breaks off."""
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
        answer = client.post(SEARCH, content=b"--x\r\nContent-Disposition: for", headers={"Content-Type": kind})
        assert answer.status_code in (400, 422)


def test_a_picture_that_is_too_large_is_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its length is not announced."""
    monkeypatch.setattr(access, "MOST_BYTES", 5000)

    def body() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a.png"\r\n\r\n'
        for _ in range(100):
            yield bytes(100)
        yield b"\r\n--x--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert client.post(SEARCH, content=body(), headers=headers).status_code == 413
    assert client.post(SEARCH, content=b"".join(body()), headers=headers).status_code == 413


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
def test_who_leaves_amid_a_body_is_no_error_of_the_server(client: TestClient, kind: str) -> None:
    """Its log would have a traceback for each client that breaks off."""
    head = {"Content-Type": kind, "Content-Length": "1000", "Host": HOST, "Authorization": f"Bearer {TOKEN}"}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": SEARCH,
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in head.items()],
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    assert client.portal is not None
    client.portal.call(client.app, scope, receive, send)
    assert sent[0]["status"] == 400
