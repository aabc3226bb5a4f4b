"""An index that any earlier imgidx made opens, searches and trains; one of a later imgidx is refused."""

from __future__ import annotations

import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from image_index.catalog.catalog import Catalog
from image_index.catalog.schema import SCHEMA_VERSION
from image_index.search.ranking import SearchOptions, search
from image_index.settings import IndexHome
from image_index.training.freshness import build_if_stale
from image_index.upkeep.verify import verify
from tests.support.shell import Shell

FIXTURES = Path(__file__).parents[1] / "fixtures"


def home_of(directory: Path, version: int) -> IndexHome:
    """Return an index home with a copy of the catalog of an earlier schema, and nothing else."""
    home = IndexHome(directory / "index")
    home.create()
    shutil.copy(FIXTURES / f"schema-{version}.sqlite3", home.catalog)
    return home


def test_there_is_a_fixture_of_every_schema() -> None:
    """A new schema needs one: `python -m tests.fixtures.make_schema`."""
    versions = sorted(int(path.stem.removeprefix("schema-")) for path in FIXTURES.glob("schema-*.sqlite3"))
    assert versions == list(range(1, SCHEMA_VERSION + 1))


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_an_index_of_any_earlier_schema_opens_and_searches(tmp_path: Path, version: int) -> None:
    """Three pictures of the bundled model and a failure: each is nearest to itself, with and without a FAISS file."""
    home = home_of(tmp_path, version)
    with Catalog(home.catalog, write=True) as catalog:
        assert (catalog.counts().images, catalog.counts().failures) == (3, 1)
        assert catalog.model is not None
        assert (catalog.model.name, catalog.model.dim) == ("starter", 512)
        for _ in range(2):
            for ids, vectors in catalog.vectors_after(0):
                for image_id, vector in zip(ids.tolist(), vectors, strict=True):
                    hits = search(catalog, home, vector, SearchOptions())
                    assert hits[0].image.id == image_id
                    assert {Path(hit.path.decode()).name for hit in hits} == {"red.png", "green.png", "blue.png"}
                    np.testing.assert_allclose(hits[0].score, 1, atol=1e-3)
            build_if_stale(catalog, home, lambda _: None)
    assert list(verify(home)) == []


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_commands_read_an_index_of_any_earlier_schema(tmp_path: Path, version: int) -> None:
    """As a user who has upgraded meets it."""
    home = home_of(tmp_path, version)
    shell = Shell(tmp_path)
    (status,) = shell.run("status", "--json").records
    assert (status["images"], status["failures"], status["model"]) == (3, 1, "starter")
    assert [failure["stage"] for failure in shell.run("failures", "--json").records] == ["decode"]
    assert shell.run("verify", "--repair").code == 0
    assert stat.S_IMODE(home.faiss.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "words", [("status",), ("search", "a cat"), ("failures",), ("train", "."), ("verify",), ("forget", "/"), ("prune",)]
)
def test_an_index_of_a_later_schema_is_exit_5_and_stays_as_it_is(tmp_path: Path, words: tuple[str, ...]) -> None:
    """The message says what to do, and not a byte is written."""
    home = home_of(tmp_path, SCHEMA_VERSION)
    with closing(sqlite3.connect(home.catalog)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = home.catalog.read_bytes()
    done = Shell(tmp_path).run(*words)
    assert (done.code, done.out) == (5, b"")
    assert "upgrade imgidx" in done.complaint
    assert home.catalog.read_bytes() == before
