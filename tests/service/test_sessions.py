"""Training sessions over HTTP: what is asked for, what is refused, and what is told."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from image_index.catalog.catalog import Catalog
from image_index.catalog.lock import exclusive_lock
from image_index.catalog.runs import KILLED, Runs
from image_index.records import Progress, StageSeconds, Summary
from image_index.service import sessions
from image_index.service.sessions import Training
from image_index.settings import IndexHome
from tests.support.served import IdleRunner, client_of, make_served

SESSIONS = "/api/v1/training/sessions"


@pytest.fixture
def runner() -> IdleRunner:
    """Return who is told of sessions, and runs none."""
    return IdleRunner()


@pytest.fixture
def home(tmp_path: Path) -> IndexHome:
    """Return an index of pictures in `photos`."""
    return make_served(tmp_path)


@pytest.fixture
def client(home: IndexHome, runner: IdleRunner, tmp_path: Path) -> Iterator[TestClient]:
    """Return a client of a server that also trains what lies below `more`."""
    (tmp_path / "more").mkdir()
    with client_of(home, training=Training(runner, (os.fsencode(tmp_path / "more"),))) as made:
        yield made


def ask(client: TestClient, **asked: Any) -> dict[str, Any]:
    """Return the session that was queued."""
    answer = client.post(SESSIONS, json=asked)
    assert answer.status_code == 202, answer.text
    session: dict[str, Any] = answer.json()
    return session


def test_what_is_asked_for_is_queued(client: TestClient, runner: IdleRunner, tmp_path: Path) -> None:
    """The answer says where it can be asked for, and tells it as it does there."""
    directory = str(tmp_path / "photos")
    asked = {"training_directory": directory, "priority": "high", "exclude": ["*.gif"], "time_limit": "2h"}
    answer = client.post(SESSIONS, json=asked)
    assert (answer.status_code, answer.headers["Location"]) == (202, f"{SESSIONS}/1")
    session = answer.json()
    assert session == client.get(answer.headers["Location"]).json()
    assert asked == {key: session[key] for key in asked}
    assert (session["state"], session["kind"], session["retry_failed"]) == ("queued", "embedded", False)
    assert session["asked_at"] is not None
    assert (session["started_at"], session["exit_code"], session["summary"]) == (None, None, None)
    assert runner.told == [("start", 1)]


def test_a_directory_must_be_of_the_index_or_allowed(client: TestClient, tmp_path: Path) -> None:
    """By its real path: neither dots nor links lead out of a root, and no name that begins like one."""
    (tmp_path / "photos/sub").mkdir()
    (tmp_path / "photos-2").mkdir()
    (tmp_path / "photos/out").symlink_to("/etc")
    (tmp_path / "in").symlink_to(tmp_path / "more")
    for inside in ("photos", "photos/sub", "photos/../photos/sub", "more", "in"):
        ask(client, training_directory=str(tmp_path / inside))
    for outside in ("", "photos-2", "photos/../photos-2", "photos/out", "nowhere", "index"):
        answer = client.post(SESSIONS, json={"training_directory": str(tmp_path / outside)})
        assert answer.status_code == 403
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert "imgidx serve --allow " in answer.json()["detail"]
    assert len(client.get(SESSIONS).json()["sessions"]) == 5


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"training_directory": "DIRECTORY/photos/gone"}, "no such directory: DIRECTORY/photos/gone"),
        ({"training_directory": "photos"}, "an absolute path"),
        ({"training_directory": ""}, "an absolute path"),
        ({"exclude": ["/"]}, "--exclude '/' is not a gitignore pattern"),
        ({"time_limit": "soon"}, "--time-limit takes a duration such as 90s, 5m, 2h or 30d, not 'soon'"),
        ({"priority": "urgent"}, "priority: "),
        ({"directory": "/"}, "directory: "),
    ],
)
def test_what_makes_no_sense_is_refused_before_it_is_queued(
    client: TestClient, runner: IdleRunner, tmp_path: Path, asked: dict[str, Any], says: str
) -> None:
    """With the sentence of the command line and its exit code."""
    answer = client.post(SESSIONS, json=json.loads(json.dumps(asked).replace("DIRECTORY", str(tmp_path))))
    assert (answer.status_code, answer.json()["exit_code"]) == (422, 2)
    assert says.replace("DIRECTORY", str(tmp_path)) in answer.json()["detail"]
    assert client.get(SESSIONS).json() == {"sessions": [], "next": None}
    assert runner.told == []


def test_without_roots_there_is_nothing_to_train(client: TestClient, home: IndexHome, tmp_path: Path) -> None:
    """As for the command line."""
    with Catalog(home.catalog, write=True) as catalog:
        catalog.forget(os.fsencode(tmp_path))
    answer = client.post(SESSIONS, json={})
    assert (answer.status_code, "name a directory of pictures" in answer.json()["detail"]) == (422, True)


def test_the_list_comes_in_pages_newest_first(client: TestClient) -> None:
    """A session that is asked for meanwhile moves nothing."""
    for _ in range(5):
        ask(client)
    first = client.get(SESSIONS, params={"limit": 2}).json()
    ask(client)
    second = client.get(SESSIONS, params={"limit": 2, "cursor": first["next"]}).json()
    third = client.get(SESSIONS, params={"limit": 2, "cursor": second["next"]}).json()
    pages = [[session["id"] for session in page["sessions"]] for page in (first, second, third)]
    assert pages == [[5, 4], [3, 2], [1]]
    assert third["next"] is None


def test_a_session_that_waits_is_cancelled_at_once(client: TestClient, runner: IdleRunner) -> None:
    """It never ran; there is nothing to cancel then, nor where there is no session."""
    path = f"{SESSIONS}/{ask(client)['id']}"
    cancelled = client.post(f"{path}/cancel", json={})
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "stopped")
    assert (cancelled.json()["started_at"], cancelled.json()["exit_code"]) == (None, None)
    assert runner.told == [("start", 1), ("cancel", 1)]
    again = client.post(f"{path}/cancel", json={})
    assert (again.status_code, again.json()["detail"]) == (409, "session 1 has ended: stopped")
    assert client.post(f"{SESSIONS}/9/cancel", json={}).status_code == 404
    assert client.get(f"{SESSIONS}/9").status_code == 404


def test_a_session_tells_how_far_it_is_and_how_it_ended(client: TestClient, home: IndexHome) -> None:
    """Its process writes that down with each batch."""
    path = f"{SESSIONS}/{ask(client)['id']}"
    stages = StageSeconds(scan=0.5)
    with exclusive_lock(home.session_lock), Catalog(home.catalog, write=True) as catalog:
        with Runs(catalog).recorded(session=1) as run:
            assert (client.get(path).json()["state"], client.get(path).json()["stage"]) == ("running", "wait")
            run.begin()
            with catalog.transaction() as connection:
                run.noting(Progress("embed", 40, 100, 2, 8.0, stages))(connection)
            seen = client.get(path).json()
            assert (seen["stage"], seen["done"], seen["total"], seen["failures"]) == ("embed", 40, 100, 2)
            assert (seen["pictures_per_second"], seen["seconds_left"]) == (8.0, 7.5)
            assert seen["stage_seconds"]["scan"] == 0.5
            run.summary = Summary(planned=100, embedded=97, failed=3, seconds=10.0)
        seen = client.get(path).json()
    assert (seen["state"], seen["exit_code"], seen["stage"]) == ("incomplete", 3, None)
    assert (seen["done"], seen["total"], seen["failures"], seen["seconds_left"]) == (100, 100, 3, None)
    assert seen["summary"]["embedded"] == 97


def test_a_session_whose_process_is_gone_has_failed(client: TestClient, home: IndexHome) -> None:
    """Whoever asks is told so, without anybody having written it down; there is nothing to cancel."""
    number = ask(client)["id"]
    with exclusive_lock(home.session_lock), Catalog(home.catalog, write=True) as catalog:
        run = Runs(catalog).recorded(session=number)
        run.__enter__()
        assert client.get(f"{SESSIONS}/{number}").json()["state"] == "running"
    seen = client.get(f"{SESSIONS}/{number}").json()
    assert (seen["state"], seen["error"], seen["exit_code"]) == ("failed", KILLED, None)
    assert client.post(f"{SESSIONS}/{number}/cancel", json={}).status_code == 409


def test_a_session_that_is_cancelled_twice_is_asked_once(
    client: TestClient, home: IndexHome, runner: IdleRunner
) -> None:
    """A second SIGINT would throw away the batches in flight."""
    path = f"{SESSIONS}/{ask(client)['id']}"
    with (
        exclusive_lock(home.session_lock),
        Catalog(home.catalog, write=True) as catalog,
        Runs(catalog).recorded(session=1),
    ):
        for _ in range(2):
            answer = client.post(f"{path}/cancel", json={})
            assert (answer.status_code, answer.json()["state"]) == (202, "stopping")
    assert runner.told == [("start", 1), ("cancel", 1)]


def events_of(client: TestClient, number: int, last: str | None = None) -> list[tuple[str, dict[str, Any]]]:
    """Return the ids and the data of the events of a session, to the end of the stream."""
    headers = {} if last is None else {"Last-Event-ID": last}
    answer = client.get(f"{SESSIONS}/{number}/events", headers=headers)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    blocks = (dict(line.split(": ", 1) for line in block.split("\n")) for block in answer.text.strip().split("\n\n"))
    return [(block["id"], json.loads(block["data"])) for block in blocks]


def test_events_end_with_the_session(client: TestClient) -> None:
    """The last one is the session as it can be asked for; whoever has it is told that there is no more."""
    ask(client)
    client.post(f"{SESSIONS}/1/cancel", json={})
    ((last, data),) = events_of(client, 1)
    assert data == client.get(f"{SESSIONS}/1").json()
    assert client.get(f"{SESSIONS}/1/events", headers={"Last-Event-ID": last}).status_code == 204
    assert events_of(client, 1, "of another state") == [(last, data)]
    assert client.get(f"{SESSIONS}/9/events").status_code == 404


def test_each_change_is_an_event_and_silence_has_signs_of_life(
    client: TestClient, home: IndexHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that nobody touches is not told again and again."""
    monkeypatch.setattr(sessions, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(sessions, "SIGN_OF_LIFE_S", 0.05)
    ask(client)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.get, f"{SESSIONS}/1/events")
        with (
            exclusive_lock(home.session_lock),
            Catalog(home.catalog, write=True) as catalog,
            Runs(catalog).recorded(session=1) as run,
        ):
            time.sleep(0.3)
            run.begin()
            time.sleep(0.3)
        text = answer.result(60).text
    told = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]
    assert [(one["state"], one["stage"]) for one in told][-3:] == [
        ("running", "wait"),
        ("running", "scan"),
        ("done", "scan"),
    ]
    assert text.count(": ping") >= 2


def test_few_may_watch_at_once(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A further one is refused, and can ask for the session itself."""
    ask(client)
    client.post(f"{SESSIONS}/1/cancel", json={})
    for _ in range(3):
        events_of(client, 1)
    monkeypatch.setattr(sessions, "MOST_STREAMS", 0)
    refused = client.get(f"{SESSIONS}/1/events")
    assert (refused.status_code, refused.json()["exit_code"]) == (503, 8)


def test_sessions_that_wait_are_bounded(
    client: TestClient, runner: IdleRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told of one that is refused."""
    monkeypatch.setattr(sessions, "MOST_WAITING", 2)
    ask(client)
    ask(client)
    refused = client.post(SESSIONS, json={})
    assert (refused.status_code, "sessions wait already" in refused.json()["detail"]) == (503, True)
    assert runner.told == [("start", 1), ("start", 2)]
