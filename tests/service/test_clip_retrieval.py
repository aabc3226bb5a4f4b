"""Programs that are written for clip-retrieval's back end, and its own client, ask the server."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from image_index.index import Index
from image_index.service import access
from image_index.settings import IndexHome
from tests.support.clip_client import clip_client
from tests.support.library import make_index
from tests.support.served import TOKEN, client_of, listening, make_served

RED, GREEN, BLUE, PINK = 1, 2, 3, 4
KNN = "/knn-service"


@pytest.fixture(scope="module")
def address(served: IndexHome) -> Iterator[str]:
    """Return the address of a server, as that client takes it: with the token as a password."""
    with listening(served) as found:
        yield found.partition("/?")[0].replace("http://", f"http://imgidx:{TOKEN}@")


def test_the_client_from_pypi_searches(address: str, served: IndexHome, red_texts: list[str], tmp_path: Path) -> None:
    """By a text, a picture and a vector, with nothing changed but its address."""
    module = clip_client()
    client = module.ClipClient(f"{address}/knn-service", "laion5B-L-14", num_images=3, deduplicate=False)
    by_text = client.query(text="red")
    assert red_texts == ["red"]
    Image.new("RGB", (16, 16), (240, 30, 30)).save(tmp_path / "mine.png")
    by_picture = client.query(image=str(tmp_path / "mine.png"))
    by_vector = client.query(embedding_input=[2.0, 0.0, 0.0])
    assert [[hit["id"] for hit in hits][:2] for hits in (by_text, by_picture, by_vector)] == [[RED, PINK]] * 3
    assert by_text == by_vector
    with Index.open(served.path) as index:
        assert [hit["similarity"] for hit in by_vector] == [
            hit.score for hit in index.search(np.array([1, 0, 0], np.float32))[:3]
        ]
    first = by_text[0]
    assert first["image_path"] == str(served.path.parent / "photos/red.png")
    assert (first["caption"], first["width"], first["height"]) == ("red.png", 400, 300)
    assert first["url"] == f"http://{address.partition('@')[2]}/api/v1/images/{RED}/file"


def test_the_client_is_told_of_wrong_use(address: str) -> None:
    """It gives its user the problem, as a dictionary."""
    client = clip_client().ClipClient(f"{address}/knn-service", "any", modality=clip_client().Modality.TEXT)
    assert client.query(text="red")["detail"].startswith("modality: ")


def test_metadata_comes_only_with_the_first(client: TestClient) -> None:
    """Of the others, which `num_result_ids` asks for, it can be had by their ids."""
    body = {"embedding_input": [1, 0, 0], "num_images": 1, "num_result_ids": 3, "modality": "image"}
    found = client.post(KNN, json=body).json()
    assert [sorted(hit) for hit in found[1:]] == [["id", "similarity"]] * 2
    (known,) = client.post("/metadata", json={"ids": [RED], "indice_name": "any"}).json()
    assert found[0] == known["metadata"] | {"id": RED, "similarity": found[0]["similarity"]}
    assert client.get("/indices-list").json() == ["imgidx"]


def test_what_is_the_same_is_left_out(tmp_path: Path) -> None:
    """But for the best of it."""
    home = make_served(tmp_path, copies={"pink": ["pink2"]})
    with client_of(home) as client:
        body = {"embedding_input": [1, 0, 0], "deduplicate": False}
        whole = [hit["id"] for hit in client.post(KNN, json=body).json()]
        body["deduplicate"] = True
        assert whole[1:3] == [PINK, 5]
        assert [hit["id"] for hit in client.post(KNN, json=body).json()] == [one for one in whole if one != 5]


def test_an_empty_index_finds_nothing(home: IndexHome) -> None:
    """And loads no model."""
    make_index(home, 0)
    with client_of(home) as client:
        assert client.post(KNN, json={"text": "red"}).json() == []


def test_a_vector_may_be_longer_than_a_float32_can_say(client: TestClient) -> None:
    """Only its direction counts."""
    answers = [client.post(KNN, json={"embedding_input": [length, length, 0]}).json() for length in (1, 3e38)]
    assert answers[0] == answers[1]
    assert len(answers[0]) > 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": ""},
        {"text": "a\0b"},
        {"image": "no base64!"},
        {"image": base64.b64encode(b"no picture").decode()},
        {"image_url": "http://127.0.0.1/a.png"},
        {"embedding_input": [0, 0, 0]},
        {"embedding_input": [1, 0]},
        {"embedding_input": [1e308, 1e308, 0]},
        {"embedding_input": ["x", 0, 0]},
        {"text": "red", "num_images": 0},
        {"text": "red", "num_result_ids": 10**6},
        [],
    ],
)
def test_wrong_use_is_told(client: TestClient, red_texts: list[str], body: Any) -> None:
    """Never a traceback."""
    answer = client.post(KNN, json=body)
    assert (answer.status_code, answer.json()["exit_code"]) == (422, 2)


def test_no_json_is_wrong_use(client: TestClient) -> None:
    """Also a number that JSON has not."""
    for path in (KNN, "/metadata"):
        for content in (b"", b"\xff", b'{"embedding_input": [NaN]}', b'{"ids": [1e999]}'):
            assert client.post(path, content=content).status_code == 422
    assert client.post("/metadata", json={"ids": [99]}).status_code == 404


def test_a_picture_may_be_larger_than_other_bodies(client: TestClient) -> None:
    """As far as one may be that comes in a form."""
    data = BytesIO()
    Image.effect_noise((1200, 1200), 100).save(data, "PNG")
    body = json.dumps({"image": base64.b64encode(data.getvalue()).decode()})
    assert len(body) > access.MOST_JSON_BYTES
    assert client.post(KNN, content=body).status_code == 200


def test_a_body_without_its_kind_is_taken_here_alone(client: TestClient) -> None:
    """Clients of clip-retrieval send none. A page of another site sends an Origin."""
    body = b'{"embedding_input": [1, 0, 0]}'
    assert client.post(KNN, content=body).status_code == 200
    assert client.post("/api/v1/search", content=body).status_code == 415
    assert client.post(KNN, content=body, headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.post(KNN, content=body, headers={"Content-Type": "text/plain"}).status_code == 415
