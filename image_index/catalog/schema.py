"""The catalog's tables, and opening a catalog.

The tables are made by numbered migrations. Each is committed together with its number, SQLite's `user_version`, so that
a process that is killed leaves either the old schema or the new one, and the next one goes on from there.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from image_index.errors import IndexMismatch, IndexNotFound, StorageError
from image_index.settings import IndexHome
from image_index.words import indexed_words

APPLICATION_ID = 0x696D6778
"""SQLite's application_id of our catalogs, the letters `imgx`: no other program's database is taken for one."""

# Which three letters are in which path: search --name asks it for the few paths that are then compared themselves, so
# it may say too much. Without positions (detail=none) it takes 66 bytes a picture instead of 193. Each statement that
# writes to it costs a flush: new images are added once a transaction, by `index_words`, and not by a trigger.
_ADD_WORDS = "INSERT INTO image_words (rowid, path) VALUES (new.id, indexed_words(new.path));"
_DROP_WORDS = "INSERT INTO image_words (image_words, rowid, path) VALUES ('delete', old.id, indexed_words(old.path));"
_HAS_WORDS = "old.id <= (SELECT value FROM meta WHERE key = 'words_up_to_id')"
WORDS = (
    "INSERT INTO meta VALUES ('words_up_to_id', 0)",
    "CREATE VIEW words_of_images AS SELECT id, indexed_words(path) AS path FROM images",
    """CREATE VIRTUAL TABLE image_words USING fts5 (
        path, content = 'words_of_images', content_rowid = 'id', tokenize = 'trigram case_sensitive 1',
        detail = none, columnsize = 0)""",
    "CREATE VIRTUAL TABLE image_trigrams USING fts5vocab (image_words, instance)",
    f"CREATE TRIGGER words_deleted AFTER DELETE ON images WHEN {_HAS_WORDS} BEGIN {_DROP_WORDS} END",
    f"""CREATE TRIGGER words_updated AFTER UPDATE OF path ON images WHEN old.path != new.path AND {_HAS_WORDS}
        BEGIN {_DROP_WORDS} {_ADD_WORDS} END""",
)
"""What keeps the words of the paths, which a few builds of SQLite cannot."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # key/value: catalog_id (hex), generation (how many images have come or gone so far), words_up_to_id (the images
        # after this id are not in image_words yet)
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID",
        """CREATE TABLE model (
            only INTEGER PRIMARY KEY CHECK (only = 1), name TEXT NOT NULL, fingerprint TEXT NOT NULL,
            weights_sha256 TEXT NOT NULL, config TEXT NOT NULL, preprocess TEXT NOT NULL, dim INTEGER NOT NULL)""",
        "CREATE TABLE roots (path BLOB PRIMARY KEY, added_at_s INTEGER NOT NULL, scanned_at_s INTEGER, problem TEXT)",
        # moment_ms is not used yet: docs/reference.md says what it is for
        """CREATE TABLE images (
            id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB NOT NULL, moment_ms INTEGER, size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL, sha256 BLOB NOT NULL, read_at_ns INTEGER NOT NULL, width INTEGER NOT NULL,
            height INTEGER NOT NULL, format TEXT NOT NULL, taken_at_s INTEGER, date_source TEXT NOT NULL DEFAULT 'file',
            camera TEXT, latitude REAL, longitude REAL, altitude_m REAL, phash BLOB, missing_since_s INTEGER,
            inode INTEGER NOT NULL DEFAULT 0)""",
        # coalesce, for SQL takes two NULLs for different: UNIQUE (path, moment_ms) would let a picture in twice
        "CREATE UNIQUE INDEX images_by_path ON images (path, coalesce(moment_ms, -1))",
        "CREATE INDEX images_by_size ON images (size)",
        "CREATE INDEX images_by_inode ON images (inode)",
        # for the filters of a search; the expression is `image_index.catalog.filters.DATE`, letter by letter
        "CREATE INDEX images_by_date ON images (coalesce(taken_at_s, mtime_ns / 1000000000))",
        "CREATE INDEX images_by_camera ON images (camera)",
        "CREATE INDEX images_by_format ON images (format)",
        "CREATE INDEX images_by_shape ON images (width, height)",
        "CREATE INDEX images_by_position ON images (latitude, longitude) WHERE latitude IS NOT NULL",
        "CREATE INDEX images_missing ON images (missing_since_s) WHERE missing_since_s IS NOT NULL",
        # little-endian float16, apart from the rows so that a walk over paths does not read a gigabyte of vectors; null
        # for a picture to which the model gives no direction
        """CREATE TABLE vectors (
            image_id INTEGER PRIMARY KEY REFERENCES images (id) ON DELETE CASCADE, vector BLOB)""",
        "CREATE INDEX vectors_none ON vectors (image_id) WHERE vector IS NULL",
        # apart for the same reason; `image_index.grid` says what is in it
        """CREATE TABLE grids (
            image_id INTEGER PRIMARY KEY REFERENCES images (id) ON DELETE CASCADE, grid BLOB NOT NULL)""",
        # dupes --keep: pairs that are shown no more, one < other. A picture whose content changes gets another id.
        """CREATE TABLE kept (
            one INTEGER NOT NULL REFERENCES images (id) ON DELETE CASCADE,
            other INTEGER NOT NULL REFERENCES images (id) ON DELETE CASCADE,
            PRIMARY KEY (one, other)) WITHOUT ROWID""",
        "CREATE INDEX kept_by_other ON kept (other)",
        # paths that lead to the same file as another path, `main`, which has the row in images or failures. That path
        # and not the id of a row: other names are noted before the file is read, and outlast a change of its content.
        "CREATE TABLE names (path BLOB PRIMARY KEY, main BLOB NOT NULL) WITHOUT ROWID",
        "CREATE INDEX names_by_main ON names (main)",
        # the images that have changed or gone, each under its newest number: `image_index.catalog.changes` reads it.
        # Triggers write it, so that no change is forgotten; none does for a new image, which is known by its id.
        "CREATE TABLE changed (number INTEGER PRIMARY KEY AUTOINCREMENT, image_id INTEGER NOT NULL UNIQUE)",
        """CREATE TRIGGER images_updated AFTER UPDATE OF path, mtime_ns, missing_since_s ON images
            WHEN old.path IS NOT new.path OR old.mtime_ns IS NOT new.mtime_ns
                OR (old.missing_since_s IS NULL) IS NOT (new.missing_since_s IS NULL)
            BEGIN
                DELETE FROM changed WHERE image_id = new.id;
                INSERT INTO changed (image_id) VALUES (new.id);
            END""",
        """CREATE TRIGGER images_deleted AFTER DELETE ON images BEGIN
                DELETE FROM changed WHERE image_id = old.id;
                INSERT INTO changed (image_id) VALUES (old.id);
            END""",
        *(
            f"""CREATE TRIGGER names_{verb.lower()} AFTER {verb} ON names BEGIN
                DELETE FROM changed WHERE image_id IN (SELECT id FROM images WHERE path IN ({mains}));
                INSERT INTO changed (image_id) SELECT id FROM images WHERE path IN ({mains});
            END"""
            for verb, mains in (("INSERT", "new.main"), ("DELETE", "old.main"), ("UPDATE", "old.main, new.main"))
        ),
        """CREATE TABLE failures (
            path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, stage TEXT NOT NULL,
            reason TEXT NOT NULL, attempts INTEGER NOT NULL, first_failed_at_s INTEGER NOT NULL,
            last_failed_at_s INTEGER NOT NULL)""",
        """CREATE TABLE runs (
            id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, priority TEXT NOT NULL DEFAULT 'normal',
            request TEXT NOT NULL DEFAULT '{}', asked_at_s INTEGER NOT NULL, started_at_s INTEGER,
            stop_asked_at_s INTEGER, ended_at_s INTEGER, outcome TEXT NOT NULL, exit_code INTEGER, error TEXT,
            tries INTEGER NOT NULL DEFAULT 0,
            progress TEXT NOT NULL DEFAULT '{}', summary TEXT NOT NULL DEFAULT '{}')""",
        "CREATE INDEX runs_open ON runs (id) WHERE ended_at_s IS NULL",
        # vector: little-endian float32, so that a repeated search scores the same, and the CRC-32 of the row
        """CREATE TABLE queries (
            text BLOB PRIMARY KEY, fingerprint TEXT NOT NULL, vector BLOB NOT NULL, used_at_s INTEGER NOT NULL)""",
        "CREATE INDEX queries_by_use ON queries (used_at_s)",
        # search --since-last: the newest picture that a search of this name has shown
        "CREATE TABLE marks (name TEXT PRIMARY KEY, last_id INTEGER NOT NULL, moved_at_s INTEGER NOT NULL)",
        "INSERT INTO meta VALUES ('catalog_id', lower(hex(randomblob(16)))), ('generation', 0)",
        *WORDS,
    ),
)
"""The statements of each migration. One that has been released is never changed: another is added behind it."""

SCHEMA_VERSION = len(MIGRATIONS)

BUSY_S = 60.0
"""How long to wait for another process that is writing."""


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into `StorageError`s that name the catalog and the next step."""
    try:
        yield
    except sqlite3.OperationalError as error:
        # one that was made with FTS5 can be written to only by an SQLite that has it
        step = "use a Python whose SQLite has it" if "no such module" in str(error) else "check the disk and run again"
        raise StorageError(f"cannot use the catalog {path}: {error}", step) from error
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CORRUPT_VTAB:  # what is in FTS5's tables
            raise StorageError(
                f"the words of the paths in {path} are damaged", "make them anew with: imgidx verify --repair"
            ) from error
        raise damaged(path, error) from error
    except UnicodeDecodeError as error:  # a text that is none any more
        raise damaged(path, error) from error


def damaged(path: Path, what: object) -> StorageError:
    """Return the error for a corrupt catalog; `what` is what was found."""
    return StorageError(
        f"the catalog {path} is damaged ({what})", "restore it from a backup, or move it away and train again"
    )


@contextmanager
def atomic(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """Run a block as one transaction, for writing unless another kind is named: all of it is stored, or nothing."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def is_there(path: Path) -> bool:
    """Tell whether there is a catalog at `path`.

    Raises `StorageError` where that cannot be seen, and for a file without a byte beside an index that was built from
    it: to SQLite that is a new database, and a training would begin anew.
    """
    home = IndexHome(path.parent)
    try:
        if not path.exists():
            return False
        if path.stat().st_size == 0 and home.vectors.exists():
            raise damaged(path, f"it is empty, and {home.vectors.name} beside it is not")
    except OSError as error:  # a directory that this user may not enter, or a name that is too long
        step = "look at its owner and permissions, or use another --index"
        raise StorageError(f"cannot look into {path.parent}: {error.strerror}", step) from error
    return True


def open_database(path: Path, *, write: bool) -> sqlite3.Connection:
    """Open the catalog at `path` and migrate it to this schema; only `write` creates it.

    Without `write` a catalog that cannot be migrated is read as it is: one in a read-only directory, on a full disk, or
    to which another process is writing. Raises `IndexNotFound` where there is none, `IndexMismatch` for a newer schema
    or another program's database, and `StorageError` for whatever SQLite refuses.
    """
    if not is_there(path):
        if not write:
            raise IndexNotFound(f"no index in {path.parent}", "make one with: imgidx train DIRECTORY")
        with storage_errors(path):
            _create_private(path)
    with storage_errors(path):
        try:
            return _connect(path, "mode=rw", write=write)
        except sqlite3.OperationalError:
            if write or not _is_at_rest(path):
                raise
            return _connect(path, "mode=ro&immutable=1", write=False)


def open_untouched(path: Path) -> sqlite3.Connection:
    """Open the catalog at `path` without migrating it or writing a byte; raises what `open_database` raises.

    What a killed run left in the journal is read too, unless SQLite would have to write for that.
    """
    if not is_there(path):
        raise IndexNotFound(f"no index in {path.parent}", "make one with: imgidx train DIRECTORY")
    # Even a read-only connection makes journal files and removes them. `immutable` prevents that but ignores a journal,
    # so it serves only where there is none; `readonly_shm` reads one that is there and leaves it alone.
    journals = [path.with_name(path.name + suffix) for suffix in ("-shm", "-wal")]
    in_use = any(journal.exists() for journal in journals)
    mode = "mode=ro&readonly_shm=1" if in_use else "mode=ro&immutable=1"
    with storage_errors(path):
        connection = sqlite3.connect(f"{path.as_uri()}?{mode}", uri=True, isolation_level=None)
        try:
            _check_ours(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _connect(path: Path, mode: str, *, write: bool) -> sqlite3.Connection:
    """Open the catalog at `path`, check that it is ours, and migrate it; a reader goes on where it may not."""
    # isolation_level=None is autocommit: Python opens no transactions by itself, `atomic` says where they are
    connection = sqlite3.connect(f"{path.as_uri()}?{mode}", uri=True, isolation_level=None, timeout=BUSY_S)
    connection.create_function("indexed_words", 1, indexed_words, deterministic=True)
    try:
        _check_ours(connection, path)
        _set_up(connection)
        if write or version_of(connection) == 0:  # a reader too: without tables there is nothing to read
            _migrate(connection)
        else:
            with unless_refused(connection):
                _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _is_at_rest(path: Path) -> bool:
    """Tell whether no process writes to the catalog at `path`: then it can be read without journal files.

    SQLite needs them even to read, and cannot make them on a full disk or in a directory that it may not write to.
    """
    journal = path.with_name(path.name + "-wal")
    return not journal.exists() or journal.stat().st_size == 0


def _create_private(path: Path) -> None:
    """Create an empty file that only its owner can read; SQLite gives its journal files the same mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError as error:
        raise StorageError(f"cannot create the catalog {path}: {error.strerror}") from error


def _check_ours(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `IndexMismatch` for another program's database or a newer schema, before anything is written to it."""
    connection.execute("BEGIN")  # one snapshot for all three: another process may be creating the tables right now
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = version_of(connection)
    connection.execute("COMMIT")
    if (tables or version) and application != APPLICATION_ID:
        raise IndexMismatch(f"{path} is not an imgidx catalog", "use another --index")
    if version < 0:
        raise damaged(path, f"schema {version}")
    if version > SCHEMA_VERSION:
        raise IndexMismatch(
            f"the index in {path.parent} has schema {version}, newer than this imgidx knows ({SCHEMA_VERSION})",
            "upgrade imgidx, or use another --index",
        )


def _set_up(connection: sqlite3.Connection) -> None:
    """Apply the settings every reader and writer needs.

    WAL lets readers work beside the writer. `synchronous=FULL` makes a commit survive a power cut: one fsync a batch.
    """
    give_up = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        # Changing the journal mode is the one thing for which SQLite's busy timeout does not wait.
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.01)
    connection.execute("PRAGMA synchronous=FULL")
    # on macOS fsync leaves the data in the drive's cache; these two ask for F_FULLFSYNC there, and do nothing elsewhere
    connection.execute("PRAGMA fullfsync=ON")
    connection.execute("PRAGMA checkpoint_fullfsync=ON")
    connection.execute("PRAGMA foreign_keys=ON")


def _migrate(connection: sqlite3.Connection) -> None:
    """Apply the migrations that `connection` lacks, each in a transaction of its own."""
    version = version_of(connection)
    for number in range(version, SCHEMA_VERSION):
        with atomic(connection):
            if version_of(connection) != number:  # another process was first
                continue
            can_keep_words = has_fts5(connection)
            for statement in MIGRATIONS[number]:
                if can_keep_words or statement not in WORDS:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number + 1}")


@contextmanager
def unless_refused(connection: sqlite3.Connection) -> Iterator[None]:
    """Run a block that writes something a reader can do without: it does not wait, and a refusal is no error.

    A busy, read-only or full database refuses. Nothing is synced to the disk: WAL keeps the catalog consistent without
    that, and what is written here may be lost in a power cut.
    """
    refusals = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN}
    refusals |= {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_LOCKED}
    connection.execute("PRAGMA busy_timeout = 0")
    connection.execute("PRAGMA synchronous = NORMAL")
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in refusals:
            raise
    finally:
        connection.execute(f"PRAGMA busy_timeout = {int(BUSY_S * 1000)}")
        connection.execute("PRAGMA synchronous = FULL")


def version_of(connection: sqlite3.Connection) -> int:
    """Return the number of migrations applied so far."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def has_fts5(connection: sqlite3.Connection) -> bool:
    """Tell whether this build of SQLite has FTS5, as all but a few have."""
    return connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone() is not None


def sqlite_version() -> str:
    """Return the version of SQLite itself."""
    return sqlite3.sqlite_version


def copy_database(connection: sqlite3.Connection, path: Path) -> None:
    """Copy the database of `connection` to a new private file at `path`, with SQLite's online backup.

    Raises sqlite3's `DatabaseError` where the copy fails SQLite's checks: it must not replace a good backup.
    """
    _create_private(path)
    copy = sqlite3.connect(path)
    try:
        connection.backup(copy, pages=4096)
        problem = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise sqlite3.DatabaseError(problem)
    finally:
        copy.close()
