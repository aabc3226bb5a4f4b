"""Who may ask: each line of what `service.access` promises."""

from __future__ import annotations

import base64

import pytest
from starlette.testclient import TestClient

from image_index.service.access import HEADERS, MOST_JSON_BYTES, Rules, host_name
from image_index.settings import IndexHome
from tests.support.served import HOST, RULES, TOKEN, client_of

STATUS = "/api/v1/status"


@pytest.fixture
def stranger(client: TestClient) -> TestClient:
    """Return a client that does not know the token."""
    return TestClient(client.app, str(client.base_url))


@pytest.mark.parametrize("authorization", ["", f"Basic {TOKEN}", "Bearer", "Bearer wrong", f"Bearer {TOKEN}x"])
def test_who_does_not_know_the_token_learns_nothing(stranger: TestClient, authorization: str) -> None:
    """Neither what there is nor what there is not."""
    for path in (STATUS, "/api/v1/images/1", "/openapi.json", "/nowhere", "/", "/?token=wrong"):
        answer = stranger.get(path, headers={"Authorization": authorization})
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_the_token_is_no_secret_of_the_answers(stranger: TestClient) -> None:
    """Nor can it be told from the cookie."""
    answer = stranger.get(f"/?token={TOKEN}")
    assert TOKEN not in answer.text + str(answer.headers)


def test_a_browser_gets_a_cookie_for_the_token(stranger: TestClient) -> None:
    """No script reads it, and no other site's page makes the browser send it."""
    entrance = stranger.get(f"/?token={TOKEN}")
    assert entrance.status_code == 200
    assert entrance.headers["Cache-Control"] == "no-store"
    cookie = entrance.headers["Set-Cookie"].lower()
    assert "; httponly" in cookie
    assert "; samesite=strict" in cookie
    assert stranger.get(STATUS).status_code == 200  # the client has kept it
    assert stranger.get(STATUS, headers={"Cookie": f"imgidx-8000={TOKEN}"}).status_code == 401


def test_health_needs_no_token(stranger: TestClient) -> None:
    """Whatever watches the server need not know it."""
    assert stranger.get("/healthz").json() == {"status": "ok"}


def test_without_a_token_everybody_may_ask(served: IndexHome) -> None:
    """As the user has asked for; the other rules stand."""
    with client_of(served, Rules(RULES.hosts, None)) as client:
        client.headers.pop("Authorization")
        assert client.get(STATUS).status_code == 200
        assert client.get("/").status_code == 200
        assert client.get(STATUS, headers={"Host": "evil.example"}).status_code == 421


@pytest.mark.parametrize("host", [HOST, "localhost", "LOCALHOST:1", "[::1]:8000", "[::1]"])
def test_hosts_of_this_machine_are_known(client: TestClient, host: str) -> None:
    """Whatever the port: a proxy may have another one."""
    assert client.get(STATUS, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.",
        "",
        "::1",
        "[::1",
        "localhost:x",
        "a@localhost",
        "[::2]:1",
    ],
)
def test_a_name_that_was_bent_to_this_machine_is_refused(client: TestClient, host: str) -> None:
    """A page whose own name leads to 127.0.0.1 has the token's cookie in no case, but it must not even ask."""
    for path in (STATUS, "/healthz", f"/?token={TOKEN}"):
        assert client.get(path, headers={"Host": host}).status_code == 421


def test_a_host_header_is_one_host() -> None:
    """What a header says besides a name and a port makes it none."""
    assert host_name("Localhost:80") == "localhost"
    assert host_name("[::1]:80") == "::1"
    assert host_name("localhost/x") is None
    assert host_name("localhost:99999") is None


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9000"},  # another server of this machine
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_pages_of_other_sites_send_nothing(client: TestClient, headers: dict[str, str]) -> None:
    """Even with the token."""
    assert client.post("/nowhere", json={}, headers=headers).status_code == 403


@pytest.mark.parametrize("headers", [{}, {"Origin": f"http://{HOST}"}, {"Sec-Fetch-Site": "same-origin"}])
def test_our_page_and_scripts_may_send(client: TestClient, headers: dict[str, str]) -> None:
    """What has neither header is no browser's request; then the token decides."""
    assert client.post("/nowhere", json={}, headers=headers).status_code == 404


def test_a_form_that_any_page_can_send_is_refused(client: TestClient) -> None:
    """Browsers send these kinds across sites without asking the server first."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = client.post("/nowhere", content=b"{}", headers={"Content-Type": kind})
        assert answer.status_code == 415


def test_what_has_no_body_needs_no_kind(client: TestClient) -> None:
    """As what cancels a session; a page of another site sends its Origin."""
    assert client.post("/nowhere").status_code == 404
    assert client.post(STATUS).status_code == 405
    assert client.post("/nowhere", headers={"Origin": "http://evil.example"}).status_code == 403


def test_a_body_that_is_too_large_is_not_read(client: TestClient) -> None:
    """The limit is told at once where the length is announced."""
    answer = client.post("/nowhere", content=b" " * (MOST_JSON_BYTES + 1), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


def test_every_answer_has_the_headers(client: TestClient) -> None:
    """Also those that refuse."""
    for answer in (client.get(STATUS), client.get("/nowhere"), client.get(STATUS, headers={"Host": "evil.example"})):
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert HEADERS["X-Content-Type-Options"] == "nosniff"
    assert HEADERS["Content-Security-Policy"].startswith("default-src 'self'")
    assert HEADERS["Cross-Origin-Resource-Policy"] == "same-origin"


def test_below_a_path_of_a_proxy_the_same_holds(served: IndexHome) -> None:
    """The proxy has cut the path off, the cookie is for what lies below it."""
    with client_of(served, root_path="/pictures") as client:
        assert client.get("/pictures/api/v1/status").status_code == 200
        client.headers.pop("Authorization")
        assert client.get("/pictures/api/v1/status").status_code == 401
        assert "; path=/pictures/" in client.get(f"/pictures/?token={TOKEN}").headers["Set-Cookie"].lower()


@pytest.mark.parametrize(
    ("credentials", "status"),
    [(f"imgidx:{TOKEN}", 200), (f":{TOKEN}", 200), (TOKEN, 401), (f"{TOKEN}:", 401), ("imgidx:other", 401), ("", 401)],
)
def test_a_password_may_be_the_token(served: IndexHome, credentials: str, status: int) -> None:
    """For clients that take nothing but an address; whoever they say they are."""
    with client_of(served) as client:
        encoded = base64.b64encode(credentials.encode()).decode()
        answer = client.get(STATUS, headers={"Authorization": f"Basic {encoded}"})
        assert answer.status_code == status
        assert client.get(STATUS, headers={"Authorization": "Basic !"}).status_code == 401
