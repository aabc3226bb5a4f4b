"""What is read of a catalog: at what cost, and how often."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from image_index.catalog.catalog import Catalog
from image_index.catalog.filters import Filters
from image_index.catalog.reader import CatalogReader
from image_index.records import KnownImage, Match
from tests.support.records import batch, facts, image_file


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """Give a catalog of three pictures."""
    with Catalog(tmp_path / "catalog.sqlite3", write=True) as made:
        made.record(batch({b"/a/x": [1, 0, 0, 0], b"/a/y": [0, 1, 0, 0], b"/b": [0, 0, 1, 0]}))
        yield made


@contextmanager
def statements_of(catalog: CatalogReader) -> Iterator[list[str]]:
    """Collect the SQL that a block runs, with the values of its parameters in it."""
    statements: list[str] = []
    catalog.connection.set_trace_callback(statements.append)
    yield statements
    catalog.connection.set_trace_callback(None)


def row(catalog: CatalogReader, path: bytes) -> KnownImage:
    """Return the row of a path that has one."""
    image = catalog.image_at(path)
    assert image is not None
    return image


def test_a_path_is_looked_up_in_the_index_of_paths(catalog: Catalog) -> None:
    """A million rows are neither walked through nor sorted for one path or one directory."""
    with statements_of(catalog) as statements:
        list(catalog.known(b"/a"))
        catalog.facts_at(b"/a/x")
        catalog.times_at(b"/a/x")
        catalog.knows(b"/c")
        catalog.ids_under(b"/a")
        catalog.ids_matching(Filters(under=(b"/a",)))
        catalog.copy([Match(image_file(b"/c"), row(catalog, b"/b"))])
        catalog.move([Match(image_file(b"/d"), row(catalog, b"/c"))])
        catalog.record(batch({b"/a/x": [0, 0, 0, 1]}))
        catalog.forget(b"/a")
    of_images = [sql for sql in statements if sql.startswith(("SELECT", "UPDATE", "DELETE")) and " images " in sql]
    assert len(of_images) > 10
    with closing(catalog.connection.cursor()) as cursor:
        for sql in of_images:
            plan = [step[3] for step in cursor.execute(f"EXPLAIN QUERY PLAN {sql}")]
            assert plan, sql
            walks = [step for step in plan if step.startswith("SCAN ") and not step.startswith("SCAN (subquery")]
            assert not walks, (sql, plan)
            assert not any("TEMP B-TREE" in step for step in plan), (sql, plan)


def test_the_model_is_read_once(catalog: Catalog) -> None:
    """A search asks for it many times; a catalog that has none yet is asked again, for another process may train."""
    assert catalog.read_model() is None
    with Catalog(catalog.path) as other:
        other.set_model(facts())
    with statements_of(catalog) as statements:
        assert catalog.read_model() == catalog.read_model() == facts()
    assert len(statements) == 1
    catalog.set_model(replace(facts(), name="moved"))
    assert catalog.read_model() == replace(facts(), name="moved")
