"""When the derived files are written, and what a search finds meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from image_index.catalog.catalog import Catalog
from image_index.records import Progress, Stamp
from image_index.search.ranking import open_files
from image_index.settings import IndexHome
from image_index.training import freshness
from image_index.training.freshness import build_if_stale, rebuild
from tests.support.faiss_examples import read_stamp
from tests.support.library import found, make_index, nearest, random_batch
from tests.support.vector_files import are_whole, flip, read_all, stamp_of, table_of

QUERIES = np.eye(4, dtype=np.float32)


@pytest.fixture
def home(home: IndexHome, monkeypatch: pytest.MonkeyPatch) -> IndexHome:
    """Return an index of 100 pictures that counts as large: moments and lists are made anew from 20 % on."""
    monkeypatch.setattr(freshness, "SMALL_INDEX", 0)
    monkeypatch.setattr(freshness, "STALE_FRACTION", 0.2)
    monkeypatch.setattr(freshness, "NEWER_ROWS", 0)
    monkeypatch.setattr(freshness, "NEWER_FRACTION", 0.2)
    monkeypatch.setattr(freshness, "GONE_ROWS", 10)
    make_index(home, 100)
    return home


@pytest.fixture
def catalog(home: IndexHome) -> Iterator[Catalog]:
    """Open its catalog."""
    with Catalog(home.catalog, write=True) as opened:
        yield opened


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let some pictures be enough for inverted lists."""
    monkeypatch.setattr(freshness, "FLAT_LIMIT", 90)


def bring_up_to_date(catalog: Catalog, home: IndexHome) -> list[Progress]:
    """Do what the end of a train does; return its reports."""
    reports: list[Progress] = []
    build_if_stale(catalog, home, reports.append)
    return reports


def check(catalog: Catalog, home: IndexHome) -> None:
    """Compare searches with numpy, and what the file says with the catalog."""
    for query in QUERIES:
        assert found(home, query) == nearest(home, query)
    assert stamp_of(home) == catalog.stamp()


def rows_of(home: IndexHome) -> int:
    """Return how many rows the file of vectors has."""
    table = table_of(home)
    assert table is not None
    return table.rows


def test_new_pictures_are_appended_and_nothing_else_is_written(catalog: Catalog, home: IndexHome) -> None:
    """What was there stays, byte for byte, in the same files."""
    before, moments, inode = read_all(home), home.moments.read_bytes(), home.vectors.stat().st_ino
    catalog.record(random_batch(4, seed=2))
    assert bring_up_to_date(catalog, home) == [Progress("index", 0, 4)]
    now = read_all(home)
    assert now["vectors.f16"].startswith(before["vectors.f16"])
    assert now["vectors.ids"].startswith(before["vectors.ids"])
    assert (home.vectors.stat().st_ino, home.moments.read_bytes()) == (inode, moments)
    assert rows_of(home) == 104
    check(catalog, home)
    assert bring_up_to_date(catalog, home) == []
    assert read_all(home) == now


def test_a_small_library_has_no_lists(catalog: Catalog, home: IndexHome) -> None:
    """Those of an older version, or of more pictures, are removed."""
    home.faiss.write_bytes(b"flat")
    bring_up_to_date(catalog, home)
    assert not home.faiss.exists()


def test_lists_stay_until_enough_is_new(catalog: Catalog, home: IndexHome, lists: None) -> None:
    """What is newer is compared one by one, with the rows of the file."""
    bring_up_to_date(catalog, home)
    before = home.faiss.read_bytes()
    catalog.record(random_batch(15, seed=2))
    bring_up_to_date(catalog, home)
    assert home.faiss.read_bytes() == before
    (index,) = open_files(catalog, home).indexes
    assert (index.contents.count, rows_of(home)) == (100, 115)
    for query in catalog.vectors_of(np.arange(101, 116))[1]:
        assert found(home, query, 1) == nearest(home, query, 1)
    trained_on = index.contents.trained_on
    catalog.record(random_batch(15, seed=3))
    bring_up_to_date(catalog, home)
    (index,) = open_files(catalog, home).indexes
    assert (index.contents.count, index.contents.trained_on) == (130, trained_on)  # nothing was trained anew


def test_lists_of_a_catalog_put_back_from_a_copy_are_built_again(
    catalog: Catalog, home: IndexHome, lists: None
) -> None:
    """Their codes are those of other pictures, under ids that have been given again."""
    catalog.record(random_batch(30, seed=2))
    bring_up_to_date(catalog, home)
    back_to(catalog, 100)
    catalog.record(random_batch(40, seed=3))
    bring_up_to_date(catalog, home)
    (index,) = open_files(catalog, home).indexes
    assert (index.contents.count, index.contents.trained_on) == (140, 140)


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_lists_that_are_damaged_or_gone_are_built_again(
    catalog: Catalog, home: IndexHome, lists: None, content: bytes | None
) -> None:
    """Until then every vector is compared."""
    bring_up_to_date(catalog, home)
    whole = home.faiss.read_bytes()
    home.faiss.unlink()
    if content is not None:
        home.faiss.write_bytes(content)
    check(catalog, home)
    bring_up_to_date(catalog, home)
    assert home.faiss.read_bytes() == whole


def test_lists_are_built_of_nothing_that_is_gone(catalog: Catalog, home: IndexHome, lists: None) -> None:
    """Nor grown with any of it; the file of vectors keeps its rows."""
    catalog.forget(b"/photos/1-0.jpg")
    bring_up_to_date(catalog, home)
    (index,) = open_files(catalog, home).indexes
    assert (index.contents.count, rows_of(home)) == (99, 100)
    check(catalog, home)
    catalog.record(random_batch(30, seed=2))
    catalog.forget(b"/photos/1-1.jpg")
    catalog.forget(b"/photos/2-3.jpg")
    bring_up_to_date(catalog, home)
    (index,) = open_files(catalog, home).indexes
    assert (index.contents.count, index.contents.trained_on, rows_of(home)) == (127, 99, 129)
    check(catalog, home)
    catalog.record(random_batch(5, seed=3))
    bring_up_to_date(catalog, home)
    catalog.forget(b"/photos/3-4.jpg")  # the file has a row behind the catalog's last one
    home.faiss.unlink()
    bring_up_to_date(catalog, home)
    (index,) = open_files(catalog, home).indexes
    assert (index.contents.count, rows_of(home)) == (131, 134)
    check(catalog, home)


def test_many_forgotten_pictures_have_the_file_written_anew(catalog: Catalog, home: IndexHome) -> None:
    """Rows of what is gone make every search ask for more; a quarter of them is too much."""
    for number in range(25):
        catalog.forget(b"/photos/1-%d.jpg" % number)
    bring_up_to_date(catalog, home)
    assert rows_of(home) == 100
    check(catalog, home)
    catalog.forget(b"/photos/1-25.jpg")
    assert bring_up_to_date(catalog, home) == [Progress("index", 0, 0), Progress("index", 0, 74)]
    assert rows_of(home) == 74
    check(catalog, home)


def test_the_newest_picture_forgotten_costs_no_rewriting(catalog: Catalog, home: IndexHome) -> None:
    """The catalog's last id goes down then; the next picture comes behind its row all the same."""
    inode = home.vectors.stat().st_ino
    catalog.forget(b"/photos/1-99.jpg")
    bring_up_to_date(catalog, home)
    catalog.record(random_batch(3, seed=2))
    bring_up_to_date(catalog, home)
    assert (home.vectors.stat().st_ino, rows_of(home)) == (inode, 103)
    check(catalog, home)


def test_the_moments_of_a_small_index_are_measured_after_every_change(
    catalog: Catalog, home: IndexHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That takes no time."""
    monkeypatch.setattr(freshness, "SMALL_INDEX", 1000)
    before = home.moments.read_bytes()
    bring_up_to_date(catalog, home)
    assert home.moments.read_bytes() == before
    catalog.record(random_batch(1, seed=2))
    bring_up_to_date(catalog, home)
    assert home.moments.read_bytes() != before
    assert read_stamp(home.moments) == catalog.stamp()


def test_what_a_killed_append_left_is_written_over(catalog: Catalog, home: IndexHome) -> None:
    """Rows without ids, ids without rows, and both: nothing counts them before the table does."""
    catalog.record(random_batch(8, seed=2))
    for rows, ids in ((b"x" * 999, b""), (b"", b"y" * 99), (b"x" * 5000, b"y" * 5000)):
        before = read_all(home)
        home.vectors.write_bytes(before["vectors.f16"] + rows)
        home.vector_ids.write_bytes(before["vectors.ids"] + ids)
        assert are_whole(home)
        for query in QUERIES:
            assert found(home, query) == nearest(home, query)
        bring_up_to_date(catalog, home)
        assert home.vectors.stat().st_size == 8 * rows_of(home)
        assert home.vector_ids.stat().st_size == 8 * rows_of(home)
        check(catalog, home)
        catalog.record(random_batch(2, seed=len(rows) + 3))


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_killed_rewriting_leaves_nothing_that_is_believed(catalog: Catalog, home: IndexHome, kept: int) -> None:
    """The table goes first and comes last: between, some of the files are new, and none counts."""
    catalog.record(random_batch(8, seed=2))
    older = read_all(home)
    rebuild(catalog, home)
    home.vector_table.unlink()
    for path in (home.vectors, home.vector_ids)[:kept]:
        path.write_bytes(older[path.name])
    for query in QUERIES:
        assert found(home, query) == nearest(home, query)
    bring_up_to_date(catalog, home)
    check(catalog, home)


@pytest.mark.parametrize("new", [0, 40])
def test_a_catalog_put_back_from_a_copy_gets_a_file_of_its_own(catalog: Catalog, home: IndexHome, new: int) -> None:
    """Ids that the file knows as others' would be left out of every search, also if as many have been used since."""
    catalog.record(random_batch(30, seed=2))
    bring_up_to_date(catalog, home)
    back_to(catalog, 100)
    if new:
        catalog.record(random_batch(new, seed=3))
    bring_up_to_date(catalog, home)
    check(catalog, home)
    assert rows_of(home) == 100 + new


def back_to(catalog: Catalog, last_id: int) -> None:
    """Make the catalog what it was when `last_id` was its last image, as a copy of it would be."""
    connection = catalog.connection
    for table, column in (("vectors", "image_id"), ("grids", "image_id"), ("images", "id")):
        connection.execute(f"DELETE FROM {table} WHERE {column} > ?", (last_id,))
    connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'images'", (last_id,))
    connection.execute("UPDATE meta SET value = ? WHERE key = 'generation'", (last_id,))


def test_a_damaged_block_has_the_file_written_anew(catalog: Catalog, home: IndexHome) -> None:
    """Its rows would cost hits."""
    flip(home.vectors, 40)
    assert bring_up_to_date(catalog, home) == [Progress("index", 0, 100)]
    assert are_whole(home)


def test_an_empty_catalog_gets_no_file(tmp_path: Path) -> None:
    """There is nothing to search."""
    home = IndexHome(tmp_path / "empty")
    home.create()
    with Catalog(home.catalog, write=True) as catalog:
        assert bring_up_to_date(catalog, home) == []
    assert not home.vector_table.exists()


def test_a_library_that_has_become_empty_keeps_a_file_of_nothing(catalog: Catalog, home: IndexHome) -> None:
    """A search finds nothing, and the next pictures are found."""
    catalog.forget(b"/photos")
    bring_up_to_date(catalog, home)
    assert found(home, QUERIES[0]) == []
    stamp = catalog.stamp()
    assert (stamp_of(home), rows_of(home)) == (Stamp(stamp.catalog_id, stamp.generation, 0, 0, 4), 0)
    catalog.record(random_batch(3, seed=2))
    bring_up_to_date(catalog, home)
    check(catalog, home)
