"""Exports of rows with their vectors, and stores that follow an index by them."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from image_index.catalog.catalog import Catalog
from image_index.catalog.filters import Filters
from image_index.errors import UsageError
from image_index.files import atomic
from image_index.index import Index
from image_index.records import EmbeddedBatch, Failure, ImageFile, KnownImage, Match, OtherName, Stage
from image_index.search.selection import make_filters
from image_index.settings import IndexHome
from image_index.upkeep.export import Exported
from tests.support.library import make_index, random_batch
from tests.support.records import embedded_image, facts

COUNT = 10


@pytest.fixture
def home(home: IndexHome) -> IndexHome:
    """Give an index of pictures that are nowhere, one of which the model sees nothing in."""
    make_index(home, COUNT)
    grey = embedded_image(ImageFile(b"/photos/grey.png", 7, 10**18), b"grey")
    with Catalog(home.catalog, write=True) as catalog:
        catalog.record(EmbeddedBatch((grey,), np.zeros((1, 4), np.float32)))
    return home


def export(home: IndexHome, to: Path, filters: Filters | None = None, **options: Any) -> Exported | None:
    """Export rows."""
    with Index(home) as index:
        return index.export_rows(to, filters or Filters(), **options)


def read(directory: Path) -> list[dict[str, Any]]:
    """Return the rows of an export."""
    paths = sorted((directory / "images").iterdir())
    return [row for path in paths for row in parquet.read_table(path).to_pylist()]


@dataclass
class Follower:
    """A store that has nothing but what exports tell it: rows by id."""

    rows: dict[int, dict[str, Any]] = field(default_factory=dict)

    def apply(self, directory: Path) -> None:
        """Drop what is gone, then put each row in place of the one with its id."""
        for image_id in parquet.read_table(directory / "gone.parquet")["id"].to_pylist():
            self.rows.pop(image_id, None)
        self.rows |= {row["id"]: row for row in read(directory)}


def stored(home: IndexHome, *, missing: bool = False) -> dict[int, tuple[bytes, bytes]]:
    """Return path and vector of the pictures that have one, by id, by SQL of our own."""
    condition = "" if missing else " AND missing_since_s IS NULL"
    sql = f"SELECT id, path, vector FROM images JOIN vectors ON image_id = id WHERE vector IS NOT NULL{condition}"
    with closing(sqlite3.connect(home.catalog)) as connection:
        return {image_id: (path, vector) for image_id, path, vector in connection.execute(sql)}


def told(rows: list[dict[str, Any]]) -> dict[int, tuple[bytes, bytes]]:
    """Return path and vector of rows that were read back, by id."""
    return {row["id"]: (row["image_path"].encode(), np.array(row["vector"], "<f2").tobytes()) for row in rows}


@pytest.mark.parametrize("part_rows", [100_000, 5, 3], ids="parts of {}".format)
def test_a_row_has_a_picture_and_its_vector(
    home: IndexHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part_rows: int
) -> None:
    """Bit for bit as the catalog has it, as a list of fixed size; a picture without one is left out and counted."""
    monkeypatch.setattr("image_index.upkeep.export_rows.PART_ROWS", part_rows)
    done = export(home, tmp_path / "out")
    assert done is not None
    parts = -(-COUNT // part_rows)
    assert (done.images, done.parts, done.dim, done.without_vector, done.gone) == (COUNT, parts, 4, 1, 0)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "export.json", "gone.parquet", "images", "model.json",
    ]  # fmt: skip
    files = sorted((tmp_path / "out/images").iterdir())
    assert [path.name for path in files] == [f"images_{number}.parquet" for number in range(parts)]
    expected = pa.list_(pa.field("element", pa.float16()), 4)
    assert {parquet.read_schema(path).field("vector").type for path in files} == {expected}
    assert told(read(tmp_path / "out")) == stored(home)
    assert json.loads((tmp_path / "out/model.json").read_text())["name"] == "starter"
    assert json.loads((tmp_path / "out/export.json").read_text())["mark"] == done.mark


def test_vectors_can_be_float32(home: IndexHome, tmp_path: Path) -> None:
    """For stores that do not know float16: the same numbers."""
    export(home, tmp_path / "out", float32=True)
    (path,) = (tmp_path / "out/images").iterdir()
    assert parquet.read_schema(path).field("vector").type == pa.list_(pa.field("element", pa.float32()), 4)
    assert told(read(tmp_path / "out")) == stored(home)


# Following


PATHS = [b"/photos/%s/%d.jpg" % (album, number) for album in (b"a", b"b") for number in range(5)]


@dataclass
class Walk:
    """A catalog to which all happens that can happen to one."""

    catalog: Catalog
    dice: random.Random
    content: int = 0

    def step(self) -> None:
        """Do one thing."""
        self.dice.choice(
            [self.record, self.record, self.move, self.copy, self.vanish, self.come_back, self.fail, self.forget,
             self.prune, self.name, self.unname]
        )()  # fmt: skip

    def known(self) -> list[KnownImage]:
        """Return all rows."""
        return list(self.catalog.known(b"/"))

    def some(self) -> list[KnownImage]:
        """Return some rows."""
        known = self.known()
        return self.dice.sample(known, min(len(known), self.dice.randrange(3)))

    def record(self) -> None:
        """Store new pictures, some at paths where there was one; some have no vector."""
        paths = self.dice.sample(PATHS, 2)
        self.content += 2
        files = [ImageFile(path, 1, self.content + number) for number, path in enumerate(paths)]
        images = tuple(embedded_image(file, b"%d" % file.mtime_ns) for file in files)
        vectors = np.array([[self.dice.random(), self.dice.random(), 0, 0] for _ in paths], np.float32)
        vectors[1] *= self.dice.random() < 0.8
        self.catalog.record(EmbeddedBatch(images, vectors))

    def move(self) -> None:
        """Move a picture, perhaps over another one."""
        for image in self.some()[:1]:
            self.content += 1
            self.catalog.move([Match(ImageFile(self.dice.choice(PATHS), image.size, self.content), image)])

    def copy(self) -> None:
        """Find the content of a picture at another path too."""
        for image in self.some()[:1]:
            path = self.dice.choice([path for path in PATHS if path != image.path])
            self.catalog.copy([Match(ImageFile(path, image.size, 7), image)])

    def vanish(self) -> None:
        """Mark pictures as missing."""
        self.catalog.mark_missing(self.some())

    def come_back(self) -> None:
        """Find pictures again where they were."""
        self.catalog.move(Match(ImageFile(image.path, image.size, image.mtime_ns), image) for image in self.some())

    def fail(self) -> None:
        """Fail to read a path, perhaps that of a picture."""
        failure = Failure(ImageFile(self.dice.choice(PATHS), 1, 1), Stage.DECODE, "why")
        self.catalog.record(EmbeddedBatch((), np.zeros((0, 4), np.float32), (failure,)))

    def forget(self) -> None:
        """Forget a path or an album."""
        if self.dice.random() < 0.5:
            self.catalog.forget(self.dice.choice([*PATHS, b"/photos/a"]))

    def prune(self) -> None:
        """Drop what is missing."""
        self.catalog.prune(0)

    def name(self) -> None:
        """Find that a path is another name of a picture's file."""
        for image in self.some()[:1]:
            self.catalog.add_names([OtherName(self.dice.choice([p for p in PATHS if p != image.path]), image.path)])

    def unname(self) -> None:
        """Find that a path is no other name any more."""
        self.catalog.drop_names([self.dice.choice(PATHS)])


FILTERS = {
    "all": Filters(),
    "with missing ones": Filters(missing=True),
    "an album": Filters(under=(b"/photos/a",)),
    "a glob": Filters(globs=("[1-3].jpg",)),
    "no album": Filters(exclude_under=(b"/photos/b",), missing=True),
}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), lengths=st.lists(st.integers(0, 12), min_size=1, max_size=6))
@pytest.mark.parametrize("which", FILTERS)
def test_who_applies_every_export_in_order_has_the_rows_of_the_index(
    tmp_path_factory: pytest.TempPathFactory, which: str, seed: int, lengths: list[int]
) -> None:
    """Whatever has happened, whatever is filtered: the exports on top of each other give what a whole one gives."""
    directory = tmp_path_factory.mktemp("walk")
    home, filters = IndexHome(directory / "index"), FILTERS[which]
    home.create()
    follower, mark = Follower(), None
    with Catalog(home.catalog, write=True) as catalog, patch.object(atomic, "sync"):  # a walk is not about the disk
        catalog.connection.execute("PRAGMA synchronous = OFF")
        catalog.set_model(facts(4))
        walk = Walk(catalog, random.Random(seed))
        walk.record()
        for number, steps in enumerate(lengths):
            for _ in range(steps):
                walk.step()
            catalog.note_scan(b"/photos/a", None)  # an album that the index does not know would be wrong use
            done = export(home, directory / f"{number}", filters, since=mark)
            if done is not None:
                follower.apply(directory / f"{number}")
                mark = done.mark
            whole = directory / f"whole-{number}"
            expected = {row["id"]: row for row in read(whole)} if export(home, whole, filters) else {}
            assert follower.rows == expected
            if which == "all":
                assert told(list(follower.rows.values())) == stored(home)
    shutil.rmtree(directory)


def test_an_export_since_tells_only_what_has_changed(home: IndexHome, tmp_path: Path) -> None:
    """New, moved, missing and forgotten pictures, nothing else; the directory of an export stands for its mark."""
    first = export(home, tmp_path / "first")
    assert first is not None
    with Catalog(home.catalog, write=True) as catalog:
        known = sorted(catalog.known(b"/photos"), key=lambda image: image.id)
        catalog.record(random_batch(2, seed=9))
        catalog.move([Match(ImageFile(b"/photos/new.jpg", 1, 5), known[0])])
        catalog.mark_missing(known[1:3])
        catalog.forget(known[4].path)
        catalog.note_inodes([(known[5].id, 77)])  # which no row tells
    for number, since in enumerate((first.mark, str(tmp_path / "first"))):
        done = export(home, tmp_path / f"{number}", since=since)
        assert done is not None
        assert (done.images, done.gone) == (3, 3)
        rows = read(tmp_path / f"{number}")
        assert [row["id"] for row in rows][:1] == [known[0].id]
        assert rows[0]["image_path"] == "/photos/new.jpg"
        gone = parquet.read_table(tmp_path / f"{number}" / "gone.parquet")["id"].to_pylist()
        assert gone == [known[1].id, known[2].id, known[4].id]
    assert export(home, tmp_path / "none", since=str(tmp_path / "1")) is None
    assert not (tmp_path / "none").exists()


def test_an_album_that_is_forgotten_is_told_to_its_followers(home: IndexHome, tmp_path: Path) -> None:
    """Though a new export of it would be wrong use: the index knows nothing of it any more."""
    photos = Filters(under=(b"/photos",))
    done = export(home, tmp_path / "first", photos)
    assert done is not None
    with Catalog(home.catalog, write=True) as catalog:
        catalog.forget(b"/photos")
    done = export(home, tmp_path / "second", photos, since=done.mark)
    assert done is not None
    assert (done.images, done.gone) == (0, COUNT + 1)
    assert read(tmp_path / "second") == []
    with pytest.raises(UsageError, match="--under"):
        export(home, tmp_path / "third", photos)


def test_what_happens_during_an_export_is_told_by_the_next(
    home: IndexHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training need not wait for it, nor it for a training."""
    monkeypatch.setattr("image_index.catalog.reader.PICTURES_AT_A_TIME", 3)
    follower = Follower()
    with Catalog(home.catalog, write=True) as writer, Index(home) as index:
        known = sorted(writer.known(b"/photos"), key=lambda image: image.id)
        happens: list[Callable[[], Any]] = [
            lambda: writer.forget(known[0].path),
            lambda: writer.move([Match(ImageFile(b"/photos/new.jpg", 1, 5), known[9])]),
            lambda: writer.record(random_batch(2, seed=5)),
        ]

        def meanwhile(images: list[Any], vectors: Any, dim: int) -> None:
            if happens:
                happens.pop(0)()

        monkeypatch.setattr("image_index.upkeep.export_rows.check_vectors", meanwhile)
        done = index.export_rows(tmp_path / "first")
        assert done is not None
        assert not happens
        index.export_rows(tmp_path / "second", since=done.mark)
    for name in ("first", "second"):
        follower.apply(tmp_path / name)
    assert told(list(follower.rows.values())) == stored(home)


def test_a_mark_that_does_not_fit_is_refused(home: IndexHome, tmp_path: Path) -> None:
    """Of another index, of other filters, of a time to come, or none at all: nothing is written."""
    done = export(home, tmp_path / "out")
    assert done is not None
    assert done.mark is not None
    catalog_id, filters, last_id, change = done.mark.split("-")
    wrong = {
        "another index": f"{'0' * len(catalog_id)}-{filters}-{last_id}-{change}",
        "older than the mark": f"{catalog_id}-{filters}-{int(last_id) + 1}-{change}",
        "restored": f"{catalog_id}-{filters}-{last_id}-{int(change) + 1}",
        "takes the mark": "yesterday",
        "or its directory": str(tmp_path),
    }
    for says, mark in wrong.items():
        with pytest.raises(UsageError, match=says):
            export(home, tmp_path / "wrong", since=mark)
    with pytest.raises(UsageError, match="other filters"):
        export(home, tmp_path / "wrong", make_filters(glob="*.jpg"), since=done.mark)
    assert not (tmp_path / "wrong").exists()


def test_new_pictures_leave_no_trace_of_a_change(home: IndexHome) -> None:
    """What a training stores costs no more than it did: only what it finds changed is noted."""
    with closing(sqlite3.connect(home.catalog)) as connection:
        assert connection.execute("SELECT count(*) FROM changed").fetchone() == (0,)
