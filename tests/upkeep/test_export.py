"""What is exported is what the catalog holds, read back with the libraries of those who will read it."""

from __future__ import annotations

import base64
import errno
import json
import os
import sqlite3
import stat
import sys
import weakref
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from image_index.catalog import reader
from image_index.catalog.catalog import Catalog
from image_index.catalog.filters import Filters
from image_index.catalog.reader import CatalogReader
from image_index.errors import StorageError, UsageError
from image_index.files import atomic
from image_index.index import Index
from image_index.records import EmbeddedBatch, ImageFacts, ImageFile, PictureFacts, Vectors
from image_index.search.selection import make_filters
from image_index.settings import IndexHome
from image_index.upkeep.export import Exported, export
from tests.support.confined import run_confined
from tests.support.library import make_index
from tests.support.records import batch, embedded_image, facts, image_facts

ODD = b"/photos/odd \xff\n.jpg"
COUNT = 25


@pytest.fixture
def home(home: IndexHome) -> IndexHome:
    """Return an index of 25 pictures that are nowhere; one's name is not UTF-8, and EXIF tells all of it."""
    make_index(home, COUNT - 1)
    found = PictureFacts(4, 3, "PNG", taken_at_s=1_717_172_999, date_source="exif", camera="Cämera \u2028 1")
    found = found._replace(latitude=48.8584, longitude=-2.2945, altitude_m=35.5)
    odd = replace(embedded_image(ImageFile(ODD, 7, 5 * 10**18)), picture=found)
    with Catalog(home.catalog, write=True) as catalog:
        catalog.record(EmbeddedBatch((odd,), np.array([[0, 0.6, 0.8, 0]], np.float32)))
    return home


def test_pictures_without_a_vector_are_left_out_and_counted(home: IndexHome, tmp_path: Path) -> None:
    """There is nothing of them that another tool could search; of nothing else nothing is written."""
    with Catalog(home.catalog, write=True) as catalog:
        catalog.record(batch({b"/grey/a.png": [0, 0, 0, 0], b"/grey/b.png": [0, 0, 0, 0]}))
    with Index(home) as index:
        done = index.export(tmp_path / "out", Filters(missing=True))
        assert index.export(tmp_path / "none", Filters(missing=True, under=(b"/grey",))) is None
        assert len(list(index.images(Filters(missing=True)))) == COUNT + 2
        assert index.vectors(Filters(missing=True, under=(b"/grey",)))[1].shape == (0, 4)
    assert done is not None
    assert (done.images, done.without_vector) == (COUNT, 2)
    assert len(read_vectors(tmp_path / "out")) == COUNT
    assert not (tmp_path / "none").exists()


def rows_of(home: IndexHome) -> list[tuple[Any, ...]]:
    """Return path, facts and vector of every picture in the order of ids, by SQL of our own."""
    sql = (
        "SELECT path, sha256, width, height, format, coalesce(taken_at_s, mtime_ns / 1000000000), camera, latitude,"
        " longitude, altitude_m, id, vector FROM images JOIN vectors ON id = image_id ORDER BY id"
    )
    with closing(sqlite3.connect(home.catalog)) as connection:
        return connection.execute(sql).fetchall()


def check(home: IndexHome, rows: list[dict[str, Any]], vectors: Vectors) -> None:
    """Compare what was read back, dates as datetimes, with the catalog."""
    stored = rows_of(home)
    assert len(stored) == len(rows) == len(vectors) == COUNT
    assert vectors.dtype == np.dtype("<f2")
    assert [vector.tobytes() for vector in vectors] == [row[-1] for row in stored]
    for row, (path, sha256, width, height, kind, date_s, camera, *place, image_id, _) in zip(rows, stored, strict=True):
        name = base64.b64decode(row["image_path_bytes"]) if row.get("image_path_bytes") else row["image_path"].encode()
        assert name == path
        assert (row["sha256"], row["width"], row["height"], row["format"]) == (sha256.hex(), width, height, kind)
        assert (row["date"], row["camera"], row["id"]) == (datetime.fromtimestamp(date_s, UTC), camera, image_id)
        assert [row[key] for key in ("latitude", "longitude", "altitude_m")] == place


def read_vectors(directory: Path) -> Vectors:
    """Return the vectors of all parts, in the order of their names."""
    loaded: Vectors = np.concatenate([np.load(path) for path in sorted((directory / "img_emb").iterdir())])
    return loaded


def export_all(home: IndexHome, destination: Path, *, parquet: bool = False) -> Exported | None:
    """Export every picture, though its file is nowhere."""
    with Index(home) as index:
        return index.export(destination, Filters(missing=True), parquet=parquet)


@pytest.mark.parametrize("part_rows", [100_000, 25, 24, 7, 2], ids="parts of {}".format)
@pytest.mark.parametrize("parquet", [False, True], ids=["jsonl", "parquet"])
def test_every_part_pairs_vectors_with_their_pictures(
    home: IndexHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parquet: bool, part_rows: int
) -> None:
    """Row i of one file belongs to row i of the other; names sort as numbers; the vectors are those of the catalog."""
    monkeypatch.setattr("image_index.upkeep.export.PART_ROWS", part_rows)
    target = tmp_path / "out"
    parts = -(-COUNT // part_rows)
    done = export_all(home, target, parquet=parquet)
    assert done == Exported(target, "parquet" if parquet else "jsonl", COUNT, parts, 4)
    digits = len(str(parts))
    ending = "parquet" if parquet else "jsonl"
    numbers = [f"{number:0{digits}d}" for number in range(parts)]
    assert sorted(os.listdir(target)) == ["img_emb", "metadata", "model.json"]
    assert sorted(os.listdir(target / "img_emb")) == [f"img_emb_{number}.npy" for number in numbers]
    assert sorted(os.listdir(target / "metadata")) == [f"metadata_{number}.{ending}" for number in numbers]
    rows = []
    for number in numbers:
        part = read_metadata(target / "metadata" / f"metadata_{number}.{ending}")
        assert np.load(target / "img_emb" / f"img_emb_{number}.npy").shape == (len(part), 4)
        assert len(part) == part_rows or number == numbers[-1]
        rows += part
    check(home, rows, read_vectors(target))


def read_metadata(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of metadata, dates as datetimes."""
    if path.suffix == ".parquet":
        table: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
        return table
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    return [{**row, "date": datetime.fromisoformat(row["date"])} for row in rows]


def test_the_model_is_told(home: IndexHome, tmp_path: Path) -> None:
    """Whoever reads the vectors learns what made them."""
    export_all(home, tmp_path / "out")
    with Catalog(home.catalog) as catalog:
        model = catalog.read_model()
    assert model is not None
    told = json.loads((tmp_path / "out/model.json").read_text(encoding="utf-8"))
    assert list(told) == ["name", "fingerprint", "weights_sha256", "dim", "preprocess"]
    assert (told["name"], told["fingerprint"], told["dim"]) == ("starter", model.fingerprint, 4)
    assert told["preprocess"]["size"] == [8, 8]


def test_filters_choose_and_files_that_are_gone_stay_out(home: IndexHome, tmp_path: Path) -> None:
    """As in a search: unless missing ones are asked for, a picture has to be there."""
    with Index(home) as index:
        assert index.export(tmp_path / "none") is None
        assert not (tmp_path / "none").exists()
        done = index.export(tmp_path / "two", make_filters(glob=["1-3.jpg", "1-4.jpg"], missing=True))
    assert done is not None
    assert done.images == len(read_vectors(tmp_path / "two")) == 2


def test_a_picture_that_vanishes_meanwhile_goes_with_its_vector(
    home: IndexHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever forgets while an export runs does not shift one file against the other."""
    monkeypatch.setattr(reader, "PICTURES_AT_A_TIME", 10)
    with CatalogReader(home.catalog) as catalog, Catalog(home.catalog, write=True) as writer:

        def pictures() -> Iterator[tuple[list[ImageFacts], Vectors]]:
            for chunk in catalog.pictures(Filters(missing=True)):
                writer.forget(b"/photos/1-12.jpg")
                yield chunk

        model = catalog.read_model()
        assert model is not None
        done = export(pictures(), model, tmp_path / "out")
    assert done is not None
    assert done.images == COUNT - 1
    rows = read_metadata(tmp_path / "out/metadata/metadata_0.jsonl")
    stored = {row[-2]: row[-1] for row in rows_of(home)}
    vectors = read_vectors(tmp_path / "out")
    assert {row["id"]: vector.tobytes() for row, vector in zip(rows, vectors, strict=True)} == stored


def test_an_empty_directory_is_taken_and_nobody_else_may_look_in(home: IndexHome, tmp_path: Path) -> None:
    """Also by way of a link; it says where people's pictures are."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    export_all(home, tmp_path / "link")
    assert len(read_vectors(tmp_path / "empty")) == COUNT
    assert stat.S_IMODE((tmp_path / "empty").stat().st_mode) == 0o700
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("place", ["full", "file", "no/such"])
def test_a_place_that_is_taken_or_cannot_be_is_wrong_use(home: IndexHome, tmp_path: Path, place: str) -> None:
    """It is named, and left as it is."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").write_text("x")
    (tmp_path / "file").write_text("x")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=place):
        export_all(home, tmp_path / place)
    assert sorted(tmp_path.rglob("*")) == before


# What goes wrong


@pytest.mark.slow
@pytest.mark.parametrize("parquet", [False, True], ids=["jsonl", "parquet"])
@pytest.mark.parametrize("limit", [100, 200, 500])
def test_a_full_disk_is_a_storage_error_and_leaves_nothing(
    home: IndexHome, tmp_path: Path, parquet: bool, limit: int
) -> None:
    """Whichever file it hits: exit 9, one line, no directory and no draft of one."""
    place = tmp_path / "place"
    place.mkdir()
    options = ["--format", "parquet" if parquet else "jsonl", "--missing", "--index", home.path]
    code = "import sys\nfrom image_index.cli.app import run\nsys.exit(run(sys.argv[1:]))"
    done = run_confined("-c", code, "export", place / "out", *options, file_bytes=limit)
    assert done.returncode == 9, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith(f"imgidx: cannot write {place / 'out'}: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert not list(place.iterdir())


@pytest.mark.parametrize("sync_number", [1, 3, 5])
def test_a_disk_that_refuses_to_sync_leaves_nothing(
    home: IndexHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync_number: int
) -> None:
    """Delayed writes fail late: the export is not there before all of it is on the disk."""
    synced: list[Path] = []

    def failing_sync(path: Path) -> None:
        synced.append(path)
        if len(synced) == sync_number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "sync", failing_sync)
    (tmp_path / "place").mkdir()
    with pytest.raises(StorageError, match="No space left"):
        export_all(home, tmp_path / "place/out")
    assert not list((tmp_path / "place").iterdir())


def test_any_other_end_leaves_nothing_too(tmp_path: Path) -> None:
    """An error of whoever gives the pictures passes through, after the first part is written."""

    def pictures() -> Iterator[tuple[list[ImageFacts], Vectors]]:
        yield [image_facts()], np.eye(1, 4, dtype=np.float32)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(pictures(), facts(), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_vectors_of_another_length_are_damage(tmp_path: Path) -> None:
    """A header that does not fit what follows would be believed."""
    chunk = ([image_facts()], np.eye(1, 3, dtype=np.float32))
    with pytest.raises(StorageError, match="imgidx verify"):
        export(iter([chunk]), facts(4), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_without_pyarrow_the_next_step_is_named(
    home: IndexHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON lines need nothing."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    with pytest.raises(UsageError, match=r"pip install 'imgidx\[parquet\]'"):
        export_all(home, tmp_path / "out", parquet=True)
    assert export_all(home, tmp_path / "out") is not None


def test_memory_does_not_grow_with_the_library(tmp_path: Path) -> None:
    """A chunk is let go once it is written: never more than two are alive."""
    alive: list[int] = []
    count = 0

    class Chunk(np.ndarray):
        """Vectors that tell when they are gone."""

    def pictures() -> Iterator[tuple[list[ImageFacts], Vectors]]:
        nonlocal count
        for number in range(20):
            vectors = np.eye(1, 4, dtype=np.float32).view(Chunk)
            count += 1
            weakref.finalize(vectors, gone)
            alive.append(count)
            yield [image_facts(image_id=number + 1)], vectors

    def gone() -> None:
        nonlocal count
        count -= 1

    export(pictures(), facts(), tmp_path / "out")
    assert len(alive) == 20
    assert max(alive) <= 3


def test_an_empty_index_has_nothing_to_export(tmp_path: Path) -> None:
    """Not even a model is known."""
    home = IndexHome(tmp_path / "index")
    home.create()
    Catalog(home.catalog, write=True).close()
    assert export_all(home, tmp_path / "out") is None
    assert not (tmp_path / "out").exists()
