"""Other names of files in the catalog: how a row is found by them, and what changes do to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from image_index.catalog.catalog import Catalog
from image_index.catalog.filters import Filters
from image_index.paths import spans
from image_index.records import Failure, KnownImage, KnownName, Match, OtherName, Stage
from tests.support.records import LONG_AGO_NS, batch, image_file


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """Give a catalog of two pictures, of which `/a/1` is `/b/1` and `/c/1` too."""
    with Catalog(tmp_path / "catalog", write=True) as made:
        made.record(batch({b"/a/1": [1, 0, 0, 0], b"/a/2": [0, 1, 0, 0]}))
        made.add_names([OtherName(b"/c/1", b"/a/1"), OtherName(b"/b/1", b"/a/1")])
        yield made


def row(catalog: Catalog, path: bytes) -> KnownImage:
    """Return the row of a file by any of its names."""
    image = catalog.image_at(path)
    assert image is not None
    return image


def test_every_name_leads_to_the_row(catalog: Catalog) -> None:
    """The path of the row is always the same, and first among the names."""
    for name in (b"/a/1", b"/b/1", b"/c/1"):
        facts = catalog.facts_at(name)
        assert facts is not None
        assert (facts.id, facts.path, row(catalog, name).id) == (1, b"/a/1", 1)
        assert catalog.times_at(name) is not None
        assert catalog.names_at(name) == [b"/a/1", b"/b/1", b"/c/1"]
    assert catalog.names_at(b"/a/2") == [b"/a/2"]
    assert catalog.names_at(b"/z") == [b"/z"]
    assert [catalog.knows(path) for path in (b"/b", b"/c/1", b"/z")] == [True, True, False]
    assert (catalog.image_at(b"/z"), catalog.counts().images) == (None, 2)


def test_names_are_walked_with_what_is_known_of_their_file(catalog: Catalog) -> None:
    """In path order, less those inside other roots; nothing is known of a file that was not read yet."""
    catalog.note_inodes([(1, -5)])
    catalog.add_names([OtherName(b"/b/0", b"/b/2")])
    of_image = (1, LONG_AGO_NS, -5)
    names = [
        KnownName(b"/b/0", b"/b/2", None, None, None),
        KnownName(b"/b/1", b"/a/1", *of_image),
        KnownName(b"/c/1", b"/a/1", *of_image),
    ]
    assert list(catalog.names_in(spans([b"/"]))) == names
    assert list(catalog.names_in(spans([b"/"], [b"/b"]))) == names[2:]
    assert list(catalog.names_in(spans([b"/b/1"], [b"/b/1"]))) == names[1:2]


def test_names_follow_their_image(catalog: Catalog) -> None:
    """To another path, which may be one of them, and over a change of its content."""
    catalog.move([Match(image_file(b"/m"), row(catalog, b"/a/1"))])
    assert catalog.names_at(b"/b/1") == [b"/m", b"/b/1", b"/c/1"]
    catalog.move([Match(image_file(b"/b/1"), row(catalog, b"/m"))])
    assert catalog.names_at(b"/c/1") == [b"/b/1", b"/c/1"]
    catalog.record(batch({b"/b/1": [0, 0, 1, 0]}))
    assert (row(catalog, b"/c/1").id, catalog.names_at(b"/c/1")) == (3, [b"/b/1", b"/c/1"])


def test_a_path_is_one_thing_at_a_time(catalog: Catalog) -> None:
    """What is embedded or copied to a path, or fails there, is no other name any more; a new name is no image."""
    catalog.record(batch({b"/b/1": [0, 0, 1, 0]}))
    assert catalog.names_at(b"/b/1") == [b"/b/1"]
    catalog.copy([Match(image_file(b"/c/1"), row(catalog, b"/a/2"))])
    assert catalog.names_at(b"/a/1") == [b"/a/1"]
    catalog.add_names([OtherName(b"/c/1", b"/a/1"), OtherName(b"/a/1", b"/a/2")])
    assert catalog.names_at(b"/c/1") == [b"/a/2", b"/a/1", b"/c/1"]
    assert [image.path for image in catalog.known(b"/")] == [b"/a/2", b"/b/1"]
    catalog.record(batch({}, [Failure(image_file(b"/c/1"), Stage.DECODE, "broken")]))
    assert catalog.names_at(b"/c/1") == [b"/c/1"]


def test_a_merged_row_takes_its_vector_with_it(catalog: Catalog) -> None:
    """Derived files that still have it are stale."""
    before = catalog.stamp()
    catalog.add_names([OtherName(b"/a/2", b"/a/1")])
    now = catalog.stamp()
    assert (now.count, now.generation) == (before.count - 1, before.generation + 1)
    assert list(catalog.integrity_problems()) == []


def test_a_name_can_be_dropped(catalog: Catalog) -> None:
    """The image and its other names stay."""
    catalog.drop_names([b"/b/1", b"/a/2", b"/nowhere"])
    assert catalog.names_at(b"/a/1") == [b"/a/1", b"/c/1"]
    assert catalog.counts().images == 2


def test_an_image_is_forgotten_when_its_last_name_is(catalog: Catalog) -> None:
    """Until then it goes on under one of the others, with its id."""
    assert catalog.ids_under(b"/a").tolist() == [2]
    assert catalog.ids_under(b"/a", b"/b", b"/c").tolist() == [1, 2]
    assert catalog.forget(b"/a") == 1
    assert catalog.names_at(b"/c/1") == [b"/b/1", b"/c/1"]
    assert (row(catalog, b"/c/1").id, row(catalog, b"/c/1").path) == (1, b"/b/1")
    assert catalog.forget(b"/c") == 0
    assert catalog.forget(b"/b") == 1
    assert not catalog.holds_names()


def test_names_of_a_forgotten_failure_are_forgotten(catalog: Catalog) -> None:
    """There is nothing left that they could be names of."""
    catalog.record(batch({}, [Failure(image_file(b"/d/1"), Stage.DECODE, "broken")]))
    catalog.add_names([OtherName(b"/e/1", b"/d/1")])
    catalog.forget(b"/d")
    assert not catalog.knows(b"/e")


def test_a_filter_finds_a_file_by_one_name_that_meets_all_its_conditions(catalog: Catalog) -> None:
    """Not by one name in the directory and another that fits the glob."""
    catalog.add_names([OtherName(b"/c/x.jpg", b"/a/2")])
    assert catalog.ids_matching(Filters(under=(b"/b",))).tolist() == [1]
    assert catalog.ids_matching(Filters(exclude_under=(b"/a",))).tolist() == [1, 2]
    assert catalog.ids_matching(Filters(globs=("*.jpg",))).tolist() == [2]
    assert catalog.ids_matching(Filters(under=(b"/a",), globs=("*.jpg",))).tolist() == []
    assert catalog.ids_matching(Filters(under=(b"/c",), globs=("*.jpg",))).tolist() == [2]
    assert list(catalog.ranked(Filters(exclude_under=(b"/a",)))) == []


@pytest.mark.parametrize("inode", [1 << 63, (1 << 64) - 1, (1 << 63) - 1, 0])
def test_an_inode_of_64_bits_is_stored(catalog: Catalog, inode: int) -> None:
    """SQLite's integers have a sign: the upper half becomes negative, and stays what tells one file from another."""
    signed = inode - (1 << 64) if inode >> 63 else inode
    catalog.note_inodes([(1, signed)])
    assert [image.id for image in catalog.images_of_inode(signed) if inode] == ([1] if inode else [])


def test_a_number_that_every_file_has_is_none(catalog: Catalog) -> None:
    """A million rows are not read for it."""
    catalog.record(batch({b"/n/%03d" % number: [0, 0, 0, 1] for number in range(100)}))
    catalog.note_inodes((number, 7) for number in range(1, 103))
    assert catalog.images_of_inode(7) == []
    catalog.note_inodes((number, 8) for number in range(1, 4))
    assert [image.id for image in catalog.images_of_inode(8)] == [1, 2, 3]
