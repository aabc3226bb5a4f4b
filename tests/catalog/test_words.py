"""The index of words in paths, which has to say what the paths say, whatever becomes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_index.catalog.catalog import Catalog
from image_index.catalog.filters import Filters
from image_index.words import split_words, word_matcher
from tests.support.failing_statements import CHANGES, fill
from tests.support.records import batch

NAMES = ["/p/\u5317\u4eac\u5e02/1.jpg", "/p/Beach/\u00c9t\u00e9.jpg", "/p/a", "/p/\u4eac", "/q/New York/b.jpg"]


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_changes_the_words_follow(tmp_path: Path, name: str) -> None:
    """SQLite compares what it has indexed with the paths; new, moved, copied, replaced and dropped ones."""
    fill(tmp_path / "c")
    with Catalog(tmp_path / "c", write=True) as catalog:
        assert catalog.words_are_sound()
        CHANGES[name](catalog)
        assert catalog.words_are_sound()
        paths = {image.path: catalog.names_at(image.path) for image in catalog.images(Filters(missing=True))}
        found = {image.path for image in catalog.images(Filters(words=("/d/",), missing=True))}
        assert found == {path for path, names in paths.items() if any(b"/d/" in one for one in names)}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Return a catalog of a few names in several scripts."""
    made = Catalog(tmp_path_factory.mktemp("words") / "c", write=True)
    made.record(batch({name: [0, 0, 0, 1] for name in [*map(str.encode, NAMES), b"/p/\xff'\"\n.jpg"]}))
    return made


@settings(max_examples=300)
@given(st.text(st.sampled_from("/p\u5317\u4eac\u5e021.jgBeahc\u00c9t\u00e9 NwYork'\"\n*^-"), min_size=1, max_size=6))
def test_any_words_are_found_as_in_a_scan(catalog: Catalog, text: str) -> None:
    """One letter, two, or more; nothing in them is taken for syntax of FTS5."""
    words = split_words(text)
    fits = word_matcher(words)
    paths = {image.path for image in catalog.images(Filters())}
    assert {image.path for image in catalog.images(Filters(words=words))} == set(filter(fits, paths))
