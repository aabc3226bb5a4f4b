"""What the index holds, over HTTP."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from starlette.testclient import TestClient

from image_index.catalog.catalog import Catalog
from image_index.catalog.reader import CatalogReader
from image_index.catalog.runs import Runs
from image_index.models.listing import list_models
from image_index.present.known import known_record
from image_index.present.models import model_record
from image_index.present.status import failure_record, status_record
from image_index.records import EmbeddedBatch, Failure, ImageFile, MachineShare, Stage, Summary
from image_index.settings import IndexHome
from image_index.upkeep.known import known_picture
from image_index.upkeep.maintenance import forget
from image_index.upkeep.status import read_status
from tests.support.library import make_index
from tests.support.served import client_of, make_served


def test_the_answers_are_the_objects_of_the_command_line(client: TestClient, served: IndexHome) -> None:
    """Key by key, in their order: there is no second schema."""
    with CatalogReader(served.catalog) as catalog:
        image = known_picture(catalog, catalog.facts_of([1])[1].path)
        failures = [failure_record(one) for one in catalog.failures()]
    assert image is not None
    expected = {
        "/api/v1/status": status_record(read_status(served)),
        "/api/v1/images/1": known_record(image),
        "/api/v1/failures": {"failures": failures, "next": None},
        "/api/v1/models": {"models": [model_record(one) for one in list_models()]},
    }
    for path, record in expected.items():
        answer = client.get(path).json()
        assert list(answer) == list(record)
        varying = {"bytes": 0} if "roots" in record else {}  # of the files that SQLite makes while it is open
        assert answer | varying == record | varying


def test_a_run_is_told_with_the_machines_that_took_part(tmp_path: Path) -> None:
    """As the command line tells it, in the status."""
    home = make_served(tmp_path)
    with Catalog(home.catalog, write=True) as catalog, Runs(catalog).recorded() as run:
        run.begin()
        run.summary = Summary(embedded=9, machines=(MachineShare("atlas", 9, 3.25),))
    with client_of(home) as client:
        assert client.get("/api/v1/status").json()["last_run"] == status_record(read_status(home))["last_run"]


def test_failures_come_page_by_page(home: IndexHome) -> None:
    """Each once, in the order of their paths; a cursor that is none is wrong use."""
    make_index(home, 1)
    names = [b"/photos/a", b"/photos/b\xff", b"/photos/c"]
    failures = tuple(Failure(ImageFile(name, 1, 1), Stage.READ, "why") for name in names)
    with Catalog(home.catalog, write=True) as catalog:
        catalog.record(EmbeddedBatch((), np.zeros((0, 4), np.float32), failures))
    with client_of(home) as client:
        found, cursor = [], ""
        while cursor is not None:
            page = client.get("/api/v1/failures", params={"limit": 1, **({"cursor": cursor} if cursor else {})}).json()
            found += page["failures"]
            cursor = page["next"]
        wrong = client.get("/api/v1/failures", params={"cursor": "!"})
    assert [one.get("path") for one in found] == ["/photos/a", None, "/photos/c"]
    assert found[1]["path_bytes"] == "L3Bob3Rvcy9i/w=="
    assert (wrong.status_code, wrong.json()["exit_code"]) == (422, 2)


def test_a_picture_that_is_not_known_is_not_found(client: TestClient) -> None:
    """And an id that is none is wrong use."""
    assert client.get("/api/v1/images/999").status_code == 404
    for wrong in ("0", "-1", "x", str(1 << 63), "..%2f..%2fetc"):
        assert client.get(f"/api/v1/images/{wrong}").status_code in (404, 422)


def test_what_was_forgotten_is_gone_at_once(tmp_path: Path) -> None:
    """The server looks at the catalog as it is."""
    home = make_served(tmp_path)
    with client_of(home) as client:
        assert client.get("/api/v1/images/1").status_code == 200
        forget(home, (bytes(tmp_path / "photos"),))
        assert client.get("/api/v1/images/1").status_code == 404
