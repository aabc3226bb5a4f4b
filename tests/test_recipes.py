"""The recipes of docs/vectors-elsewhere.md, run as they stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from image_index.catalog.catalog import Catalog
from image_index.catalog.filters import Filters
from image_index.catalog.reader import CatalogReader
from image_index.index import Index
from image_index.records import ImageFile, Match
from image_index.settings import IndexHome
from tests.support.library import make_index, random_batch
from tests.support.photos import REPOSITORY

RECIPES = dict(
    re.findall(
        r"<!-- recipe: (\w+) -->\n```python\n(.*?)```",
        (REPOSITORY / "docs/vectors-elsewhere.md").read_text(encoding="utf-8"),
        re.DOTALL,
    )
)
DIM = 8


def exports(home: IndexHome, directory: Path) -> Iterator[Path]:
    """Make an index, change it twice, and yield an export of each of its three states."""
    make_index(home, 30, dim=DIM)
    since = None
    for number in range(3):
        path = directory / f"export-{number}"
        with Index(home) as index:
            done = index.export_rows(path, Filters(), since=since)
        assert done is not None
        since = done.mark
        yield path
        with Catalog(home.catalog, write=True) as catalog:
            known = sorted(catalog.known(b"/photos"), key=lambda image: image.id)
            catalog.forget(known[number].path)
            catalog.mark_missing([known[5 + number]])
            catalog.move([Match(ImageFile(b"/photos/moved-%d.jpg" % number, 1, 5), known[10 + number])])
            if number == 0:  # the last export has rows that changed, and none that are new
                catalog.record(random_batch(10, seed=7, dim=DIM))


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Give the place of a store: for Qdrant a client, for the others a path."""
    if request.param != "qdrant":
        yield str(tmp_path / "store")
        return
    client = pytest.importorskip("qdrant_client").QdrantClient(path=str(tmp_path / "store"))
    yield client
    client.close()


def test_every_recipe_is_run() -> None:
    """Whatever the document shows."""
    assert list(RECIPES) == ["duckdb", "lancedb", "qdrant", "faiss"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of libraries that imgidx does not use
@pytest.mark.parametrize(("name", "store"), [(name, name) for name in RECIPES], indirect=["store"])
def test_a_store_that_follows_finds_what_the_index_holds(
    name: str, store: Any, home: IndexHome, tmp_path: Path
) -> None:
    """After each export, applied once or twice: the pictures of the catalog, in the order that numpy gives them."""
    if name != "qdrant":
        pytest.importorskip(name)
    recipe: dict[str, Any] = {}
    exec(compile(RECIPES[name], f"docs/vectors-elsewhere.md: {name}", "exec"), recipe)
    query = np.random.default_rng(3).normal(size=DIM).astype(np.float32)
    query /= np.linalg.norm(query)
    for export in exports(home, tmp_path):
        for _ in range(2):
            recipe["follow"](store, str(export))
            with CatalogReader(home.catalog) as catalog:
                images, vectors = next(catalog.pictures(Filters()))
            expected = [images[place].id for place in np.argsort(-(vectors @ query))]
            assert recipe["nearest"](store, query, 1000)[: len(images)] == expected
