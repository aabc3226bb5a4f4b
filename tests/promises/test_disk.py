"""A disk that is full, read-only, forbidden or failing: exit 9 with the cause, nothing lost, and on it goes."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from image_index.catalog.catalog import Catalog
from image_index.errors import StorageError
from image_index.records import Progress, Stage
from image_index.settings import IndexHome
from image_index.training.pipeline import update_index
from image_index.upkeep.verify import verify
from tests.support.confined import run_confined
from tests.support.library import Library, contents, counts, make_index, random_batch
from tests.support.vector_files import are_whole, flip, read_all, stamp_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TRAIN = """
import sys
from pathlib import Path
from image_index.errors import ImgidxError
from image_index.settings import IndexHome
from tests.support.library import Library
try:
    print(Library(Path(sys.argv[1]), IndexHome(Path(sys.argv[2]))).train().embedded)
except ImgidxError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """Return a library of 40 pictures under long names, not indexed yet."""
    made = Library(tmp_path / "photos", IndexHome(tmp_path / "index"))
    made.add(*(f"{number:02d}-{'x' * 200}.png" for number in range(40)))
    return made


def train_confined(library: Library, file_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    """Train in a process that cannot write files of more than `file_bytes`."""
    return run_confined("-c", TRAIN, library.photos, library.home.path, file_bytes=file_bytes)


@contextmanager
def forbidden(path: Path, mode: int = 0o500) -> Iterator[None]:
    """Take permissions away for a while."""
    before = stat.S_IMODE(path.stat().st_mode)
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


# Full


@pytest.mark.parametrize("limit", [0, 1, 4096, 50_000, 260_000, 300_000])
def test_a_disk_that_fills_up_while_batches_are_committed_loses_none_of_them(library: Library, limit: int) -> None:
    """Exit 9 with the cause; what was committed stays, and once there is room the run goes on from there."""
    done = train_confined(library, limit)
    assert done.returncode == 9, done.stderr
    assert "Traceback" not in done.stderr
    assert any(cause in done.stderr for cause in ("disk I/O error", "full", "File too large")), done.stderr
    before = contents(library.home) if library.home.catalog.exists() and library.home.catalog.stat().st_size else {}
    assert len(before) < 40
    assert limit < 260_000 or before
    again = train_confined(library)
    assert (again.returncode, again.stdout) == (0, f"{40 - len(before)}\n"), again.stderr
    assert before.items() <= contents(library.home).items()
    assert list(verify(library.home)) == []


BUILD = """
import sys
from pathlib import Path
from image_index.catalog.catalog import Catalog
from image_index.errors import StorageError
from image_index.training.freshness import build_if_stale
from image_index.settings import IndexHome
home = IndexHome(Path(sys.argv[1]))
with Catalog(home.catalog) as catalog:
    try:
        build_if_stale(catalog, home, lambda _: None)
    except StorageError as error:
        sys.exit(str(error))
"""


@pytest.mark.parametrize("limit", [0, 100, 7_900, 8_100, 12_700])
@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_disk_that_fills_up_while_vectors_are_written_leaves_the_old_ones(
    tmp_path: Path, limit: int, is_damaged: bool
) -> None:
    """No half file, no draft, whether they are appended or written anew; a later run writes them."""
    home = IndexHome(tmp_path / "index")
    make_index(home, 500, dim=8)
    if is_damaged:
        flip(home.vectors, 100)
    whole = read_all(home)
    assert len(whole["vectors.f16"]) == 8_000
    with Catalog(home.catalog, write=True) as catalog:
        catalog.record(random_batch(300, dim=8, seed=2))
    before = contents(home)
    done = run_confined("-c", BUILD, home.path, file_bytes=limit)
    assert done.returncode == 1, done.stderr
    assert "free some disk space and run again" in done.stderr
    now = read_all(home)
    assert {name: now[name][: len(content)] for name, content in whole.items()} == whole
    assert are_whole(home) != is_damaged
    assert not list(home.path.glob("*.tmp"))
    assert contents(home) == before
    assert run_confined("-c", BUILD, home.path).returncode == 0
    with Catalog(home.catalog) as catalog:
        assert stamp_of(home) == catalog.stamp()


LOCK = """
import sys
from pathlib import Path
from image_index.catalog.lock import exclusive_lock
with exclusive_lock(Path(sys.argv[1])):
    print("held")
"""


def test_a_full_disk_does_not_keep_the_lock_from_working(tmp_path: Path) -> None:
    """Who holds it cannot be written down; it is held all the same."""
    done = run_confined("-c", LOCK, tmp_path / "lock", file_bytes=0)
    assert (done.returncode, done.stdout) == (0, "held\n"), done.stderr


BACKUP = """
import sys
from pathlib import Path
from image_index.errors import StorageError
from image_index.upkeep.maintenance import backup
from image_index.settings import IndexHome
try:
    backup(IndexHome(Path(sys.argv[1])), Path(sys.argv[2]))
except StorageError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("limit", [0, 5000, 30_000])
def test_a_backup_that_does_not_fit_leaves_no_half_copy(tmp_path: Path, limit: int) -> None:
    """Neither draft nor FAISS file: the same command works once there is room."""
    home = IndexHome(tmp_path / "index")
    make_index(home, 500, dim=8)
    done = run_confined("-c", BACKUP, home.path, tmp_path / "copy", file_bytes=limit)
    assert done.returncode == 1
    assert "cannot write the backup" in done.stderr
    assert list((tmp_path / "copy").iterdir()) == []
    assert run_confined("-c", BACKUP, home.path, tmp_path / "copy").returncode == 0
    assert contents(IndexHome(tmp_path / "copy")) == contents(home)


# Read-only


ANSWER = """
import sys
from pathlib import Path
import numpy as np
from image_index.catalog.catalog import Catalog
from image_index.search.ranking import SearchOptions
from image_index.settings import IndexHome
from image_index.upkeep.verify import verify
from tests.support.library import search
home = IndexHome(Path(sys.argv[1]))
with Catalog(home.catalog) as catalog:
    print(catalog.counts().images, len(search(catalog, home, np.eye(1, 4, dtype=np.float32)[0], SearchOptions(5))))
print(list(verify(home)))
"""
READ = (
    """
import sys
from pathlib import Path
try:
    (Path(sys.argv[1]) / "probe").touch()
    sys.exit("the permission bits do not bind this process")
except PermissionError:
    pass
"""
    + ANSWER
)


@pytest.mark.parametrize("file_mode", [0o600, 0o400])
def test_an_index_home_that_cannot_be_written_is_read(tmp_path: Path, file_mode: int) -> None:
    """Search, status and verify work on a read-only index, and leave it as it is."""
    home = IndexHome(tmp_path / "index")
    make_index(home, 20)
    for path in home.path.iterdir():
        path.chmod(file_mode)
    before = {path.name: path.read_bytes() for path in home.path.iterdir()}
    with forbidden(home.path):
        done = run_confined("-c", READ, home.path)
        status = run_confined("-m", "image_index", "status", "--json", "--index", home.path)
        train = run_confined("-m", "image_index", "train", tmp_path, "--index", home.path, "--model", "starter")
    assert (done.returncode, done.stdout) == (0, "20 5\n[]\n"), done.stderr
    assert (status.returncode, status.stderr) == (0, "")
    assert '"images": 20' in status.stdout
    assert train.returncode == 9
    assert "ermission denied" in train.stderr
    assert {path.name: path.read_bytes() for path in home.path.iterdir()} == before


def test_a_full_disk_does_not_keep_an_index_from_being_read(tmp_path: Path) -> None:
    """Not even SQLite's journal files can be made; search, status and verify answer all the same."""
    home = IndexHome(tmp_path / "index")
    make_index(home, 20)
    before = {path.name: path.read_bytes() for path in home.path.iterdir()}
    done = run_confined("-c", ANSWER, home.path, file_bytes=0)
    status = run_confined("-m", "image_index", "status", "--json", "--index", home.path, file_bytes=0)
    assert (done.returncode, done.stdout) == (0, "20 5\n[]\n"), done.stderr
    assert (status.returncode, status.stderr) == (0, "")
    assert '"images": 20' in status.stdout
    assert {name: (home.path / name).read_bytes() for name in before} == before


def test_what_a_killed_run_left_in_its_journal_is_read_or_refused_on_a_read_only_home(tmp_path: Path) -> None:
    """With its -wal and -shm it is read, journal included; a -wal alone needs a place to write, which is said."""
    home = IndexHome(tmp_path / "index")
    make_index(home, 19)
    with Catalog(home.catalog, write=True) as catalog:
        catalog.forget(b"/photos/1-0.jpg")
        copy = IndexHome(tmp_path / "copy")
        copy.create()
        for path in home.path.iterdir():
            (copy.path / path.name).write_bytes(path.read_bytes())
    with forbidden(copy.path):
        done = run_confined("-c", READ, copy.path)
    assert (done.returncode, done.stdout.splitlines()[:1]) == (0, ["18 5"]), done.stderr
    copy.catalog.with_name("catalog.sqlite3-shm").unlink()
    with forbidden(copy.path):
        done = run_confined("-m", "image_index", "status", "--index", copy.path)
    assert done.returncode == 9
    assert str(copy.catalog) in done.stderr
    assert run_confined("-m", "image_index", "status", "--index", copy.path).returncode == 0


# Permission lost, errors on read


def test_an_index_home_that_is_taken_away_in_the_middle_of_a_run_ends_it_with_the_cause(library: Library) -> None:
    """What is committed stays; with the directory back, the run goes on."""
    away = library.home.path.with_name("away")

    def take_away(progress: Progress) -> None:
        if progress.stage == "index":
            library.home.path.rename(away)

    with pytest.raises(StorageError, match=r"vectors\.f16"):
        update_index(library.request(), take_away)
    away.rename(library.home.path)
    assert len(contents(library.home)) == 40
    assert counts(library.train()) == {"unchanged": 40}
    assert list(verify(library.home)) == []


LOSE_PERMISSION = """
import sys
from pathlib import Path
from image_index.errors import ImgidxError
from image_index.training.pipeline import update_index
from image_index.settings import IndexHome
from tests.support.library import Library
library = Library(Path(sys.argv[1]), IndexHome(Path(sys.argv[2])))
def forbid(progress):
    if progress.stage == "embed":
        library.home.path.chmod(0o500)
try:
    update_index(library.request(), forbid)
except ImgidxError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def test_permission_lost_in_the_middle_of_a_run_costs_the_faiss_file_at_most(library: Library) -> None:
    """Batches go on into files that are open; the FAISS file cannot be made, which is exit 9; the next run makes it."""
    done = run_confined("-c", LOSE_PERMISSION, library.photos, library.home.path)
    library.home.path.chmod(0o700)
    assert done.returncode == 9, done.stderr
    assert "Permission denied" in done.stderr
    assert len(contents(library.home)) == 40
    assert counts(library.train()) == {"unchanged": 40}
    assert list(verify(library.home)) == []


def test_an_error_on_read_is_a_failure_of_that_file_alone(library: Library) -> None:
    """A bad sector: the neighbours are indexed, and the file is tried again when asked for."""
    library.add("unreadable-1.png", "unreadable-2.png")
    assert counts(library.train()) == {"embedded": 40, "failed": 2}
    with Catalog(library.home.catalog) as catalog:
        failures = [known.failure for known in catalog.failures()]
    assert {failure.stage for failure in failures} == {Stage.READ}
    assert {failure.reason for failure in failures} == {os.strerror(5)}
    assert counts(library.train()) == {"failed_before": 2, "unchanged": 40}
