"""Texts that were searched for before."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from image_index.catalog import query_memory
from image_index.catalog.catalog import Catalog
from image_index.catalog.query_memory import QueryMemory
from image_index.catalog.reader import CatalogReader
from image_index.settings import IndexHome
from tests.support.confined import run_confined
from tests.support.records import facts

MODEL = facts(4)
VECTOR = np.array([0.1, 0.2, 0.3, 1 / 3], np.float32)


@pytest.fixture
def home(home: IndexHome) -> IndexHome:
    """Return the home of an empty index."""
    home.create()
    Catalog(home.catalog, write=True).__exit__()
    return home


@pytest.fixture
def memory(home: IndexHome) -> Iterator[QueryMemory]:
    """Give the memory of a catalog, opened as a search opens it."""
    with CatalogReader(home.catalog) as catalog:
        yield QueryMemory(catalog)


def texts(home: IndexHome) -> set[str]:
    """Return the texts that are remembered."""
    with closing(sqlite3.connect(home.catalog)) as connection:
        return {text.decode() for (text,) in connection.execute("SELECT text FROM queries")}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters()), vector=st.lists(st.floats(width=32), min_size=4, max_size=4))
def test_any_text_comes_back_with_its_very_vector(memory: QueryMemory, text: str, vector: list[float]) -> None:
    """To the bit, so that a repeated search scores the same; also what came from bytes that were no UTF-8."""
    memory.remember(text, MODEL, np.array(vector, np.float32))
    found = memory.find(text, MODEL)
    assert found is not None
    assert found.tobytes() == np.array(vector, np.float32).tobytes()


def test_another_text_or_model_is_not_remembered(memory: QueryMemory) -> None:
    """Not even one that differs by a space."""
    memory.remember("a dog", MODEL, VECTOR)
    assert memory.find("a dog ", MODEL) is None
    assert memory.find("a dog", replace(MODEL, weights_sha256="1" * 64)) is None
    assert memory.find("a dog", MODEL) is not None


def test_what_was_used_longest_ago_is_forgotten(
    home: IndexHome, memory: QueryMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was asked again is not."""
    now = 1e9
    monkeypatch.setattr(query_memory, "QUERIES_KEPT", 3)
    monkeypatch.setattr("image_index.catalog.query_memory.time.time", lambda: now)
    for text in ("one", "two", "three"):
        memory.remember(text, MODEL, VECTOR)
        now += 2 * query_memory.FRESH_S
    assert memory.find("one", MODEL) is not None
    now += 1
    memory.remember("four", MODEL, VECTOR)
    assert texts(home) == {"one", "three", "four"}


def test_asking_again_soon_writes_nothing(home: IndexHome, memory: QueryMemory) -> None:
    """A search that finds its text leaves every byte."""
    memory.remember("a dog", MODEL, VECTOR)
    journal = home.catalog.with_name("catalog.sqlite3-wal")
    before = (home.catalog.read_bytes(), journal.read_bytes())
    assert memory.find("a dog", MODEL) is not None
    assert (home.catalog.read_bytes(), journal.read_bytes()) == before


@pytest.mark.parametrize("column", ["vector", "fingerprint", "text"])
def test_a_damaged_row_is_not_believed(home: IndexHome, memory: QueryMemory, column: str) -> None:
    """SQLite has no checksums, these rows do."""
    memory.remember("a dog", MODEL, VECTOR)
    asked, model = "a dog", MODEL
    with closing(sqlite3.connect(home.catalog, isolation_level=None)) as connection:
        if column == "vector":
            connection.execute("UPDATE queries SET vector = CAST(zeroblob(16) || substr(vector, 17) AS BLOB)")
        elif column == "text":
            asked = "a cat"
            connection.execute("UPDATE queries SET text = ?", (b"a cat",))
        else:
            model = replace(MODEL, weights_sha256="1" * 64)
            connection.execute("UPDATE queries SET fingerprint = ?", (model.fingerprint,))
    assert memory.find(asked, model) is None


def test_a_search_does_not_wait_for_a_writer(home: IndexHome, memory: QueryMemory) -> None:
    """A training run holds the write lock: what was known is found, the rest is not stored."""
    memory.remember("a dog", MODEL, VECTOR)
    with closing(sqlite3.connect(home.catalog, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        memory.remember("a cat", MODEL, VECTOR)
        assert memory.find("a cat", MODEL) is None
        assert memory.find("a dog", MODEL) is not None
    memory.remember("a cat", MODEL, VECTOR)
    assert memory.find("a cat", MODEL) is not None


READ = """
import sys
from pathlib import Path
import numpy as np
from image_index.catalog.query_memory import QueryMemory
from image_index.catalog.reader import CatalogReader
from tests.support.records import facts
with CatalogReader(Path(sys.argv[1])) as catalog:
    memory = QueryMemory(catalog)
    memory.remember("a dog", facts(4), np.ones(4, np.float32))
    print(catalog.counts().images, memory.find("a dog", facts(4)))
"""


@pytest.mark.parametrize("what", ["directory", "file"])
def test_a_catalog_that_may_not_be_written_to_is_searched(home: IndexHome, what: str) -> None:
    """And not a byte changes."""
    before = home.catalog.read_bytes()
    path = home.path if what == "directory" else home.catalog
    path.chmod(0o500 if what == "directory" else 0o400)
    if what == "directory":
        home.catalog.chmod(0o400)
    done = run_confined("-c", READ, home.catalog)
    path.chmod(0o700)
    assert (done.stdout, done.returncode) == ("0 None\n", 0), done.stderr
    assert home.catalog.read_bytes() == before
