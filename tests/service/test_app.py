"""The application as a whole: errors, and the document that describes it."""

from __future__ import annotations

import re
from pathlib import Path
from shutil import rmtree

from starlette.testclient import TestClient

from tests.support.photos import REPOSITORY
from tests.support.served import client_of, make_served


def test_errors_are_problems_with_the_sentence_of_the_command_line(tmp_path: Path) -> None:
    """And with its exit code."""
    home = make_served(tmp_path)
    with client_of(home) as client:
        rmtree(home.path)
        answer = client.get("/api/v1/status")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": f"no index in {home.path}; make one with: imgidx train DIRECTORY",
        "exit_code": 4,
    }


def test_wrong_parameters_are_named(client: TestClient) -> None:
    """What is not understood is told, and where it stands."""
    answer = client.get("/api/v1/failures?limit=0")
    assert (answer.status_code, answer.json()["exit_code"]) == (422, 2)
    assert answer.json()["detail"].startswith("limit: ")


def test_what_there_is_not_is_a_problem_too(client: TestClient) -> None:
    """A path that there is not, and a method."""
    assert client.get("/nowhere").json()["status"] == 404
    answer = client.delete("/api/v1/search")
    assert (answer.json()["status"], answer.headers["Allow"]) == (405, "GET, POST")


def test_the_document_names_every_route(client: TestClient) -> None:
    """And nothing of it is fetched from elsewhere: FastAPI's own pages, which would be, are not there."""
    document = client.get("/openapi.json").json()
    assert {"/healthz", "/api/v1/status", "/api/v1/images/{image_id}"} <= set(document["paths"])
    for path in ("/docs", "/redoc"):
        assert client.get(path).status_code == 404


def test_every_route_and_status_is_described(client: TestClient) -> None:
    """By the page about the server: no route goes undocumented, and no problem that it may answer with."""
    page = (REPOSITORY / "docs/serve.md").read_text(encoding="utf-8")
    routes = client.get("/openapi.json").json()["paths"]
    for path, methods in routes.items():
        assert "`" + re.sub(r"{\w+}", "ID", path) in page
        for method in methods.values():
            assert {status for status in method["responses"] if status >= "400"} <= {
                *re.findall(r"\b4\d\d\b|503", page)
            }
    assert {"403", "413", "415"} <= {*routes["/api/v1/search"]["post"]["responses"]}
