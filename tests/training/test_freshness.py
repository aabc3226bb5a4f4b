"""When the FAISS files are written anew, and what a search finds meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from image_index.catalog.catalog import Catalog
from image_index.records import Progress
from image_index.search.ranking import open_files
from image_index.settings import IndexHome
from image_index.training import freshness
from image_index.training.freshness import build_if_stale, rebuild
from tests.support.faiss_examples import read_stamp
from tests.support.library import found, make_index, nearest, random_batch

QUERIES = np.eye(4, dtype=np.float32)


@pytest.fixture
def home(home: IndexHome, monkeypatch: pytest.MonkeyPatch) -> IndexHome:
    """Return an index of 100 pictures that counts as large: a tail from 5 new ones on, a rebuild from 20 % on."""
    monkeypatch.setattr(freshness, "SMALL_INDEX", 0)
    monkeypatch.setattr(freshness, "SCAN_LIMIT", 4)
    monkeypatch.setattr(freshness, "STALE_FRACTION", 0.2)
    make_index(home, 100)
    return home


@pytest.fixture
def catalog(home: IndexHome) -> Iterator[Catalog]:
    """Open its catalog."""
    with Catalog(home.catalog, write=True) as opened:
        yield opened


def bring_up_to_date(catalog: Catalog, home: IndexHome) -> list[Progress]:
    """Do what the end of a train does; return its reports."""
    reports: list[Progress] = []
    build_if_stale(catalog, home, reports.append)
    return reports


def check(home: IndexHome) -> None:
    """Compare searches with numpy."""
    for query in QUERIES:
        assert found(home, query) == nearest(home, query)


def test_a_few_new_pictures_write_no_file(catalog: Catalog, home: IndexHome) -> None:
    """They are found in the catalog."""
    before = home.faiss.read_bytes()
    catalog.record(random_batch(4, seed=2))
    assert bring_up_to_date(catalog, home) == []
    assert (home.faiss.read_bytes(), home.tail.exists()) == (before, False)
    check(home)


def test_more_go_to_a_tail_and_the_large_file_stays(catalog: Catalog, home: IndexHome) -> None:
    """The tail is written again as it grows; each search covers file, tail and what is newer still."""
    before = home.faiss.read_bytes()
    catalog.record(random_batch(5, seed=2))
    assert bring_up_to_date(catalog, home) == [Progress("index", 0, 5)]
    catalog.record(random_batch(3, seed=3))
    assert bring_up_to_date(catalog, home) == []
    assert [index.contents.count for index in open_files(catalog, home).indexes] == [100, 5]
    check(home)
    catalog.record(random_batch(3, seed=4))
    assert bring_up_to_date(catalog, home) == [Progress("index", 0, 11)]
    assert [index.contents.count for index in open_files(catalog, home).indexes] == [100, 11]
    assert home.faiss.read_bytes() == before
    check(home)


def test_a_tail_that_has_grown_large_is_merged(catalog: Catalog, home: IndexHome) -> None:
    """Then there is one file of all."""
    for seed in range(2, 7):
        catalog.record(random_batch(6, seed=seed))
        bring_up_to_date(catalog, home)
        check(home)
    (index,) = open_files(catalog, home).indexes
    assert (index.contents.count, home.tail.exists()) == (130, False)


def test_many_forgotten_pictures_cause_a_rebuild(catalog: Catalog, home: IndexHome) -> None:
    """A file that is full of what is gone makes every search ask for more."""
    for number in range(16):
        catalog.forget(b"/photos/1-%d.jpg" % number)
    assert bring_up_to_date(catalog, home) == []
    check(home)
    catalog.forget(b"/photos/1-16.jpg")
    assert bring_up_to_date(catalog, home) == [Progress("index", 0, 83)]
    check(home)


def test_a_small_index_is_rebuilt_after_every_change(
    catalog: Catalog, home: IndexHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That takes no time."""
    monkeypatch.setattr(freshness, "SMALL_INDEX", 1000)
    assert bring_up_to_date(catalog, home) == []
    catalog.record(random_batch(1, seed=2))
    assert bring_up_to_date(catalog, home) == [Progress("index", 0, 101)]
    catalog.forget(b"/photos/1-0.jpg")
    assert bring_up_to_date(catalog, home) == [Progress("index", 0, 100)]


def test_a_damaged_tail_is_ignored_and_written_again(catalog: Catalog, home: IndexHome) -> None:
    """What it held is scanned in the catalog until then."""
    catalog.record(random_batch(8, seed=2))
    bring_up_to_date(catalog, home)
    whole = home.tail.read_bytes()
    for content in (b"", b"garbage", whole[:-1], whole[:50] + b"\0\1" + whole[52:]):
        home.tail.write_bytes(content)
        check(home)
        bring_up_to_date(catalog, home)
        assert home.tail.read_bytes() == whole


def test_a_tail_of_another_file_is_not_used(catalog: Catalog, home: IndexHome) -> None:
    """As a run leaves it that is killed between two writes: rows would be left out, or counted twice."""
    catalog.record(random_batch(8, seed=2))
    bring_up_to_date(catalog, home)
    left_over = home.tail.read_bytes()
    rebuild(catalog, home)
    home.tail.write_bytes(left_over)
    assert len(open_files(catalog, home).indexes) == 1
    check(home)
    catalog.record(random_batch(8, seed=3))
    bring_up_to_date(catalog, home)
    assert [index.contents.count for index in open_files(catalog, home).indexes] == [108, 8]
    check(home)


def test_a_catalog_put_back_from_a_copy_gets_a_file_of_its_own(catalog: Catalog, home: IndexHome) -> None:
    """Ids that the file knows as others' would be left out of every search."""
    later = read_stamp(home.faiss)
    assert later is not None
    catalog.connection.execute("UPDATE meta SET value = value - 1 WHERE key = 'generation'")
    assert bring_up_to_date(catalog, home) == [Progress("index", 0, 100)]
    check(home)


def test_an_empty_catalog_gets_no_file(tmp_path: Path) -> None:
    """There is nothing to search."""
    home = IndexHome(tmp_path / "empty")
    home.create()
    with Catalog(home.catalog, write=True) as catalog:
        assert bring_up_to_date(catalog, home) == []
    assert not home.faiss.exists()
