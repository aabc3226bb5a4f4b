"""What a search is tuned with comes from the index's own model, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from image_index.catalog.catalog import Catalog
from image_index.search.encode import QueryEncoder
from image_index.settings import IndexHome
from image_index.training.sample_queries import SETTINGS, SUBJECTS, sample_queries
from image_index.workers.engine import Engine
from tests.support.library import Library
from tests.support.records import facts

pytestmark = pytest.mark.slow


def test_common_texts_get_the_vectors_that_a_search_for_them_gets(tmp_path: Path) -> None:
    """By the text tower that the training run has exported."""
    library = Library(tmp_path / "photos", IndexHome(tmp_path / "index"))
    library.add("a.png")
    library.train(engine=Engine("cpu", workers=1))
    with Catalog(library.home.catalog) as catalog:
        found = sample_queries(catalog, library.home)
        assert found is not None
        assert len(found) == len(SUBJECTS) * len(SETTINGS)
        np.testing.assert_array_equal(found[1], QueryEncoder(catalog, library.home).text("a dog on the beach"))


def test_without_a_text_tower_there_are_none(tmp_path: Path) -> None:
    """An index of a model that has no export, or of no model yet, is tuned with what is made up."""
    home = IndexHome(tmp_path)
    with Catalog(home.catalog, write=True) as catalog:
        assert sample_queries(catalog, home) is None
        catalog.set_model(facts())
        assert sample_queries(catalog, home) is None
