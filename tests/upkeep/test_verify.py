"""`verify` finds whatever is wrong, `repair` mends what is derived, and neither ever embeds or loses anything."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from image_index.catalog.catalog import Catalog
from image_index.catalog.filters import Filters
from image_index.catalog.lock import exclusive_lock
from image_index.errors import IndexLocked, IndexNotFound, StorageError
from image_index.records import EmbeddedBatch, ImageFile
from image_index.settings import IndexHome
from image_index.upkeep.health import Problem
from image_index.upkeep.verify import REBUILD, repair, verify
from image_index.vectors.build import build_index
from image_index.vectors.vector_file import write_vectors
from image_index.words import indexed_words
from tests.support.library import contents, found, make_index, nearest
from tests.support.records import embedded_image
from tests.support.vector_files import flip

Damage = Callable[[IndexHome], object]


@pytest.fixture
def home(home: IndexHome) -> IndexHome:
    """Return a sound index of 40 pictures."""
    make_index(home, 40)
    return home


def execute(home: IndexHome, sql: str, *parameters: object) -> None:
    """Change the catalog behind our own code's back."""
    with closing(sqlite3.connect(home.catalog)) as connection:
        connection.create_function("indexed_words", 1, indexed_words, deterministic=True)
        connection.execute(sql, parameters)
        connection.commit()


def store_vector(vector: np.ndarray) -> Damage:
    """Return what puts `vector` in the place of the third one."""
    return lambda home: execute(
        home, "UPDATE vectors SET vector = ? WHERE image_id = 3", vector.astype("<f2").tobytes()
    )


def rename_model(name: str) -> Damage:
    """Return what says that the index was made with the model `name`."""
    return lambda home: execute(home, "UPDATE model SET name = ?", name)


def write_from(home: IndexHome, stamp_id: str | None = None, *, turned: bool = False) -> None:
    """Replace the file of vectors by one of other vectors, or of another catalog."""
    with Catalog(home.catalog) as catalog:
        stamp = catalog.stamp()
        ids, vectors = next(catalog.stored_after(0))
    stamp = replace(stamp, catalog_id=stamp_id or stamp.catalog_id)
    write_vectors(home, stamp, [(ids, -vectors if turned else vectors)])


def flip_middle(path: Path) -> None:
    """Flip a byte in the middle of a file."""
    flip(path, path.stat().st_size // 2)


DERIVED: dict[str, tuple[Damage, str]] = {
    "gone": (lambda home: home.vector_table.unlink(), "is missing"),
    "rows gone": (lambda home: home.vectors.unlink(), "is damaged"),
    "flipped": (lambda home: flip_middle(home.vectors), "damaged"),
    "ids flipped": (lambda home: flip_middle(home.vector_ids), "damaged"),
    "cut": (lambda home: home.vectors.write_bytes(home.vectors.read_bytes()[:-1]), "damaged"),
    "empty": (lambda home: home.vector_table.write_bytes(b""), "damaged"),
    "of another index": (lambda home: write_from(home, "0" * 32), "of another index"),
    "of other vectors": (lambda home: write_from(home, turned=True), r"40 of its vectors are not the catalog's"),
}
TRUTH: dict[str, tuple[Damage, str, str]] = {
    "too long": (store_vector(np.array([1, 1, 0, 0])), "vectors", "1 are not of length one"),
    "zero": (store_vector(np.zeros(4)), "vectors", "1 are not of length one"),
    "not a number": (store_vector(np.full(4, np.nan)), "vectors", "1 are not of length one"),
    "infinite": (store_vector(np.array([np.inf, 0, 0, 0])), "vectors", "1 are not of length one"),
    "another dimension": (store_vector(np.array([1, 0, 0])), "vectors", "1 do not have 4 dimensions"),
    "no vector": (
        lambda home: execute(home, "DELETE FROM vectors WHERE image_id = 3"),
        "catalog",
        "1 images have no vector",
    ),
    "no picture": (lambda home: execute(home, "DELETE FROM images WHERE id = 3"), "catalog", "vectors"),
    "other weights": (
        lambda home: execute(home, "UPDATE model SET weights_sha256 = ?", "0" * 64),
        "model",
        "no longer those",
    ),
    "model gone": (rename_model("local-dir:/nowhere"), "model", "nowhere"),
    "model unknown": (rename_model("ViT-Z-99/nobody"), "model", "ViT-Z-99"),
}


def test_a_sound_index_has_no_findings(home: IndexHome) -> None:
    """With a file of vectors that is current, and with one that is a batch behind."""
    assert list(verify(home)) == []
    with Catalog(home.catalog, write=True) as catalog:
        image = embedded_image(ImageFile(b"/photos/new.jpg", 1, 1))
        catalog.record(EmbeddedBatch((image,), np.eye(1, 4, dtype=np.float32)))
    assert list(verify(home)) == []


def test_an_index_that_holds_nothing_is_sound(tmp_path: Path) -> None:
    """No model, no file of vectors, nothing wrong."""
    home = IndexHome(tmp_path)
    Catalog(home.catalog, write=True).__exit__()
    assert list(verify(home)) == []


def test_where_there_is_no_index_nothing_is_verified_or_made(tmp_path: Path) -> None:
    """Neither verifying nor repairing creates one."""
    home = IndexHome(tmp_path)
    for action in (lambda: list(verify(home)), lambda: repair(home)):
        with pytest.raises(IndexNotFound):
            action()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", DERIVED)
def test_a_bad_file_of_vectors_is_found_and_rebuilt_from_the_catalog(home: IndexHome, kind: str) -> None:
    """The repair changes no row; afterwards all is well and a search agrees with numpy."""
    damage, problem = DERIVED[kind]
    before = contents(home)
    damage(home)
    (finding,) = verify(home)
    assert (finding.subject, finding.derived) == ("vectors.f16", True)
    assert re.search(problem, finding.problem)
    repair(home)
    assert list(verify(home)) == []
    assert contents(home) == before
    for query in np.eye(4, dtype=np.float32):
        assert found(home, query) == nearest(home, query)


@pytest.mark.parametrize("kind", ["gone", "flipped", "of other vectors"])
def test_bad_lists_of_a_large_index_are_found_and_built_again(
    home: IndexHome, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that are whole and find something else."""
    monkeypatch.setattr("image_index.upkeep.verify.FLAT_LIMIT", 30)
    monkeypatch.setattr("image_index.training.freshness.FLAT_LIMIT", 30)
    repair(home)
    assert list(verify(home)) == []
    if kind == "gone":
        home.faiss.unlink()
    elif kind == "flipped":
        flip_middle(home.faiss)
    else:
        with Catalog(home.catalog) as catalog:
            stamp, (ids, vectors) = catalog.stamp(), next(catalog.stored_after(0))
        build_index(home.faiss, stamp, lambda: [(ids, np.tile(vectors[:1], (len(ids), 1)))])
    (finding,) = verify(home)
    assert (finding.subject, finding.derived) == ("index.faiss", True)
    repair(home)
    assert list(verify(home)) == []


@pytest.mark.parametrize(
    "damage",
    [
        "INSERT INTO image_words (rowid, path) VALUES (3, 'other')",
        "INSERT INTO image_words (image_words, rowid, path)"
        " SELECT 'delete', id, path FROM words_of_images WHERE id = 3",
        "UPDATE image_words_data SET block = substr(block, 1, 20) WHERE length(block) > 20",
    ],
)
def test_damaged_words_are_found_and_made_anew_from_the_paths(home: IndexHome, damage: str) -> None:
    """One picture too many or too few, and bytes that are lost; a search by name then finds what it should."""
    wanted = Filters(words=("3.jpg",))
    with Catalog(home.catalog) as catalog:
        before = catalog.ids_matching(wanted).tolist()
    execute(home, damage)
    (finding,) = verify(home)
    assert (finding.subject, finding.derived) == ("words of the paths", True)
    repair(home)
    assert list(verify(home)) == []
    with Catalog(home.catalog) as catalog:
        assert catalog.ids_matching(wanted).tolist() == before != []


def test_a_search_that_meets_damaged_words_says_what_makes_them_anew(home: IndexHome) -> None:
    """It is no reason to restore the whole index."""
    execute(home, "DELETE FROM image_words_data WHERE id > 10")
    with Catalog(home.catalog) as catalog, pytest.raises(StorageError, match="verify --repair"):
        catalog.ids_matching(Filters(words=("photos",)))


def test_words_are_not_looked_at_while_another_process_writes(home: IndexHome) -> None:
    """SQLite takes the check for a write; a verify beside a training does not wait for it."""
    with Catalog(home.catalog, write=True) as writer, writer.transaction():
        assert list(verify(home)) == []


@pytest.mark.parametrize("kind", TRUTH)
def test_what_is_wrong_with_the_truth_is_found_and_not_repaired(home: IndexHome, kind: str) -> None:
    """What only a backup or a person can mend is named, before and after a repair."""
    damage, subject, problem = TRUTH[kind]
    damage(home)
    for _ in range(2):
        findings = [finding for finding in verify(home) if not finding.derived]
        assert [finding.subject for finding in findings] == [subject]
        assert problem in findings[0].problem
        with suppress(StorageError):  # vectors that differ in length cannot be put into a FAISS file
            repair(home)


def test_a_damaged_index_page_of_sqlite_is_found(home: IndexHome) -> None:
    """SQLite's own check is part of ours."""
    with closing(sqlite3.connect(home.catalog)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'images_by_size'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    content = bytearray(home.catalog.read_bytes())
    content[page * size - 20 : page * size] = bytes(20)  # the keys stand at the end of a page
    home.catalog.write_bytes(content)
    findings = list(verify(home))
    assert {(finding.subject, finding.derived) for finding in findings} == {("catalog", False)}
    assert any("images_by_size" in finding.problem for finding in findings)


def test_a_repair_waits_for_no_other_run(home: IndexHome) -> None:
    """Two writers never meet."""
    with exclusive_lock(home.lock), pytest.raises(IndexLocked):
        repair(home)


def test_verifying_writes_nothing(home: IndexHome) -> None:
    """Whatever it finds, the files stay as they are."""
    flip_middle(home.vectors)
    before = {path.name: path.read_bytes() for path in home.path.iterdir()}
    assert list(verify(home)) == [Problem("vectors.f16", "is damaged, or of another index", REBUILD, derived=True)]
    assert {path.name: path.read_bytes() for path in home.path.iterdir()} == before
