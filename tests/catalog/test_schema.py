"""Opening a catalog: what is created, migrated, refused, and left untouched."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from image_index.catalog import schema
from image_index.catalog.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION, atomic, open_database
from image_index.errors import IndexMismatch, IndexNotFound, StorageError
from image_index.settings import IndexHome
from tests.support.confined import run_confined
from tests.support.shell import Shell


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a catalog that is not there yet."""
    return tmp_path / "catalog.sqlite3"


def create(path: Path) -> None:
    """Make a catalog."""
    open_database(path, write=True).close()


def execute(path: Path, *statements: str) -> None:
    """Run statements on a database as another program would."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def ask(path: Path, sql: str) -> object:
    """Return the first value of a query, asked as another program would."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchone()[0]


def test_new_catalog_has_the_newest_schema_and_an_id_of_its_own(tmp_path: Path) -> None:
    """Two catalogs are never taken for one another, and each says whose it is."""
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        create(path)
        assert ask(path, "PRAGMA user_version") == SCHEMA_VERSION
        assert ask(path, "PRAGMA application_id") == APPLICATION_ID
    sql = "SELECT value FROM meta WHERE key = 'catalog_id'"
    assert ask(paths[0], sql) != ask(paths[1], sql)


@pytest.mark.parametrize("setting", ["fullfsync", "checkpoint_fullfsync", "foreign_keys"])
def test_a_commit_is_asked_to_reach_the_disk(path: Path, setting: str) -> None:
    """On macOS fsync alone leaves it in the drive's cache."""
    with closing(open_database(path, write=True)) as connection:
        assert connection.execute(f"PRAGMA {setting}").fetchone() == (1,)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_opening_again_changes_nothing(path: Path) -> None:
    """A catalog that is current is not written to, not even by a writer that has nothing to say."""
    create(path)
    content = path.read_bytes()
    for write in (False, True):
        open_database(path, write=write).close()
        assert path.read_bytes() == content


def test_missing_catalog_is_not_created_by_a_reader(path: Path) -> None:
    """A search in the wrong place says how to make an index, and leaves nothing there."""
    with pytest.raises(IndexNotFound, match="imgidx train"):
        open_database(path, write=False)
    assert list(path.parent.iterdir()) == []


def test_catalog_that_cannot_be_created_is_a_storage_error(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(StorageError, match=r"gone/catalog\.sqlite3"):
        open_database(tmp_path / "gone" / "catalog.sqlite3", write=True)


@pytest.mark.parametrize("name", ["with space?#%41.db", "ünïcode", "new\nline", "-dash"])
def test_catalog_may_lie_anywhere(tmp_path: Path, name: str) -> None:
    """What means something in a URI means nothing in a path."""
    create(tmp_path / name)
    assert (tmp_path / name).stat().st_size > 0


def test_newer_schema_is_refused_untouched(path: Path) -> None:
    """An index of a later imgidx is not written to."""
    create(path)
    execute(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    content = path.read_bytes()
    for write in (False, True):
        with pytest.raises(IndexMismatch, match="upgrade imgidx"):
            open_database(path, write=write)
    assert path.read_bytes() == content


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION, SCHEMA_VERSION + 1])
def test_database_of_another_program_is_refused_untouched(path: Path, version: int) -> None:
    """Whatever its user_version says, it is not ours, and stays in its journal mode."""
    execute(
        path, "CREATE TABLE photos (name TEXT)", "INSERT INTO photos VALUES ('a')", f"PRAGMA user_version = {version}"
    )
    content = path.read_bytes()
    for write in (False, True):
        with pytest.raises(IndexMismatch, match="not an imgidx catalog"):
            open_database(path, write=write)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"not a database", b"SQLite format 3\0" + bytes(50), b"\xff" * 5000])
def test_garbage_is_a_storage_error_and_stays_as_it_is(path: Path, content: bytes) -> None:
    """What it is can still be found out; the message names the file and the next step."""
    path.write_bytes(content)
    for write in (False, True):
        with pytest.raises(StorageError, match=rf"{path}.*(move it away and train again|check the disk)"):
            open_database(path, write=write)
    assert path.read_bytes() == content


def test_damage_found_later_is_a_storage_error_too(path: Path) -> None:
    """A page that went bad under a valid header is named as damage."""
    create(path)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with (
        pytest.raises(StorageError, match="move it away"),
        closing(open_database(path, write=False)) as connection,
        schema.storage_errors(path),
    ):
        connection.execute("SELECT * FROM meta").fetchall()


def test_empty_file_is_a_catalog_not_begun(path: Path) -> None:
    """A run killed between creating the file and its tables leaves nothing to repair by hand."""
    path.touch()
    create(path)
    assert ask(path, "PRAGMA user_version") == SCHEMA_VERSION


def test_empty_file_beside_an_index_has_lost_what_was_in_it(path: Path) -> None:
    """A training would take it for a new catalog and embed everything again; a backup may be at hand."""
    path.touch()
    IndexHome(path.parent).vectors.write_bytes(b"built from something")
    for write in (False, True):
        with pytest.raises(StorageError, match=r"it is empty, and vectors\.f16 beside it is not\).*from a backup"):
            open_database(path, write=write)
    assert not path.read_bytes()


LATER = ("ALTER TABLE roots ADD COLUMN note DEFAULT 'new'",)
"""A migration that may come some day."""


@contextmanager
def migrations(*later: tuple[str, ...]) -> Iterator[None]:
    """Be an imgidx that knows these migrations too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, *later))
        patch.setattr(schema, "SCHEMA_VERSION", SCHEMA_VERSION + len(later))
        yield


@pytest.mark.parametrize("write", [True, False])
def test_older_schema_is_migrated(path: Path, *, write: bool) -> None:
    """What stood in it stays, and the new migration is applied once, by whoever comes first."""
    create(path)
    execute(path, "INSERT INTO roots VALUES (x'2f', 1, NULL, NULL)")
    with migrations(LATER):
        open_database(path, write=write).close()
        create(path)
    assert ask(path, "SELECT note FROM roots") == "new"
    assert ask(path, "PRAGMA user_version") == SCHEMA_VERSION + 1


def test_a_reader_leaves_an_older_schema_while_another_process_writes(path: Path) -> None:
    """It does not wait for a migration that it can do without; the next one applies it."""
    create(path)
    execute(path, "INSERT INTO roots VALUES (x'2f', 1, NULL, NULL)")
    with migrations(LATER), closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with closing(open_database(path, write=False)) as connection:
            assert connection.execute("SELECT path FROM roots").fetchone() == (b"/",)
            assert schema.version_of(connection) == SCHEMA_VERSION
        writer.execute("COMMIT")
        open_database(path, write=False).close()
        assert ask(path, "PRAGMA user_version") == SCHEMA_VERSION + 1


READ_OLDER = """
import sys
from pathlib import Path
from image_index.catalog import schema
schema.MIGRATIONS, schema.SCHEMA_VERSION = (*schema.MIGRATIONS, ("CREATE TABLE later (a)",)), schema.SCHEMA_VERSION + 1
connection = schema.open_database(Path(sys.argv[1]), write=False)
print(schema.version_of(connection), connection.execute("SELECT count(*) FROM images").fetchone()[0])
"""


@pytest.mark.parametrize("what", ["directory", "file"])
def test_a_reader_leaves_an_older_schema_that_it_may_not_write_to(path: Path, what: str) -> None:
    """Not a byte changes."""
    create(path)
    before = path.read_bytes()
    path.chmod(0o400)
    if what == "directory":
        path.parent.chmod(0o500)
    done = run_confined("-c", READ_OLDER, path)
    path.parent.chmod(0o700)
    assert (done.stdout, done.returncode) == (f"{SCHEMA_VERSION} 0\n", 0), done.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "words", [("status",), ("search", "a cat"), ("failures",), ("train", "."), ("verify",), ("forget", "/"), ("prune",)]
)
def test_an_index_of_a_later_schema_is_exit_5_and_stays_as_it_is(tmp_path: Path, words: tuple[str, ...]) -> None:
    """The message says what to do, and not a byte is written."""
    home = IndexHome(tmp_path / "index")
    home.create()
    create(home.catalog)
    execute(home.catalog, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = home.catalog.read_bytes()
    done = Shell(tmp_path).run(*words)
    assert (done.code, done.out) == (5, b"")
    assert "upgrade imgidx" in done.complaint
    assert home.catalog.read_bytes() == before


def test_failing_migration_leaves_the_old_version_whole(path: Path) -> None:
    """Half a migration is none; the one before it stays."""
    create(path)
    broken = ("CREATE TABLE first (a)",), ("CREATE TABLE second (a)", "CREATE NONSENSE")
    with migrations(*broken), pytest.raises(StorageError):
        create(path)
    assert ask(path, "PRAGMA user_version") == SCHEMA_VERSION + 1
    assert ask(path, "SELECT count(*) FROM sqlite_master WHERE name = 'first'") == 1
    assert ask(path, "SELECT count(*) FROM sqlite_master WHERE name = 'second'") == 0


def test_a_file_has_one_picture_and_may_have_one_for_each_moment(path: Path) -> None:
    """Room for videos: SQLite alone would take two NULLs for two moments."""
    create(path)
    columns = "path, moment_ms, size, mtime_ns, sha256, read_at_ns, width, height, format"
    insert = f"INSERT INTO images ({columns}) VALUES (x'2f', {{}}, 1, 1, x'00', 1, 4, 3, 'png')"
    execute(path, *(insert.format(moment) for moment in ("NULL", 0, 40)))
    for moment in ("NULL", 40):
        with pytest.raises(sqlite3.IntegrityError):
            execute(path, insert.format(moment))
    assert ask(path, "SELECT count(*) FROM images WHERE path = x'2f'") == 3


def test_transaction_is_all_or_nothing(path: Path) -> None:
    """An error, even one that SQLite knows nothing of, takes everything back."""
    with closing(open_database(path, write=True)) as connection:
        with suppress(KeyboardInterrupt), atomic(connection):
            connection.execute("INSERT INTO roots VALUES (x'2f', 1, NULL, NULL)")
            raise KeyboardInterrupt
        assert connection.execute("SELECT count(*) FROM roots").fetchone() == (0,)
        with atomic(connection):
            connection.execute("INSERT INTO roots VALUES (x'2f', 1, NULL, NULL)")
    assert ask(path, "SELECT count(*) FROM roots") == 1


def test_every_file_of_a_catalog_is_private(path: Path) -> None:
    """The journal holds paths too."""
    with closing(open_database(path, write=True)) as connection, atomic(connection):
        connection.execute("INSERT INTO roots VALUES (x'2f', 1, NULL, NULL)")
        files = list(path.parent.iterdir())
        assert len(files) == 3
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


OPENER = """
import sys
from pathlib import Path
from image_index.catalog.schema import open_database
for directory in sys.argv[1:]:
    input()
    open_database(Path(directory), write=True).close()
    print("opened", flush=True)
"""


def test_processes_that_open_a_new_catalog_at_once_all_succeed(tmp_path: Path) -> None:
    """Whoever comes second finds either nothing or a whole schema, never a half."""
    paths = [tmp_path / str(number) for number in range(15)]
    openers = [
        subprocess.Popen([sys.executable, "-c", OPENER, *paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    try:
        for _ in paths:
            for opener in openers:
                assert opener.stdin is not None
                opener.stdin.write(b"\n")
                opener.stdin.flush()
            for opener in openers:
                assert opener.stdout is not None
                assert opener.stdout.readline() == b"opened\n"
    finally:
        for opener in openers:
            opener.communicate()
    assert {ask(path, "SELECT count(*) FROM meta") for path in paths} == {3}
