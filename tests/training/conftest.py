"""What tests of surveys share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from image_index.catalog.catalog import Catalog
from tests.support.records import facts
from tests.support.scanned import Scanned


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Scanned]:
    """Give a library of four pictures in two directories, all known."""
    with Catalog(tmp_path / "catalog.sqlite3", write=True) as catalog:
        catalog.set_model(facts())
        library = Scanned(Path(os.path.realpath(tmp_path)) / "photos", catalog)
        for name, content in (("a/1.jpg", "one"), ("a/2.jpg", "two"), ("b/3.jpg", "three"), ("b/4.jpg", "four")):
            library.write(name, content)
        library.take_in()
        yield library
