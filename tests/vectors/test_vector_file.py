"""The file of all vectors: written, appended to, damaged, and read; against a dictionary."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from image_index.errors import StorageError
from image_index.records import DerivedState, Stamp
from image_index.settings import IndexHome
from image_index.vectors import derived_file, vector_file
from image_index.vectors.vector_file import (
    VectorFile,
    append_vectors,
    copy_vectors,
    open_vectors,
    vectors_state,
    write_vectors,
)
from tests.support.faiss_examples import STAMP, chunks, random_vectors
from tests.support.vector_files import NAMES, flip, read_all, write_all

SHARED = [HealthCheck.function_scoped_fixture]


@pytest.fixture
def home(tmp_path: Path) -> IndexHome:
    """Give a home without files."""
    return IndexHome(tmp_path)


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let blocks be of 64 bytes, and files of more be large."""
    monkeypatch.setattr(derived_file, "BLOCK_BYTES", 64)
    monkeypatch.setattr(derived_file, "QUICK_BYTES", 64)
    monkeypatch.setattr(vector_file, "ROWS_AT_A_TIME", 5)


def grow(home: IndexHome, count: int, new: int, *, dim: int = 8) -> Stamp:
    """Write the rows 10, 20, 30, ... up to `count`, and append `new` ones; return the stamp."""
    ids, vectors = np.arange(1, count + new + 1) * 10, random_vectors(count + new, dim)
    stamp = replace(STAMP, last_id=10 * count, count=count, dim=dim)
    write_vectors(home, stamp, chunks(ids[:count], vectors[:count]))
    if new:
        table = vectors_state(home, STAMP.catalog_id)[1]
        assert table is not None
        stamp = replace(stamp, last_id=10 * (count + new), count=count + new)
        append_vectors(home, table, stamp, chunks(ids[count:], vectors[count:], 3))
    return stamp


def opened(home: IndexHome) -> VectorFile:
    """Open files that must be whole."""
    found = open_vectors(home, STAMP.catalog_id)
    assert found is not None
    return found


@settings(max_examples=60, suppress_health_check=SHARED)
@given(steps=st.lists(st.integers(0, 30), min_size=1, max_size=6), dim=st.integers(1, 20))
def test_appended_files_are_those_that_are_written_at_once(blocks: None, steps: list[int], dim: int) -> None:
    """Byte for byte, checksums included, however the rows came."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        home, total = IndexHome(Path(one)), sum(steps)
        grow(home, steps[0], 0, dim=dim)
        ids, vectors, done = np.arange(1, total + 1) * 10, random_vectors(total, dim), steps[0]
        stamp = replace(STAMP, last_id=10 * total, count=total, dim=dim)
        write_vectors(home, replace(stamp, count=done), chunks(ids[:done], vectors[:done]))
        for step in steps[1:]:
            table = vectors_state(home, STAMP.catalog_id)[1]
            assert table is not None
            append_vectors(home, table, stamp, chunks(ids[done : done + step], vectors[done : done + step]))
            done += step
        write_vectors(IndexHome(Path(other)), stamp, chunks(ids, vectors))
        if len(steps) > 1:
            assert read_all(home) == read_all(IndexHome(Path(other)))
        found = opened(home)
        read = list(found.chunks())
        np.testing.assert_array_equal(np.concatenate([part for part, _ in read] or [ids]), ids)
        if total:
            np.testing.assert_array_equal(np.concatenate([part for _, part in read]), vectors)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 400), max_size=40), st.integers(0, 300), st.integers(0, 40))
def test_what_is_gathered_is_bit_for_bit_what_was_put_in(wanted: list[int], after: int, count: int) -> None:
    """In the order that was asked for; ids that have no row are left out; a part has the rows behind an id."""
    with tempfile.TemporaryDirectory() as temporary:
        home = IndexHome(Path(temporary))
        grow(home, count, 0)
        truth = dict(zip((np.arange(1, count + 1) * 10).tolist(), random_vectors(count, 8), strict=True))
        for file, least in ((opened(home), 0), (opened(home).after(after), after)):
            ids, vectors = file.gather(np.array(wanted, np.int64))
            there = [image_id for image_id in wanted if image_id in truth and image_id > least]
            assert ids.tolist() == there
            np.testing.assert_array_equal(vectors, np.array([truth[one] for one in there]).reshape(-1, 8))
            assert file.ids.tolist() == [one for one in truth if one > least]


@settings(max_examples=60)
@given(st.integers(0, 40), st.integers(0, 300), st.none() | st.sets(st.integers(0, 400)), st.floats(-1, 1))
def test_a_search_agrees_with_numpy(count: int, after: int, among: set[int] | None, least: float) -> None:
    """Of all rows or some, by how many or by how good."""
    with tempfile.TemporaryDirectory() as temporary:
        home = IndexHome(Path(temporary))
        grow(home, count, 0)
        vectors, query = random_vectors(count, 8), random_vectors(1, 8, 5)[0]
        ids = np.arange(1, count + 1) * 10
        chosen = [n for n in range(count) if ids[n] > after and (among is None or ids[n] in among)]
        file, limits = opened(home).after(after), None if among is None else np.array([*among], np.int64)
        scores, found, rest = file.search(query, 7, limits)
        exact: dict[int, float] = {int(ids[n]): float(vectors[n] @ query) for n in chosen}
        best = sorted(exact, key=lambda one: -exact[one])[:7]
        assert found.tolist() == best
        np.testing.assert_allclose(scores, [exact[one] for one in best], atol=1e-6)
        assert rest == (scores[-1] if len(best) == 7 else None)
        near = file.near(query, least, limits).tolist()
        assert (
            near == [one for one in exact if exact[one] >= least]
            or min(abs(np.array([*exact.values()]) - least)) < 1e-6
        )


@pytest.mark.parametrize("count", [4, 10, 22, 99])
def test_a_sample_is_evenly_spread(home: IndexHome, blocks: None, count: int) -> None:
    """It has as many rows as are asked for, or somewhat more; the pieces are of five rows."""
    grow(home, 23, 0)
    ids, vectors = zip(*opened(home).sample(count), strict=True)
    read = np.concatenate(ids)
    assert read.tolist() == list(range(10, 240, 10 * max(1, 23 // count)))
    assert len(read) >= min(count, 23)
    np.testing.assert_array_equal(np.concatenate(vectors), random_vectors(23, 8)[read // 10 - 1])


def test_a_file_of_another_catalog_is_damaged_and_not_opened(home: IndexHome, caplog: pytest.LogCaptureFixture) -> None:
    """One copied from elsewhere has nothing to say here."""
    stamp = grow(home, 20, 0)
    assert open_vectors(home, "b" * 32) is None
    assert ["vectors.f16" in record.getMessage() for record in caplog.records] == [True]
    assert vectors_state(home, "b" * 32)[0] is DerivedState.DAMAGED
    assert vectors_state(home, stamp.catalog_id, now=stamp)[0] is DerivedState.CURRENT
    assert vectors_state(home, stamp.catalog_id, now=replace(stamp, generation=99))[0] is DerivedState.BEHIND


def test_no_file_is_no_fault(home: IndexHome, caplog: pytest.LogCaptureFixture) -> None:
    """A library that was never trained by this version has none."""
    assert open_vectors(home, STAMP.catalog_id) is None
    assert vectors_state(home, STAMP.catalog_id)[0] is DerivedState.ABSENT
    assert caplog.records == []


def test_of_a_large_file_some_blocks_are_checked_at_a_time_and_in_the_end_all(home: IndexHome, blocks: None) -> None:
    """As after a train; a search checks none, for the catalog has the last word."""
    grow(home, 100, 0)
    flip(home.vectors, 700)
    assert vectors_state(home, STAMP.catalog_id)[0] is DerivedState.DAMAGED
    assert opened(home).gather(np.array([10]))[0].tolist() == [10]
    states = [vectors_state(home, STAMP.catalog_id, at_most=64 * 8)[0] for _ in range(200)]
    assert 0 < states.count(DerivedState.DAMAGED) < 200


@pytest.mark.parametrize("new", [0, 40])
def test_rows_that_are_open_stay_what_they_are(home: IndexHome, new: int) -> None:
    """A search that began before a training ends with what it began with, whether that appends or writes anew."""
    grow(home, 30, 0)
    before = opened(home)
    ids, vectors = before.gather(before.ids)
    if new:
        table = vectors_state(home, STAMP.catalog_id)[1]
        assert table is not None
        more = chunks(np.arange(31, 71) * 10, random_vectors(40, 8, 3))
        append_vectors(home, table, replace(STAMP, last_id=700, count=70), more)
    else:
        write_vectors(home, STAMP, chunks(np.arange(30), -vectors))
    again, same = before.gather(ids)
    np.testing.assert_array_equal(again, ids)
    np.testing.assert_array_equal(same, vectors)
    assert len(opened(home)) == 30 + new


def test_files_that_are_replaced_while_they_are_opened_are_opened_again(
    home: IndexHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of one state with the ids of another would be pictures under others' names."""
    grow(home, 30, 0)
    older = read_all(home)
    write_vectors(home, STAMP, chunks(np.arange(1, 31) * 3, random_vectors(30, 8, 9)))
    newer, read = read_all(home), Path.open
    opens: list[str] = []

    def open_and_replace(path: Path, *arguments: object, **options: object) -> object:
        if path.name == "vectors.ids" and len(opens) < 3:
            write_all(home, older if len(opens) % 2 else newer)
        opens.append(path.name)
        return read(path, *arguments, **options)  # type: ignore[call-overload]

    write_all(home, older)
    monkeypatch.setattr(Path, "open", open_and_replace)
    found = opened(home)
    monkeypatch.undo()
    expected = dict(zip(found.ids.tolist(), found.gather(found.ids)[1].tolist(), strict=True))
    truth = opened(home)
    assert expected == dict(zip(truth.ids.tolist(), truth.gather(truth.ids)[1].tolist(), strict=True))


def test_a_copy_says_the_same_and_keeps_the_checksums(home: IndexHome, tmp_path: Path, blocks: None) -> None:
    """What is damaged is damaged in the copy too, and known to be so."""
    copy = IndexHome(tmp_path / "copy")
    copy.create()
    copy_vectors(home, copy)
    assert list(copy.path.iterdir()) == []
    grow(home, 20, 15)
    copy_vectors(home, copy)
    assert read_all(copy) == read_all(home)
    flip(home.vectors, 300)
    copy_vectors(home, copy)
    assert vectors_state(copy, STAMP.catalog_id)[0] is DerivedState.DAMAGED


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_cannot_be_written_is_a_storage_error(home: IndexHome, name: str) -> None:
    """It is named."""
    (home.path / name).mkdir()
    with pytest.raises(StorageError, match=name):
        grow(home, 5, 0)


def test_rows_that_the_disk_no_longer_has_are_zeros_and_stop_nothing(home: IndexHome, blocks: None) -> None:
    """As of a file that something has cut while it is open: no vector of the catalog is one of zeros."""
    grow(home, 30, 0)
    found, vectors = opened(home), random_vectors(30, 8)
    os.truncate(home.vectors, 16 * 10 + 3)
    ids, rows = found.gather(np.array([50, 110, 300]))
    assert ids.tolist() == [50, 110, 300]
    np.testing.assert_array_equal(rows[0], vectors[4])
    assert not rows[2].any()
