"""The files of the page: what is served of them, as what, and to whom."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from image_index.service.access import HEADERS
from image_index.service.page_files import VIEWS
from image_index.settings import IndexHome
from tests.support.served import client_of


def loaded(page: str) -> list[str]:
    """Return the addresses that the page names."""
    return re.findall(r'(?:href|src)="([^"]+)"|"\./([^"]+)"', page)


@pytest.mark.parametrize("view", ["", *VIEWS])
def test_each_view_has_the_page_at_its_address(client: TestClient, view: str) -> None:
    """So that it can be loaded again, and kept as a bookmark."""
    page = client.get(f"/{view}")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert client.get(f"/{view}", headers={"If-None-Match": page.headers["ETag"]}).status_code == 304


def test_what_the_page_names_is_there_with_its_type(client: TestClient) -> None:
    """A browser runs no module of another type; it keeps each for good."""
    names = ["".join(pair) for pair in loaded(client.get("/").text)]
    assert {name.rpartition(".")[2] for name in names} == {"css", "js", "mjs", "svg"}
    types = {"css": "text/css", "js": "text/javascript", "mjs": "text/javascript", "svg": "image/svg+xml"}
    for name in names:
        answer = client.get(f"/{name}")
        assert answer.status_code == 200, name
        assert answer.headers["Content-Type"].partition(";")[0] == types[name.rpartition(".")[2]]
        assert "immutable" in answer.headers["Cache-Control"]


def test_the_icon_has_the_name_that_browsers_ask_for(client: TestClient) -> None:
    """At the entrance, say, and beside an answer of the API: they name no icon."""
    assert client.get("/favicon.ico").headers["Content-Type"] == "image/svg+xml"


def test_a_file_of_another_version_is_not_there(client: TestClient) -> None:
    """Nothing else is either: no licence, no Python, nothing above the page."""
    app = next(path for path in map("".join, loaded(client.get("/").text)) if path.endswith("app.js"))
    assert client.get(f"/{app}").status_code == 200
    for path in (
        re.sub(r"page/\w+/", "page/0123456789abcdef/", app),
        app.replace("app.js", "index.html"),
        app.replace("app.js", "vendor/preact/LICENSE"),
        app.replace("app.js", "%2e%2e/access.py"),
    ):
        assert client.get(f"/{path}").status_code == 404, path


def test_the_page_may_do_no_more_than_other_answers(client: TestClient) -> None:
    """But run its import map, which stands in the page itself; no HTML that a script makes of texts gets into it."""
    policy = client.get("/").headers["Content-Security-Policy"]
    assert policy.startswith(HEADERS["Content-Security-Policy"])
    more = policy.removeprefix(HEADERS["Content-Security-Policy"])
    assert re.fullmatch(
        r"; script-src 'self' 'sha256-[\w+/]{43}='; require-trusted-types-for 'script'; trusted-types 'none'", more
    )


def test_the_page_needs_the_token(client: TestClient) -> None:
    """With the one in its address comes a cookie, and the way to the page without it."""
    stranger = TestClient(client.app, str(client.base_url))
    assert [stranger.get(path).status_code for path in ("/", "/status", "/page/1/app.js")] == [401] * 3


def test_below_a_path_of_a_proxy_it_is_the_same_page(served: IndexHome, client: TestClient) -> None:
    """It names what it loads from where it stands."""
    with client_of(served, root_path="/pictures") as below:
        assert below.get("/pictures/duplicates").text == client.get("/duplicates").text
    assert all("".join(names).startswith("page/") for names in loaded(client.get("/").text))
