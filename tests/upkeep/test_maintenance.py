"""What is done to an index on purpose: nothing goes that was not named, and a copy is an index."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from image_index.catalog.catalog import Catalog
from image_index.catalog.lock import exclusive_lock
from image_index.errors import IndexLocked, IndexNotFound, StorageError, UsageError
from image_index.paths import resolve
from image_index.records import Failure, ImageFile, Stage
from image_index.settings import IndexHome
from image_index.upkeep.maintenance import backup, forget, prune
from image_index.upkeep.verify import verify
from tests.support.library import Library, contents, counts, found, make_index, nearest, random_batch
from tests.support.records import batch
from tests.support.vector_files import NAMES, stamp_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

DAY_S = 86400


@pytest.fixture
def home(home: IndexHome) -> IndexHome:
    """Return an index of two roots, one picture in `/photos-2` whose name only begins like the first, and a failure."""
    make_index(home, 4)
    with Catalog(home.catalog, write=True) as catalog:
        catalog.record(random_batch(2, under=b"/photos/sub", seed=2))
        broken = Failure(ImageFile(b"/photos/sub/broken.jpg", 1, 1), Stage.DECODE, "broken")
        catalog.record(batch({b"/photos-2/x.jpg": [1, 0, 0, 0]}, [broken]))
        catalog.note_scan(b"/photos-2", None)
    return home


def state(home: IndexHome) -> tuple[dict[bytes, tuple[int, bytes]], list[bytes], list[bytes]]:
    """Return pictures, failures and roots."""
    with Catalog(home.catalog) as catalog:
        failures = [known.failure.file.path for known in catalog.failures()]
        return contents(home), failures, [root.path for root in catalog.roots()]


# Forget


@pytest.mark.parametrize(
    ("path", "gone", "failures_left", "roots_left"),
    [
        (b"/photos", 6, [], [b"/photos-2"]),
        (b"/photos/sub", 2, [], [b"/photos", b"/photos-2"]),
        (b"/photos/1-0.jpg", 1, [b"/photos/sub/broken.jpg"], [b"/photos", b"/photos-2"]),
        (b"/photos/sub/broken.jpg", 0, [], [b"/photos", b"/photos-2"]),
        (b"/", 7, [], []),
    ],
)
def test_forgetting_drops_what_is_at_or_inside_a_path_and_nothing_else(
    home: IndexHome, path: bytes, gone: int, failures_left: list[bytes], roots_left: list[bytes]
) -> None:
    """A root, a directory, a picture, a failure: its neighbours keep their ids and vectors."""
    before, _, _ = state(home)
    assert forget(home, (path,)) == gone
    pictures, failures, roots = state(home)
    assert (failures, roots) == (failures_left, roots_left)
    assert pictures.items() <= before.items()
    assert len(pictures) == len(before) - gone
    assert not any(left == path or left.startswith(path.rstrip(b"/") + b"/") for left in pictures)


@pytest.mark.parametrize("unknown", [b"/nowhere", b"/photo", b"/photos/1-", b"/photos/1-0.jpg/x"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_path_the_index_knows_nothing_of_drops_nothing_at_all(
    home: IndexHome, unknown: bytes, *, dry_run: bool
) -> None:
    """A slip of the keyboard beside a right path costs nothing; the message names the slip."""
    before = state(home)
    with pytest.raises(UsageError, match=rf"knows nothing of {unknown.decode()};.*imgidx status"):
        forget(home, (b"/photos", unknown), dry_run=dry_run)
    assert state(home) == before


def test_a_dry_run_counts_as_forgetting_does_and_drops_nothing(home: IndexHome) -> None:
    """Overlapping paths are counted once."""
    before = state(home)
    would = forget(home, (b"/photos/sub", b"/photos"), dry_run=True)
    assert state(home) == before
    assert forget(home, (b"/photos/sub", b"/photos")) == would


def test_a_forgotten_picture_is_found_no_more_though_faiss_still_holds_it(home: IndexHome) -> None:
    """The catalog has the last word."""
    query = np.frombuffer(contents(home)[b"/photos/1-0.jpg"][1], np.float32)
    assert found(home, query)[0] == b"/photos/1-0.jpg"
    forget(home, (b"/photos/1-0.jpg",))
    assert found(home, query) == nearest(home, query)
    assert b"/photos/1-0.jpg" not in found(home, query, 99)


@pytest.mark.parametrize("change", [lambda home: forget(home, (b"/photos",)), lambda home: prune(home, 0)])
def test_changes_wait_for_no_other_run(home: IndexHome, change: Callable[[IndexHome], int]) -> None:
    """While a run writes, nothing is dropped under it."""
    before = state(home)
    with exclusive_lock(home.lock), pytest.raises(IndexLocked):
        change(home)
    assert state(home) == before


@pytest.mark.parametrize("change", [lambda home: forget(home, (b"/photos",)), lambda home: prune(home, 0)])
def test_changing_an_index_that_is_not_there_makes_none(tmp_path: Path, change: Callable[[IndexHome], int]) -> None:
    """Not even its directory."""
    with pytest.raises(IndexNotFound):
        change(IndexHome(tmp_path / "nothing"))
    assert not (tmp_path / "nothing").exists()


def test_forgotten_pictures_that_are_there_come_back_with_the_next_run(tmp_path: Path) -> None:
    """Forgetting is no ban: a later run takes the directory in like a new one, under new ids."""
    library = Library(tmp_path / "photos", IndexHome(tmp_path / "index"))
    library.add("a.png", "b.png")
    library.train()
    before = library.rows()
    assert forget(library.home, (resolve(library.photos),)) == 2
    assert counts(library.train()) == {"embedded": 2}
    assert min(library.rows().values()) > max(before.values())


# Prune


def test_only_pictures_missing_for_long_enough_are_pruned(home: IndexHome) -> None:
    """One missing for 40 days, one for 20, the others there; a dry run counts the same and drops nothing."""
    with closing(sqlite3.connect(home.catalog)) as connection:
        for path, days in ((b"/photos/1-0.jpg", 40), (b"/photos/1-1.jpg", 20)):
            sql = "UPDATE images SET missing_since_s = CAST(strftime('%s') AS INTEGER) - ? WHERE path = ?"
            connection.execute(sql, (days * DAY_S, path))
        connection.commit()
    before = contents(home)
    for days, paths in ((50, set()), (30, {b"/photos/1-0.jpg"}), (30, set()), (20, {b"/photos/1-1.jpg"}), (0, set())):
        there = contents(home)
        assert prune(home, days * DAY_S, dry_run=True) == len(paths)
        assert contents(home) == there
        assert prune(home, days * DAY_S) == len(paths)
        assert there.keys() - contents(home).keys() == paths
    assert contents(home).items() <= before.items()


# Backup


def test_a_backup_is_an_index_that_searches_and_trains(tmp_path: Path) -> None:
    """Nothing is embedded twice because of it, and the original is not touched by a run on the copy."""
    library = Library(tmp_path / "photos", IndexHome(tmp_path / "index"))
    library.add("a.png", "b.png", "c.png")
    library.train()
    before = contents(library.home)
    copy = Library(library.photos, backup(library.home, tmp_path / "copy"), library.count)
    assert contents(copy.home) == before
    for _, vector in before.values():
        query = np.frombuffer(vector, np.float32)
        assert found(copy.home, query) == found(library.home, query)
    copy.add("d.png")
    assert counts(copy.train()) == {"embedded": 1, "unchanged": 3}
    assert list(verify(copy.home)) == []
    assert contents(library.home) == before


def test_a_backup_put_in_the_place_of_a_lost_index_goes_on(tmp_path: Path) -> None:
    """Restoring is a move."""
    library = Library(tmp_path / "photos", IndexHome(tmp_path / "index"))
    library.add("a.png", "b.png")
    library.train()
    copy = backup(library.home, tmp_path / "copy")
    shutil.rmtree(library.home.path)
    copy.path.rename(library.home.path)
    library.add("c.png")
    assert counts(library.train()) == {"embedded": 1, "unchanged": 2}


def test_every_file_of_a_backup_is_private(home: IndexHome, tmp_path: Path) -> None:
    """The copy of a private index is private, whatever the umask and the mode of what is copied."""
    home.moments.chmod(0o644)
    copy = backup(home, tmp_path / "made" / "copy")
    assert {path.name for path in copy.path.iterdir()} == {"catalog.sqlite3", *NAMES, "moments.f32"}
    assert stat.S_IMODE(copy.path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in copy.path.iterdir()} == {0o600}


@pytest.mark.parametrize("kind", ["directory", "file", "itself"])
def test_a_place_that_holds_something_is_refused_untouched(home: IndexHome, tmp_path: Path, kind: str) -> None:
    """A backup overwrites nothing, not even an older backup."""
    destination = home.path if kind == "itself" else tmp_path / "there"
    if kind == "directory":
        destination.mkdir()
        (destination / "note").write_text("mine")
    elif kind == "file":
        destination.write_text("mine")
    before = state(home)
    with pytest.raises(UsageError, match="name a new directory"):
        backup(home, destination)
    assert state(home) == before
    assert kind != "file" or destination.read_text() == "mine"
    assert kind != "directory" or [path.name for path in destination.iterdir()] == ["note"]


def test_a_place_that_cannot_be_made_is_a_storage_error(home: IndexHome, tmp_path: Path) -> None:
    """The destination is named."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/copy"):
        backup(home, tmp_path / "file" / "copy")


def test_a_backup_beside_a_writer_is_of_one_moment(home: IndexHome, tmp_path: Path) -> None:
    """Batches of seven, committed as fast as they can be: each copy holds whole batches, all there were before it."""
    committed, done = [0], threading.Event()

    def write() -> None:
        with Catalog(home.catalog, write=True) as catalog:
            while not done.is_set():
                catalog.record(random_batch(7, under=b"/w", seed=100 + committed[0]))
                committed[0] += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(8):
            before = committed[0]
            copy = backup(home, tmp_path / f"copy-{number}")
            with Catalog(copy.catalog) as catalog:
                count = len(catalog.ids_under(b"/w"))
                assert list(catalog.integrity_problems()) == []
                assert catalog.stamp().count == len(contents(copy))
            assert count % 7 == 0
            assert before * 7 <= count <= (committed[0] + 1) * 7
    finally:
        done.set()
        writer.join()
    assert committed[0] > 8


def test_a_file_of_vectors_older_than_the_catalog_beside_it_never_lies(home: IndexHome, tmp_path: Path) -> None:
    """Pictures dropped, changed and added since: a search of the copy is that of the exact vectors."""
    forget(home, (b"/photos/1-0.jpg",))
    with Catalog(home.catalog, write=True) as catalog:
        catalog.record(batch({b"/photos/1-1.jpg": [0, 1, 0, 0], b"/photos/new.jpg": [0, 0, 1, 0]}))
    copy = backup(home, tmp_path / "copy")
    with Catalog(copy.catalog) as catalog:
        stamp = stamp_of(copy)
        assert stamp is not None
        assert stamp.generation < catalog.stamp().generation
    for query in np.eye(4, dtype=np.float32):
        assert found(copy, query, 9) == nearest(copy, query, 9)
    assert contents(copy) == contents(home)
