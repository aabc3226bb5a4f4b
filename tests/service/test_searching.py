"""Searching over HTTP."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from image_index.catalog.catalog import Catalog
from image_index.index import Index
from image_index.present.groups import group_record
from image_index.present.hits import hit_record
from image_index.records import Hit
from image_index.search.duplicates import candidate_groups
from image_index.search.query import make_query, with_prompts
from image_index.search.ranking import SearchOptions
from image_index.service import group_cache
from image_index.settings import IndexHome
from tests.support.library import make_index, random_batch
from tests.support.records import LONG_AGO_NS
from tests.support.served import client_of, make_served

RED, GREEN, BLUE, PINK = 1, 2, 3, 4
SEARCH = "/api/v1/search"


def linked(record: dict[str, Any], image_id: int) -> dict[str, Any]:
    """Return the object of a command with what the server adds."""
    return record | {"id": image_id, "thumbnail": f"/api/v1/images/{image_id}/thumbnail"}


def found_hit(hit: Hit, name: str | None = None) -> dict[str, Any]:
    """Return the object of a hit: that of the command line with what the server adds."""
    day = datetime.fromtimestamp(LONG_AGO_NS // 10**9).date().isoformat()
    return linked(hit_record(hit, name), hit.image.id) | {"day": day}


def ids(answer: Any) -> list[int]:
    """Return the ids of the hits of an answer."""
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["hits"]]


def test_hits_are_the_objects_of_the_command_line(client: TestClient, served: IndexHome) -> None:
    """With the id; the query's own picture is no hit, unless it is asked for."""
    photo = str(served.path.parent / "photos/red.png")
    with Index.open(served.path) as index:
        for include in (False, True):
            options = SearchOptions(include_query=include)
            hits = index.search(make_query(images=[photo]), options)
            expected = [found_hit(hit) for hit in hits]
            answer = client.get(SEARCH, params={"image_id": RED, "include_query": include}).json()
            assert answer == {"hits": expected, "next": None, "last_id": 4}
            assert client.post(SEARCH, json={"image": photo, "include_query": include}).json() == answer
            similar = client.get(f"/api/v1/images/{RED}/similar", params={"include_query": include}).json()
            assert similar == answer


def test_texts_and_pictures_are_added_up(client: TestClient, served: IndexHome, red_texts: list[str]) -> None:
    """With their weights, as on the command line."""
    photo = str(served.path.parent / "photos/blue.png")
    body = {"text": "2:red", "add": ["warm", f"0.5:{photo}"], "minus": "cold", "name": "mine"}
    found = client.post(SEARCH, json=body).json()["hits"]
    assert sorted(red_texts) == ["cold", "red", "warm"]
    with Index.open(served.path) as index:
        query = make_query("2:red", add=["warm", f"0.5:{photo}"], minus=["cold"])
        assert found == [found_hit(hit, "mine") for hit in index.search(query)]


def test_texts_are_put_into_sentences(client: TestClient, served: IndexHome, red_texts: list[str]) -> None:
    """As `--prompt` on the command line; there may be so many, and each has a place for the text."""
    found = client.post(SEARCH, json={"text": "red", "prompt": ["a {}.", "{}"]}).json()["hits"]
    assert sorted(red_texts) == ["a red.", "red"]
    with Index.open(served.path) as index:
        query = with_prompts(make_query("red"), ["a {}.", "{}"])
        assert found == [found_hit(hit) for hit in index.search(query)]
    for prompt in ("a photo", ["{}"] * 17):
        assert client.get(SEARCH, params={"text": "red", "prompt": prompt}).status_code in {400, 422}


def test_pictures_of_the_index_have_weights(client: TestClient, served: IndexHome, red_texts: list[str]) -> None:
    """More like this, less like that: as their paths on the command line, and none of them is a hit."""
    photos = served.path.parent / "photos"
    body: dict[str, Any] = {"text": "2:red", "image_id": [f"0.5:{PINK}"], "minus_id": [GREEN, f"0.25:{BLUE}"]}
    found = client.post(SEARCH, json=body).json()["hits"]
    assert client.get(SEARCH, params=body).json()["hits"] == found
    with Index.open(served.path) as index:
        minus = [f"{photos}/green.png", f"0.25:{photos}/blue.png"]
        query = make_query("2:red", images=[f"0.5:{photos}/pink.png"], minus=minus)
        assert found == [found_hit(hit) for hit in index.search(query)]
    assert [hit["id"] for hit in found] == [RED]


def test_only_what_is_new_may_be_asked_for(client: TestClient, red_texts: list[str]) -> None:
    """The answer says what to ask with next time."""
    answer = client.get(SEARCH, params={"text": "red", "after_id": GREEN}).json()
    assert sorted(hit["id"] for hit in answer["hits"]) == [BLUE, PINK]
    assert ids(client.get(SEARCH, params={"text": "red", "after_id": answer["last_id"]})) == []


def test_a_text_may_be_asked_for_by_an_address(client: TestClient, red_texts: list[str]) -> None:
    """The parameters are the keys of the body."""
    assert ids(client.get(SEARCH, params={"text": "red", "limit": 2})) == [RED, PINK]
    assert red_texts == ["red"]


def test_filters_decide_before_the_ranking(client: TestClient, served: IndexHome, red_texts: list[str]) -> None:
    """They have the names of the options."""
    photos = str(served.path.parent / "photos")
    assert ids(client.get(SEARCH, params={"text": "x", "glob": ["b*.png", "g*.png"]})) == [GREEN, BLUE]
    assert ids(client.get(SEARCH, params={"text": "x", "words": "GR\u00c9en png"})) == [GREEN]
    assert ids(client.get(SEARCH, params={"text": "x", "exclude_under": photos})) == []
    assert ids(client.post(SEARCH, json={"text": "x", "type": "png", "orientation": "landscape", "limit": 1})) == [RED]
    assert ids(client.get(SEARCH, params={"text": "x", "min_score": 0.9})) == [RED]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "search takes a text"),
        ({"text": " "}, "the query is empty"),
        ({"text": "0:red"}, "the weight of"),
        ({"text": "red", "minus": "red"}, "cancel each other"),
        ({"image": "/etc/passwd"}, "the index does not know /etc/passwd"),
        ({"add": "./nothing.png"}, "the index does not know"),
        ({"image": "http://127.0.0.1/a.png"}, "fetches no pictures"),
        ({"image_id": 999}, "the index has no picture 999"),
        ({"minus_id": "2:" + "9" * 60}, "the index has no picture 999"),
        ({"image_id": "0:1"}, "the weight of '0:1' is zero"),
        ({"image_id": "-1:1"}, "image_id.0: "),
        ({"image_id": True}, "image_id.0: "),
        ({"text": "9" * 400 + ":red"}, "is over a million"),
        ({"text": "a\0b"}, "text: "),
        ({"text": "red", "colour": "red"}, "colour: "),
        ({"text": "red", "limit": 0}, "limit: "),
        ({"text": "red", "under": "/no/such/directory"}, "--under"),
        ({"text": "red", "under": ["/usr"]}, "--under /usr: the index knows nothing there"),
        ({"text": "red", "newer": "tomorrowish"}, "--newer"),
        ({"text": "red", "glob": "!"}, "--glob"),
        ({"text": "red", "words": " "}, "--name"),
        ({"text": "red", "cursor": "x"}, "the cursor"),
        ({"text": "red", "cursor": "W10="}, "the cursor"),
        ({"text": ["red"]}, "text: "),
        ([], ""),
    ],
)
def test_wrong_use_is_told_with_its_exit_code(client: TestClient, red_texts: list[str], body: Any, says: str) -> None:
    """Whatever is asked for: never a traceback."""
    answer = client.post(SEARCH, json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["exit_code"] == 2
    assert says in answer.json()["detail"]


def test_a_body_that_is_no_json_is_wrong_use(client: TestClient) -> None:
    """As is a number that JSON has not."""
    for content in (b"{", b"\xff", b'{"text": "\\ud800"}', b'{"text": "x", "min_sigma": NaN}', b"[" * 100_000):
        answer = client.post(SEARCH, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422)


def test_pages_follow_each_other(home: IndexHome) -> None:
    """Every hit once, in the order of one long page, with the ranks of that."""
    make_index(home, 50)
    with client_of(home) as client:
        whole = client.get(SEARCH, params={"image_id": 7, "limit": 1000, "missing": True}).json()
        assert whole["next"] is None
        assert pages(client, {"image_id": 7, "limit": 8, "missing": True}) == whole["hits"]
        assert len(whole["hits"]) == 49


def pages(client: TestClient, params: dict[str, Any]) -> list[Any]:
    """Return the hits of all pages."""
    found, cursor = [], None
    while True:
        page = client.get(SEARCH, params=params | ({"cursor": cursor} if cursor else {})).json()
        found += page["hits"]
        cursor = page["next"]
        if cursor is None:
            return found


def test_a_training_between_two_pages_moves_no_hit(home: IndexHome) -> None:
    """What it stores comes with the next search; what it forgets is left out and shifts nothing."""
    make_index(home, 30)
    with client_of(home) as client:
        params: dict[str, Any] = {"image_id": 7, "limit": 10, "missing": True}
        whole = [hit["id"] for hit in client.get(SEARCH, params=params | {"limit": 100}).json()["hits"]]
        first = client.get(SEARCH, params=params).json()
        with Catalog(home.catalog, write=True) as catalog:
            catalog.record(random_batch(30, seed=2))
            catalog.forget(catalog.facts_of([whole[2]])[whole[2]].path)
        second = client.get(SEARCH, params=params | {"cursor": first["next"]}).json()
        assert [hit["id"] for hit in second["hits"]] == whole[10:20]
        assert [hit["rank"] for hit in second["hits"]] == [*range(11, 21)]
        assert {hit["id"] for hit in client.get(SEARCH, params=params | {"limit": 100}).json()["hits"]} > {*whole[3:]}


def test_a_cursor_belongs_to_its_search(home: IndexHome) -> None:
    """With another query it would be nonsense; another number of hits is fine."""
    make_index(home, 30)
    with client_of(home) as client:
        params: dict[str, Any] = {"image_id": 7, "missing": True}
        cursor = client.get(SEARCH, params=params).json()["next"]
        assert client.get(SEARCH, params=params | {"image_id": 8, "cursor": cursor}).status_code == 422
        assert len(client.get(SEARCH, params=params | {"cursor": cursor, "limit": 5}).json()["hits"]) == 5


def test_duplicates_are_the_objects_of_the_command_line(tmp_path: Path) -> None:
    """With ids, page by page."""
    home = make_served(tmp_path, copies={"red": ["red2", "red3"], "blue": ["blue2"]})
    with Index.open(home.path) as index, client_of(home) as client:
        groups = index.duplicates(exact=True)
        whole = client.get("/api/v1/duplicates", params={"exact": True}).json()
        first = client.get("/api/v1/duplicates", params={"exact": True, "limit": 1}).json()
        rest = client.get("/api/v1/duplicates", params={"exact": True, "limit": 1, "cursor": first["next"]}).json()
        assert client.get("/api/v1/duplicates", params={"similarity": 2}).status_code == 422
    assert len(groups) == 2
    assert whole == {"groups": first["groups"] + rest["groups"], "next": rest["next"]}
    for found, group in zip(whole["groups"], groups, strict=True):
        records = zip(group_record(group)["pictures"], group, strict=True)
        assert found["pictures"] == [linked(record | {"kept": False}, member.image.id) for record, member in records]


def test_pictures_are_marked_to_be_kept(tmp_path: Path) -> None:
    """As by `dupes --keep`, which knows of it, and takes it back."""
    home = make_served(tmp_path, copies={"red": ["red2", "red3"], "blue": ["blue2"]})
    path, ids = "/api/v1/duplicates", [1, 5, 6]
    with Index.open(home.path) as index, client_of(home) as client:

        def groups(**asked: Any) -> list[list[int]]:
            found = client.get(path, params={"exact": True, **asked}).json()["groups"]
            return [[one["id"] for one in group["pictures"]] for group in found]

        assert groups() == [[1, 5, 6], [3, 7]]
        assert client.post(f"{path}/marks", json={"ids": [1, 5]}).status_code == 204
        assert groups() == [[3, 7], [1, 6]]
        assert client.post(f"{path}/marks", json={"ids": ids}).status_code == 204
        assert groups() == [[3, 7]]
        assert [len(group) for group in index.duplicates(exact=True)] == [2]
        whole = client.get(path, params={"exact": True, "all": True}).json()["groups"][0]["pictures"]
        assert [(one["id"], one["kept"]) for one in whole] == [(1, False), (5, True), (6, True)]
        assert client.post(f"{path}/marks", json={"ids": ids, "kept": False}).status_code == 204
        assert groups() == [[1, 5, 6], [3, 7]]
        for wrong in ({"ids": [1]}, {"ids": [1, 0]}, {}, {"ids": [1] * 201}):
            assert client.post(f"{path}/marks", json=wrong).status_code == 422
        assert client.post(f"{path}/marks", json={"ids": [1, 99]}).status_code == 404


def test_a_mark_waits_for_a_training_and_holds_up_nobody(tmp_path: Path) -> None:
    """Whatever else is asked for is answered meanwhile."""
    home = make_served(tmp_path, copies={"red": ["red2"]})
    with client_of(home) as client, ThreadPoolExecutor(1) as thread:
        with Catalog(home.catalog, write=True) as catalog, catalog.transaction():
            marked = thread.submit(client.post, "/api/v1/duplicates/marks", json={"ids": [1, 5]})
            assert client.get("/api/v1/duplicates").status_code == 200
            assert ids(client.get(SEARCH, params={"image_id": 1, "limit": 1})) == [5]
            assert not marked.done()
        assert marked.result().status_code == 204


def test_duplicates_are_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until pictures come or go; what is gone from the disk is seen all the same, and what is there again."""
    home, looked = make_served(tmp_path, copies={"red": ["red2"], "blue": ["blue2"]}), []

    def find(*asked: Any) -> Any:
        looked.append(asked)
        return candidate_groups(*asked)

    monkeypatch.setattr(group_cache, "candidate_groups", find)
    with client_of(home) as client:

        def groups(**asked: Any) -> list[list[int]]:
            found = client.get("/api/v1/duplicates", params={"exact": True, **asked}).json()["groups"]
            return [[one["id"] for one in group["pictures"]] for group in found]

        copy = home.path.parent / "photos/red2.png"
        data = copy.read_bytes()
        assert groups() == [[3, 6], [1, 5]]
        copy.unlink()
        assert groups() == [[3, 6]]
        copy.write_bytes(data)
        assert groups(limit=1) == [[3, 6]]
        assert groups() == [[3, 6], [1, 5]]
        assert len(looked) == 1
        with Catalog(home.catalog, write=True) as catalog:
            catalog.forget(bytes(copy))
        assert groups() == [[3, 6]]
        assert len(looked) == 2


def test_an_empty_index_has_no_hits(home: IndexHome, red_texts: list[str]) -> None:
    """And no model is loaded to find none."""
    home.create()
    with Catalog(home.catalog, write=True):
        pass
    with client_of(home) as client:
        assert client.get(SEARCH, params={"text": "red"}).json() == {"hits": [], "next": None, "last_id": 0}
    assert red_texts == []
