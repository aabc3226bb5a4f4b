"""The catalog, against dictionaries."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from image_index.catalog.catalog import Catalog
from image_index.catalog.filters import Filters
from image_index.catalog.runs import Run, Runs
from image_index.errors import IndexNotFound, StorageError
from image_index.paths import below, spans
from image_index.records import (
    Counts,
    EmbeddedBatch,
    Failure,
    ImageFile,
    KnownImage,
    Match,
    Preprocess,
    Root,
    Stage,
)
from image_index.stop import StopRequest
from tests.support.records import batch, embedded_image, facts, image_file, known_image

PATHS = st.binary(min_size=1, max_size=20).filter(lambda path: b"\0" not in path)
FLOATS = st.floats(width=16, allow_nan=False, allow_infinity=False)
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a catalog that is not there yet."""
    return tmp_path / "catalog.sqlite3"


@pytest.fixture
def catalog(path: Path) -> Iterator[Catalog]:
    """Give a new catalog, open for writing."""
    with Catalog(path, write=True) as catalog:
        catalog.set_model(facts())
        yield catalog


def vectors_of(catalog: Catalog) -> dict[bytes, list[float]]:
    """Return every vector by path."""
    rows = {image.id: image.path for image in catalog.known(b"/")}
    return {
        rows[image_id]: vector.tolist()
        for ids, vectors in catalog.vectors_after(0)
        for image_id, vector in zip(ids.tolist(), vectors, strict=True)
    }


def row_at(catalog: Catalog, path: bytes) -> KnownImage:
    """Return the row of a path that has one."""
    image = catalog.image_at(path)
    assert image is not None
    return image


# Round trips


@SHARED
@given(PATHS, st.lists(FLOATS, max_size=9), st.integers(0, 2**62), st.integers(-(2**62), 2**62))
@example(b"\xff\xfe\n '\"%_*", [65504.0, -0.0, 5.960464477539063e-08, 1 / 3], 2**62, -1)
def test_any_path_and_any_float16_vector_round_trip(
    catalog: Catalog, path: bytes, values: list[float], size: int, mtime_ns: int
) -> None:
    """What was embedded comes back to the bit: path, facts and vector."""
    image = embedded_image(ImageFile(path, size, mtime_ns), b"content")
    vector = np.array([[*values, 1.0]], np.float16).astype(np.float32)  # of zeros alone it would be none
    catalog.record(EmbeddedBatch((image,), vector))
    row = row_at(catalog, path)
    stored = KnownImage(row.id, path, size, mtime_ns, image.sha256, image.read_at_ns, missing=False)
    assert row == stored
    ids, vectors = catalog.vectors_of([row.id])
    assert ids.tolist() == [row.id]
    assert vectors.dtype == np.float32
    assert vectors.tobytes() == vector.tobytes()
    assert catalog.facts_of([row.id])[row.id].path == path


@given(
    st.text(), st.integers(1, 4096), st.tuples(*[st.integers(1, 999)] * 2), st.tuples(*[st.floats(-9, 9, width=64)] * 3)
)
@SHARED
def test_model_round_trips_with_its_fingerprint(
    catalog: Catalog, name: str, dim: int, size: tuple[int, int], mean: tuple[float, float, float]
) -> None:
    """What the index was made with is known to the last digit of its preprocessing."""
    preprocess = Preprocess(size, mean, (0.1, 0.2, 0.3), "bilinear", "squash", 7)
    model = replace(facts(dim), name=name, preprocess=preprocess, config='{"model_cfg": {"b": [1, 2], "a": null}}')
    catalog.set_model(model)
    stored = catalog.read_model()
    assert stored == model
    assert stored.fingerprint == model.fingerprint
    assert catalog.stamp().dim == dim


def test_new_catalog_is_empty(path: Path) -> None:
    """No model, no root, no run, no vector."""
    with Catalog(path, write=True) as catalog:
        assert (catalog.read_model(), Runs(catalog).last(), catalog.roots()) == (None, None, [])
        assert catalog.counts() == Counts(0, 0, 0)
        stamp = catalog.stamp()
        assert (stamp.generation, stamp.last_id, stamp.count, stamp.dim) == (0, 0, 0, 0)
        assert list(catalog.vectors_after(0)) == []
        assert catalog.vectors_of([1])[0].tolist() == []


# Pictures without a vector

NONE = [0.0, 0.0, 0.0, 0.0]


def test_an_image_without_a_vector_has_its_facts_and_is_in_no_search(catalog: Catalog) -> None:
    """A vector of zeros is none; it is no fault of the catalog, and the others are counted by themselves."""
    catalog.record(batch({b"/a": [1, 0, 0, 0], b"/grey": NONE, b"/b": [0, 1, 0, 0]}))
    grey = row_at(catalog, b"/grey")
    assert vectors_of(catalog) == {b"/a": [1, 0, 0, 0], b"/b": [0, 1, 0, 0]}
    assert catalog.vectors_of([grey.id])[1].shape == (0, 4)
    assert [image.path for image in catalog.pictures_of([1, 2, 3])[0]] == [b"/a", b"/b"]
    assert [image.path for image in catalog.images(Filters())] == [b"/a", b"/grey", b"/b"]
    assert (catalog.stamp().count, catalog.stamp().last_id) == (2, 3)
    assert catalog.counts() == Counts(3, 0, 0, without_vector=1)
    assert catalog.count_without_vector(Filters(under=(b"/grey",))) == 1
    assert catalog.count_without_vector(Filters(exclude_under=(b"/grey",))) == 0
    assert [catalog.has_vector(number) for number in (1, grey.id, 99)] == [True, False, False]
    assert list(catalog.integrity_problems()) == []
    assert catalog.count_odd_vectors(4) == 0


def test_an_image_without_a_vector_moves_is_copied_and_goes_as_any_other(catalog: Catalog) -> None:
    """Its copy has none either; gone, it is not counted any more."""
    catalog.record(batch({b"/grey": NONE}))
    catalog.move([Match(image_file(b"/moved"), row_at(catalog, b"/grey"))])
    catalog.copy([Match(image_file(b"/copy"), row_at(catalog, b"/moved"))])
    assert catalog.counts() == Counts(2, 0, 0, without_vector=2)
    catalog.mark_missing([row_at(catalog, b"/copy")])
    assert catalog.counts() == Counts(1, 1, 0, without_vector=1)
    before = catalog.stamp()
    catalog.record(batch({b"/moved": [1, 0, 0, 0]}))
    assert catalog.counts() == Counts(1, 1, 0)
    assert catalog.stamp().count == before.count + 1
    assert catalog.stamp().generation > before.generation
    assert catalog.forget(b"/copy") == 1


# Changes


def test_changed_picture_gets_a_new_id_and_ids_are_never_used_again(catalog: Catalog) -> None:
    """Even the id of the newest row, deleted, does not come back."""
    seen = []
    for values in ([1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]):
        catalog.record(batch({b"/a": values}))
        seen.append(row_at(catalog, b"/a").id)
        assert vectors_of(catalog) == {b"/a": values}
    assert seen == sorted(set(seen))
    assert catalog.vectors_of(seen[:2])[0].tolist() == []


def test_batch_is_stored_whole_or_not_at_all(catalog: Catalog) -> None:
    """An image that cannot be stored takes its batch with it, and nothing else."""
    catalog.record(batch({b"/a": [1, 0, 0, 0]}))
    before = catalog.stamp(), vectors_of(catalog)
    good, bad = embedded_image(image_file(b"/b")), embedded_image(image_file(b"/c"))
    broken = replace(bad, file=ImageFile(b"/c", None, 0))  # type: ignore[arg-type]  # NOT NULL
    with pytest.raises(StorageError):
        catalog.record(EmbeddedBatch((good, broken), np.ones((2, 4), np.float32)))
    assert (catalog.stamp(), vectors_of(catalog)) == before


def test_missing_picture_keeps_its_vector_and_comes_back(catalog: Catalog) -> None:
    """A file that is there again is found under its old id; when it is back, nothing is missing."""
    catalog.record(batch({b"/a": [1, 0, 0, 0], b"/b": [0, 1, 0, 0]}))
    a = row_at(catalog, b"/a")
    catalog.mark_missing([a])
    assert [image.id for image in catalog.missing_images()] == [a.id]
    assert catalog.counts() == Counts(images=1, missing=1, failures=0)
    assert catalog.facts_of([a.id])[a.id].missing
    assert set(vectors_of(catalog)) == {b"/a", b"/b"}
    catalog.move([Match(image_file(b"/a", a.size, 77), row_at(catalog, b"/a"))])
    back = row_at(catalog, b"/a")
    assert (back.id, back.mtime_ns, back.missing) == (a.id, 77, False)
    assert list(catalog.missing_images()) == []


def test_moved_picture_keeps_its_vector_and_id(catalog: Catalog) -> None:
    """A new path, over another picture even: that one's row gives way, and its failure is forgotten."""
    catalog.record(batch({b"/a": [1, 0, 0, 0], b"/b": [0, 1, 0, 0]}, [failure(b"/c")]))
    a = row_at(catalog, b"/a")
    catalog.move([Match(image_file(b"/b", 5, 6), a)])
    assert (row_at(catalog, b"/b").id, row_at(catalog, b"/b").size) == (a.id, 5)
    assert vectors_of(catalog) == {b"/b": [1, 0, 0, 0]}
    catalog.move([Match(image_file(b"/c"), row_at(catalog, b"/b"))])
    assert catalog.counts() == Counts(1, 0, 0)


def test_copied_picture_has_the_vector_under_an_id_of_its_own(catalog: Catalog) -> None:
    """The row it was copied from stays what it was."""
    catalog.record(batch({b"/a": [1, 0, 0, 0]}))
    a = row_at(catalog, b"/a")
    catalog.copy([Match(image_file(b"/b", a.size), a)])
    assert row_at(catalog, b"/a") == a
    assert row_at(catalog, b"/b").id > a.id
    assert row_at(catalog, b"/b").sha256 == a.sha256
    assert vectors_of(catalog) == {b"/a": [1, 0, 0, 0], b"/b": [1, 0, 0, 0]}


def test_a_grid_comes_and_goes_with_its_picture(catalog: Catalog) -> None:
    """A copy has it too; a picture that was recorded without one has none."""
    recorded = batch({b"/a": [1, 0, 0, 0], b"/z": [0, 1, 0, 0]})
    a, z = recorded.images
    catalog.record(replace(recorded, images=(replace(a, grid=b"grid"), z)))
    catalog.copy([Match(image_file(b"/b"), row_at(catalog, b"/a"))])
    stored = "SELECT path, grid FROM images JOIN grids ON image_id = id ORDER BY path"
    assert list(catalog.rows(stored)) == [(b"/a", b"grid"), (b"/b", b"grid")]
    catalog.forget(b"/a")
    assert list(catalog.rows("SELECT count(*) FROM grids")) == [(1,)]


# Failures


def failure(path: bytes, mtime_ns: int = 1, stage: Stage = Stage.DECODE) -> Failure:
    """Return a failure."""
    return Failure(image_file(path, 9, mtime_ns), stage, f"{path!r} is broken")


def test_attempts_are_counted_until_a_success_clears_them(catalog: Catalog) -> None:
    """The last reason counts, and since when it has failed is kept."""
    for attempt, stage in enumerate((Stage.DECODE, Stage.CRASH, Stage.TIMEOUT), 1):
        catalog.record(batch({}, [failure(b"/a", attempt, stage)]))
        (known,) = catalog.failures()
        assert (known.failure, known.attempts) == (failure(b"/a", attempt, stage), attempt)
        assert known.first_failed_at_s <= known.last_failed_at_s
        assert catalog.failed_in(spans([b"/"])) == {b"/a": (9, attempt)}
    catalog.record(batch({b"/a": [1, 0, 0, 0]}))
    assert list(catalog.failures()) == []


def test_failure_of_changed_content_makes_the_old_picture_missing(catalog: Catalog) -> None:
    """A search must not show a file by what it held before it was broken."""
    catalog.record(batch({b"/a": [1, 0, 0, 0]}))
    catalog.record(batch({}, [failure(b"/a")]))
    assert catalog.counts() == Counts(images=0, missing=1, failures=1)


def test_failures_of_files_that_are_gone_can_be_dropped(catalog: Catalog) -> None:
    """Only those named are."""
    catalog.record(batch({}, [failure(b"/a"), failure(b"/b"), failure(b"/ab/c")]))
    catalog.drop_failures([b"/a", b"/nothing"])
    assert [known.failure.file.path for known in catalog.failures()] == [b"/ab/c", b"/b"]
    assert set(catalog.failed_in(spans([b"/ab"]))) == {b"/ab/c"}
    assert set(catalog.failed_in(spans([b"/b"]))) == {b"/b"}


# Generations


def test_generation_grows_exactly_when_vectors_change(catalog: Catalog) -> None:
    """What is derived from the vectors is stale after the changes here marked True, and no other."""
    catalog.record(batch({b"/a": [1, 0, 0, 0], b"/b": [0, 1, 0, 0]}))
    a, b = row_at(catalog, b"/a"), row_at(catalog, b"/b")
    steps: list[tuple[bool, Any]] = [
        (False, lambda: catalog.record(batch({}, [failure(b"/c")]))),
        (False, lambda: catalog.mark_missing([a])),
        (False, lambda: catalog.move([Match(image_file(b"/a"), a)])),
        (False, lambda: catalog.move([Match(image_file(b"/d"), a)])),
        (True, lambda: catalog.move([Match(image_file(b"/d"), b)])),  # a's row gives way
        (False, lambda: catalog.copy([])),
        (True, lambda: catalog.copy([Match(image_file(b"/e"), b)])),
        (True, lambda: catalog.record(batch({b"/e": [0, 0, 1, 0]}))),
        (False, lambda: catalog.note_scan(b"/", None)),
        (False, lambda: catalog.drop_failures([b"/c"])),
        (False, lambda: catalog.set_model(facts())),
        (False, lambda: Run(catalog, StopRequest()).begin()),
    ]
    for grows, change in steps:
        before, vectors = catalog.stamp().generation, sorted(vectors_of(catalog).values())
        change()
        assert (catalog.stamp().generation > before) == grows
        assert grows or sorted(vectors_of(catalog).values()) == vectors
    assert catalog.stamp().catalog_id


# Reading vectors


@settings(max_examples=60)
@given(
    st.permutations([b"/a/x", b"/a/y", b"/a-", b"/a0", b"/b"]),
    st.sets(st.integers(0, 4)),
    st.integers(1, 3),
    st.sampled_from([0, 0, 1, 3, 5]),
    st.sampled_from([None, b"/a", b"/", b"/b", b"/a/x"]),
)
@example([b"/a/x", b"/a/y", b"/a-", b"/b", b"/a0"], {0}, 1, 0, b"/a")
@example([], set(), 1, 0, b"/a")
def test_small_chunks_hold_what_one_big_one_does(
    paths: list[bytes], gone: set[int], chunk: int, skip: int, under: bytes | None
) -> None:
    """Newer ids and a directory select the same rows as going through all of them by hand, missing ones too."""
    with tempfile.TemporaryDirectory() as temporary, Catalog(Path(temporary) / "c", write=True) as catalog:
        catalog.record(batch({path: [number, 1, 2, 3] for number, path in enumerate(paths)}))
        rows = sorted(catalog.known(b"/"), key=lambda row: row.id)
        missing = [row for number, row in enumerate(rows) if number in gone]
        catalog.mark_missing(missing)
        after = rows[skip - 1].id if 0 < skip <= len(rows) else 0
        expected = [[row.id, float(paths.index(row.path)), 1, 2, 3] for row in rows if row.id > after]
        chunks = list(catalog.vectors_after(after, chunk=chunk))
        assert [len(ids) for ids, _ in chunks[:-1]] == [chunk] * (len(chunks) - 1)
        got = [
            [image_id, *vector.tolist()]
            for ids, vectors in chunks
            for image_id, vector in zip(ids, vectors, strict=True)
        ]
        assert got == expected
        if under is not None:
            inside = [row.id for row in rows if row.path == under or row.path.startswith(below(under))]
            assert sorted(catalog.ids_under(under).tolist()) == inside


def test_vectors_and_paths_of_unknown_ids_are_left_out(catalog: Catalog) -> None:
    """A stale FAISS file may name ids that are gone."""
    catalog.record(batch({b"/a": [1, 0, 0, 0]}))
    image_id = row_at(catalog, b"/a").id
    assert catalog.vectors_of([99, image_id])[0].tolist() == [image_id]
    assert catalog.vectors_of([99])[0].tolist() == []
    assert [(key, image.path) for key, image in catalog.facts_of([99, image_id]).items()] == [(image_id, b"/a")]


def test_vectors_come_in_the_order_of_the_ids_that_were_asked_for(catalog: Catalog) -> None:
    """SQLite reads them in order of their ids, and a query asks for the best first; one may be asked for twice."""
    catalog.record(batch({b"/%d" % number: [number, 1, 0, 0] for number in range(1, 6)}))
    ids, vectors = catalog.vectors_of([4, 2, 99, 5, 2])
    assert ids.tolist() == vectors[:, 0].tolist() == [4, 2, 5, 2]
    assert list(catalog.facts_of([4, 2, 99, 5])) == [4, 2, 5]


# Planning's view


def test_rows_of_a_root_come_in_path_order_without_those_of_inner_roots(catalog: Catalog) -> None:
    """Neighbours that sort between a directory and its content belong to neither."""
    paths = [b"/a", b"/a-", b"/a/b", b"/a/b-", b"/a/b/c", b"/a/b0", b"/a/d", b"/a0", b"/b"]
    catalog.record(batch({path: [1, 0, 0, 0] for path in reversed(paths)}))
    assert [row.path for row in catalog.known(b"/")] == paths
    assert [row.path for row in catalog.known(b"/a")] == [b"/a", b"/a/b", b"/a/b-", b"/a/b/c", b"/a/b0", b"/a/d"]
    assert [row.path for row in catalog.known_in(spans([b"/a"], [b"/a", b"/a/b", b"/a/d"]))] == [
        b"/a",
        b"/a/b-",
        b"/a/b0",
    ]


def test_rows_are_found_by_size(catalog: Catalog) -> None:
    """A moved file is looked for by its size first."""
    images = tuple(embedded_image(image_file(path, size)) for path, size in ((b"/a", 1), (b"/b", 2), (b"/c", 1)))
    catalog.record(EmbeddedBatch(images, np.ones((3, 4), np.float32)))
    assert sorted(row.path for row in catalog.images_of_size([1, 7])) == [b"/a", b"/c"]


# Roots, errors


def test_roots_remember_their_last_scan(catalog: Catalog) -> None:
    """A problem is noted, and cleared by the next complete scan."""
    catalog.note_scan(b"/b", None)
    catalog.note_scan(b"/a", "unreadable")
    first, second = catalog.roots()
    assert (first.path, first.problem, second) == (b"/a", "unreadable", Root(b"/b", second.scanned_at_s, None))
    catalog.note_scan(b"/a", None)
    assert [root.problem for root in catalog.roots()] == [None, None]


def test_reader_works_while_a_writer_has_a_transaction_open(catalog: Catalog, path: Path) -> None:
    """A search during an update sees all that is committed, and nothing else."""
    catalog.record(batch({b"/a": [1, 0, 0, 0]}))
    (a,) = catalog.known(b"/")

    def rows_while_reading() -> Iterator[KnownImage]:
        yield a
        with Catalog(path) as reader:
            assert reader.counts() == Counts(1, 0, 0)
            assert vectors_of(reader) == {b"/a": [1, 0, 0, 0]}

    catalog.mark_missing(rows_while_reading())
    with Catalog(path) as reader:
        assert reader.counts() == Counts(0, 1, 0)


def test_reader_needs_a_catalog(path: Path) -> None:
    """Reading creates nothing."""
    with pytest.raises(IndexNotFound):
        Catalog(path)
    assert not path.exists()


def test_error_of_sqlite_is_a_storage_error_that_names_the_catalog(catalog: Catalog, path: Path) -> None:
    """No command ever sees sqlite3's own errors."""
    catalog.connection.execute("DROP TABLE failures")
    for use in (catalog.counts, lambda: list(catalog.failures()), lambda: catalog.record(batch({}, [failure(b"/a")]))):
        with pytest.raises(StorageError, match=str(path)):
            use()


# Against a dictionary


@dataclass
class Picture:
    """A row of the model."""

    id: int
    content: bytes
    vector: list[float]
    mtime_ns: int
    missing: bool = False


FEW_PATHS = st.sampled_from([b"/a", b"/a/b", b"/a-", b"/b/\xff", b"/b/\n"])


class CatalogMachine(RuleBasedStateMachine):
    """Does to a catalog and to dictionaries the same, in any order."""

    @initialize()
    def open(self) -> None:
        """Begin with an empty catalog."""
        self.stack = ExitStack()
        self.directory = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.catalog = Catalog(self.directory / "c", write=True)
        self.pictures: dict[bytes, Picture] = {}
        self.failed: dict[bytes, tuple[int, int]] = {}
        self.clock = self.newest_id = 0

    def teardown(self) -> None:
        """Close what `open` opened."""
        if hasattr(self, "stack"):
            self.catalog.__exit__()
            self.stack.close()

    def take_in(self, path: bytes, content: bytes, vector: list[float], mtime_ns: int) -> None:
        """Note a new row, whose id must be newer than all before."""
        image_id = row_at(self.catalog, path).id
        assert image_id > self.newest_id
        self.newest_id = image_id
        self.pictures[path] = Picture(image_id, content, vector, mtime_ns)
        self.failed.pop(path, None)

    def tick(self) -> int:
        """Return a new time."""
        self.clock += 1
        return self.clock

    @rule(
        vectors=st.dictionaries(FEW_PATHS, st.lists(FLOATS, min_size=2, max_size=2), max_size=3),
        failing=st.sets(FEW_PATHS, max_size=2),
    )
    def record(self, vectors: dict[bytes, list[float]], failing: set[bytes]) -> None:
        """Store a batch."""
        now, failing = self.tick(), failing - set(vectors)
        images = tuple(embedded_image(ImageFile(path, 1, now), path) for path in vectors)
        array = np.array(list(vectors.values()), np.float32).reshape(-1, 2)
        failures = tuple(Failure(ImageFile(path, 1, now), Stage.DECODE, "broken") for path in failing)
        self.catalog.record(EmbeddedBatch(images, array, failures))
        for path, vector in vectors.items():
            self.take_in(path, path, vector, now)
        for path in failing:
            self.failed[path] = (self.failed.get(path, (0, 0))[0] + 1, now)
            if path in self.pictures:
                self.pictures[path].missing = True

    @rule(paths=st.sets(FEW_PATHS))
    def mark_missing(self, paths: set[bytes]) -> None:
        """Lose files."""
        there = paths & self.pictures.keys()
        self.catalog.mark_missing([row_at(self.catalog, path) for path in there])
        for path in there:
            self.pictures[path].missing = True

    @rule(source=FEW_PATHS, place=FEW_PATHS)
    def move(self, source: bytes, place: bytes) -> None:
        """Move a picture, perhaps to where it is."""
        if source in self.pictures:
            now = self.tick()
            self.catalog.move([Match(ImageFile(place, 1, now), row_at(self.catalog, source))])
            picture = self.pictures.pop(source)
            self.pictures[place] = replace(picture, mtime_ns=now, missing=False)
            self.failed.pop(place, None)

    @rule(source=FEW_PATHS, place=FEW_PATHS)
    def copy(self, source: bytes, place: bytes) -> None:
        """Copy a picture."""
        if source in self.pictures and source != place:
            now, picture = self.tick(), self.pictures[source]
            self.catalog.copy([Match(ImageFile(place, 1, now), row_at(self.catalog, source))])
            self.take_in(place, picture.content, picture.vector, now)

    @rule(paths=st.sets(FEW_PATHS))
    def drop_failures(self, paths: set[bytes]) -> None:
        """Forget failures."""
        self.catalog.drop_failures(paths)
        for path in paths:
            self.failed.pop(path, None)

    @rule()
    def open_again(self) -> None:
        """Close and open."""
        self.catalog.__exit__()
        self.catalog = Catalog(self.directory / "c", write=True)

    @invariant()
    def catalog_holds_what_the_dictionaries_hold(self) -> None:
        """Compare everything that can be asked for."""
        if not hasattr(self, "catalog"):
            return
        rows = [
            (row.path, row.id, row.mtime_ns, row.sha256, row.missing)
            for root in (b"/a", b"/a-", b"/b")
            for row in self.catalog.known(root)
        ]
        assert sorted(rows) == [
            (path, picture.id, picture.mtime_ns, sha256(picture.content).digest(), picture.missing)
            for path, picture in sorted(self.pictures.items())
        ]
        assert vectors_of(self.catalog) == {
            path: picture.vector for path, picture in self.pictures.items() if any(picture.vector)
        }
        failures = {known.failure.file.path: known for known in self.catalog.failures()}
        assert {path: (known.attempts, known.failure.file.mtime_ns) for path, known in failures.items()} == self.failed
        missing = sum(picture.missing for picture in self.pictures.values())
        without = sum(not any(picture.vector) and not picture.missing for picture in self.pictures.values())
        assert self.catalog.counts() == Counts(len(self.pictures) - missing, missing, len(self.failed), without)
        assert self.catalog.stamp().count == sum(any(picture.vector) for picture in self.pictures.values())


TestAnyHistory = CatalogMachine.TestCase
TestAnyHistory.settings = settings(max_examples=25, stateful_step_count=15)


def test_known_images_of_tests_look_like_those_of_the_catalog(catalog: Catalog) -> None:
    """The rows that other tests make up are such as a catalog gives."""
    made_up = known_image(b"/a", 1, content=b"/a")
    catalog.record(EmbeddedBatch((embedded_image(image_file(b"/a", 2), b"/a"),), np.ones((1, 4), np.float32)))
    assert row_at(catalog, b"/a") == made_up


def test_what_is_gone_is_not_kept_beside_others(catalog: Catalog) -> None:
    """A picture may be forgotten while somebody looks at it; the others are marked."""
    catalog.record(batch({b"/a": [1, 0, 0, 0], b"/b": [0, 1, 0, 0]}))
    a, b = (row_at(catalog, path).id for path in (b"/a", b"/b"))
    catalog.keep([a, b, b + 1])
    assert catalog.kept() == {(a, b), (b, a)}
