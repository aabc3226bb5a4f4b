"""Several indexes in one search, compared with one index of all their pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from image_index.catalog.catalog import Catalog
from image_index.errors import IndexMismatch, IndexNotFound, UsageError
from image_index.index import Index, Indexes
from image_index.records import EmbeddedBatch, Hit
from image_index.search.query import make_query
from image_index.search.ranking import SearchOptions, Sort
from image_index.search.selection import make_filters
from image_index.settings import IndexHome
from image_index.training.freshness import build_if_stale
from tests.support.library import random_batch, starter_digest
from tests.support.records import facts
from tests.support.served import make_served

DIM = 4
PLACES = (b"/a", b"/b", b"/c")
BATCHES = [random_batch(40, under=place, dim=DIM, seed=seed) for seed, place in enumerate(PLACES)]


def make(path: Path, batches: Sequence[EmbeddedBatch], *, fingerprint: str | None = None) -> IndexHome:
    """Make an index of pictures that are nowhere; `fingerprint` is that of another model."""
    home = IndexHome(path)
    home.create()
    model = replace(facts(DIM), name="starter", weights_sha256=starter_digest())
    with Catalog(home.catalog, write=True) as catalog:
        catalog.set_model(model if fingerprint is None else replace(model, name="other", weights_sha256=fingerprint))
        for batch in batches:
            catalog.record(batch)
        build_if_stale(catalog, home, lambda _: None)
    return home


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> tuple[IndexHome, list[IndexHome]]:
    """Return an index of all pictures, and three indexes that share them."""
    directory = tmp_path_factory.mktemp("indexes")
    parts = [make(directory / f"{number}", [batch]) for number, batch in enumerate(BATCHES)]
    return make(directory / "whole", BATCHES), parts


def opened(homes: Sequence[IndexHome]) -> Indexes:
    """Open indexes to be searched as one."""
    return Indexes.open([home.path for home in homes])


def listed(hits: Sequence[Hit]) -> list[tuple[int, bytes, float]]:
    """Return rank, path and score of each hit."""
    return [(hit.rank, hit.path, hit.score) for hit in hits]


OPTIONS = {
    "ten": SearchOptions(filters=make_filters(missing=True)),
    "all": SearchOptions(None, filters=make_filters(missing=True)),
    "exact": SearchOptions(7, exact=True, filters=make_filters(missing=True)),
    "least score": SearchOptions(None, min_score=0.5, filters=make_filters(missing=True)),
    "a glob": SearchOptions(20, filters=make_filters(glob="*-1[0-9].jpg", missing=True)),
    "a place of one": SearchOptions(20, filters=make_filters(under="/b", missing=True)),
    "by path": SearchOptions(20, sort=Sort.PATH, filters=make_filters(missing=True)),
    "by date": SearchOptions(20, sort=Sort.DATE, filters=make_filters(missing=True)),
}


@pytest.mark.parametrize("which", OPTIONS)
def test_several_indexes_find_what_one_of_all_their_pictures_finds(
    homes: tuple[IndexHome, list[IndexHome]], which: str
) -> None:
    """The same pictures with the same ranks and scores, and each is said to be of the index that has it."""
    whole, parts = homes
    places = {place: os.fsencode(home.path) for place, home in zip(PLACES, parts, strict=True)}
    with Index(whole) as index, opened(parts) as indexes:
        for vector in np.concatenate([batch.vectors[:3] for batch in BATCHES]):
            hits = indexes.search(vector, OPTIONS[which])
            assert listed(hits) == listed(index.search(vector, OPTIONS[which]))
            assert hits
            assert all(hit.index == places[hit.path[:2]] for hit in hits)


def test_sigma_is_that_of_the_index_that_has_the_picture(homes: tuple[IndexHome, list[IndexHome]]) -> None:
    """As it says alone, and so does the least sigma."""
    _, parts = homes
    vector, options = BATCHES[0].vectors[0], SearchOptions(None, min_sigma=1.0, filters=make_filters(missing=True))
    alone: dict[bytes, float | None] = {}
    for home in parts:
        with Index(home) as index:
            alone |= {hit.path: hit.sigma for hit in index.search(vector, options)}
    with opened(parts) as indexes:
        assert {hit.path: hit.sigma for hit in indexes.search(vector, options)} == alone
    assert alone


def test_a_picture_that_several_indexes_have_comes_once(homes: tuple[IndexHome, list[IndexHome]]) -> None:
    """At one path; the first index has it, and the place that it leaves is another picture's."""
    whole, parts = homes
    with Index(whole) as index, opened([whole, *parts]) as indexes:
        vector = BATCHES[2].vectors[5]
        hits = indexes.search(vector, OPTIONS["all"])
        assert listed(hits) == listed(index.search(vector, OPTIONS["all"]))
        assert {hit.index for hit in hits} == {os.fsencode(whole.path)}


def test_another_model_is_refused_by_its_name(homes: tuple[IndexHome, list[IndexHome]], tmp_path: Path) -> None:
    """Scores of two models cannot be compared; an index without pictures has no model yet, and is no hindrance."""
    other = make(tmp_path / "other", [], fingerprint="f" * 64)
    empty = IndexHome(tmp_path / "empty")
    empty.create()
    Catalog(empty.catalog, write=True).close()
    with pytest.raises(
        IndexMismatch, match=rf"{other.path} was made with the model other, and that in .*0 with starter"
    ):
        opened([homes[1][0], other])
    with opened([empty, homes[1][0]]) as indexes:
        assert len(indexes.search(BATCHES[0].vectors[0], OPTIONS["ten"])) == 10
    with pytest.raises(IndexNotFound):
        opened([homes[1][0], IndexHome(tmp_path / "none")])


def test_a_directory_that_no_index_knows_is_wrong_use(homes: tuple[IndexHome, list[IndexHome]]) -> None:
    """One that any of them knows is not."""
    with opened(homes[1]) as indexes, pytest.raises(UsageError, match="/nowhere"):
        indexes.search(BATCHES[0].vectors[0], SearchOptions(filters=make_filters(under=["/a", "/nowhere"])))


def test_a_picture_is_known_by_any_of_the_indexes(tmp_path: Path) -> None:
    """No child is started for one that the second index has; it is no hit itself, but its copy elsewhere is."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    parts = [make_served(tmp_path / "one"), make_served(tmp_path / "two")]
    red = tmp_path / "two/photos/red.png"
    with opened(parts) as indexes:
        hits = indexes.search(make_query(images=[str(red)]))
        own = indexes.search(make_query(images=[str(red)]), SearchOptions(include_query=True))
    assert [hit.path for hit in hits][:1] == [os.fsencode(tmp_path / "one/photos/red.png")]
    assert os.fsencode(red) not in [hit.path for hit in hits]
    assert os.fsencode(red) in [hit.path for hit in own]
