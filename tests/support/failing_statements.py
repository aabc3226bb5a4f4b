"""A process that lets each change of a catalog fail at its Nth statement, for all N, and says what is left.

`python -m tests.support.failing_statements DIRECTORY` prints a JSON object for each change and each way to fail: how
many statements the change has, and after how many of the failures the catalog was as before, as after, or neither.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from image_index.catalog import schema
from image_index.catalog.catalog import Catalog
from image_index.catalog.runs import Run
from image_index.errors import StorageError
from image_index.records import Failure, ImageFile, KnownImage, Match, OtherName, Stage
from image_index.stop import StopRequest
from image_index.words import indexed_words
from tests.support.records import batch, facts, image_file

Change = Callable[[Catalog], object]
WAYS = ("raise before", "raise after", "kill before", "kill after")
DONE, FAILED, UNEXPECTED = 0, 1, 2
NOW_S = 2_000_000_000


class FailingConnection(sqlite3.Connection):
    """A connection whose statement number `fail_at` fails; an executemany is as many statements as it has rows."""

    fail_at = 0
    way = ""
    count = 0

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Run a statement, or fail before or after it."""
        cls = type(self)
        cls.count += 1
        if cls.count != cls.fail_at:
            return super().execute(sql, parameters)
        action, when = cls.way.split()
        cursor = super().execute(sql, parameters) if when == "after" else None
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        del cursor
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        """Run a statement for each row."""
        for row in parameters:
            self.execute(sql, row)
        return self.cursor()


def row(catalog: Catalog, path: bytes) -> KnownImage:
    """Return the row of a path that has one."""
    image = catalog.image_at(path)
    assert image is not None
    return image


CHANGES: dict[str, Change] = {
    "record": lambda c: c.record(
        batch(
            {b"/a": [0, 1, 0, 0], b"/new": [0, 0, 1, 0], b"/f": [0, 0, 0, 1]},
            [Failure(image_file(path), Stage.DECODE, "broken") for path in (b"/b", b"/g")],
        )
    ),
    "move": lambda c: c.move([Match(image_file(b"/b"), row(c, b"/a")), Match(image_file(b"/f"), row(c, b"/d/x"))]),
    "copy": lambda c: c.copy([Match(image_file(b"/new"), row(c, b"/a")), Match(image_file(b"/b"), row(c, b"/d/x"))]),
    "mark_missing": lambda c: c.mark_missing([row(c, b"/a"), row(c, b"/b")]),
    "forget": lambda c: c.forget(b"/d"),
    "forget all": lambda c: c.forget(b"/"),
    "prune": lambda c: c.prune(0),
    "add_names": lambda c: c.add_names([OtherName(b"/b", b"/a"), OtherName(b"/d/x", b"/a")]),
    "drop_names": lambda c: c.drop_names([b"/e", b"/d/e"]),
    "note_inodes": lambda c: c.note_inodes([(1, 5), (2, 6)]),
    "drop_failures": lambda c: c.drop_failures([b"/f", b"/d/f"]),
    "set_model": lambda c: c.set_model(facts(7)),
    "note_scan": lambda c: c.note_scan(b"/d", "gone"),
    "move_mark": lambda c: c.move_mark("dogs", 3),
    "runs": lambda c: Run(c, StopRequest()).begin(),
}


def fill(path: Path) -> None:
    """Make a catalog of four pictures, one of them missing and one with other names, two failures and a root."""
    with Catalog(path, write=True) as catalog:
        catalog.set_model(facts())
        broken = [Failure(ImageFile(name, 1, 1), Stage.DECODE, "broken") for name in (b"/f", b"/d/f")]
        catalog.record(
            batch({b"/a": [1, 0, 0, 0], b"/b": [1, 0, 0, 0], b"/d/x": [1, 0, 0, 0], b"/d/y": [1, 0, 0, 0]}, broken)
        )
        catalog.mark_missing([row(catalog, b"/d/y")])
        catalog.add_names([OtherName(b"/e", b"/d/x"), OtherName(b"/d/e", b"/d/x")])
        catalog.note_scan(b"/d", None)


NEXT = ("CREATE TABLE notes (a)", "INSERT INTO notes VALUES (1)", "ALTER TABLE roots ADD COLUMN note")
"""A migration that may come some day."""


def create(path: Path) -> None:
    """Make the tables of a new catalog."""
    schema.open_database(path, write=True).close()


def migrate(path: Path) -> None:
    """Bring a catalog to the schema that `NEXT` would make."""
    known = schema.MIGRATIONS, schema.SCHEMA_VERSION
    schema.MIGRATIONS, schema.SCHEMA_VERSION = (*schema.MIGRATIONS, NEXT), schema.SCHEMA_VERSION + 1
    try:
        create(path)
    finally:
        schema.MIGRATIONS, schema.SCHEMA_VERSION = known


def change_at(path: Path, change: Change) -> None:
    """Open the catalog and change it."""
    with Catalog(path, write=True) as catalog:
        change(catalog)


def state(path: Path) -> str:
    """Return all that the database says, less its random id; or that it is not sound."""
    with closing(sqlite3.connect(path)) as connection:
        connection.create_function("indexed_words", 1, indexed_words, deterministic=True)
        problems = [*connection.execute("PRAGMA integrity_check"), *connection.execute("PRAGMA foreign_key_check")]
        version = connection.execute("PRAGMA user_version").fetchone()
        if version != (0,):
            connection.execute("UPDATE meta SET value = '' WHERE key = 'catalog_id'")
        return json.dumps([problems, version, list(connection.iterdump())])


def attempt(path: Path, action: Callable[[Path], None], way: str, fail_at: int) -> bool:
    """Let `action` fail at one statement in a process of its own; tell whether it had as many."""
    child = os.fork()
    if child == 0:
        FailingConnection.way, FailingConnection.fail_at, FailingConnection.count = way, fail_at, 0
        connect = sqlite3.connect
        sqlite3.connect = lambda *a, **k: connect(*a, factory=FailingConnection, **k)  # type: ignore[assignment]
        code = UNEXPECTED
        try:
            with suppress(StorageError):
                action(path)
            code = FAILED if FailingConnection.count >= fail_at else DONE
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in {FAILED, DONE, -signal.SIGKILL}, code
    return code != DONE


def attack(directory: Path, name: str, prepare: Callable[[Path], None], action: Callable[[Path], None]) -> None:
    """Let one change fail in every way at every statement, and print what was left."""
    original = directory / "original"
    prepare(original)
    before = state(original)
    done = directory / "done"
    shutil.copy(original, done)
    action(done)
    names = {before: "before", state(done): "after"}
    for way in WAYS:
        left: Counter[str] = Counter()
        fail_at = 1
        while True:
            victim = directory / "victim"
            shutil.copy(original, victim)
            if not attempt(victim, action, way, fail_at):
                break
            left[names.get(state(victim), "other")] += 1
            with suppress(FileNotFoundError):
                for path in directory.glob("victim*"):
                    path.unlink()
            fail_at += 1
        print(json.dumps({"change": name, "way": way, "statements": fail_at - 1, "left": left}), flush=True)
    for path in directory.iterdir():
        path.unlink()


def main(directory: Path) -> None:
    """Attack every change."""
    time.time, time.time_ns = lambda: NOW_S, lambda: NOW_S * 10**9  # so that two runs leave the same
    for name, change in CHANGES.items():
        attack(directory, name, fill, lambda path, change=change: change_at(path, change))  # type: ignore[misc]
    attack(directory, "create", Path.touch, create)
    attack(directory, "migrate", fill, migrate)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
