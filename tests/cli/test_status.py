"""`imgidx status` and `imgidx failures` as users and scripts run them."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from image_index.catalog.catalog import Catalog
from image_index.records import EmbeddedBatch, Failure, ImageFile, Stage
from image_index.settings import IndexHome
from tests.cli.conftest import Trained
from tests.support.records import facts
from tests.support.shell import SUMMARY_KEYS, Done, Shell

pytestmark = pytest.mark.timeout(180)


def test_status_json_is_one_object_with_pinned_keys(searcher: Shell, library: Trained) -> None:
    """What cron's mail would show."""
    (status,) = searcher.run("status", "--json").records
    keys = ["images", "missing", "failures", "without_vector", "roots", "model", "dim", "bytes", "last_run"]
    assert list(status) == keys
    assert (status["images"], status["missing"], status["failures"]) == (len(library.good), 0, 1)
    assert (status["model"], status["dim"]) == ("starter", 512)
    on_disk = sum(path.stat().st_size for path in library.index.rglob("*") if path.is_file())
    assert on_disk <= status["bytes"] <= on_disk + (32 << 10)  # SQLite's scratch file while the catalog is open
    assert set(SUMMARY_KEYS) <= set(status["last_run"])


def test_status_for_people_is_a_few_lines(searcher: Shell, library: Trained) -> None:
    """Counts, model, and each root."""
    done = searcher.run("status")
    lines = done.out.decode().splitlines()
    assert f"pictures   {len(library.good)}" in lines
    assert "model      starter, 512 dimensions" in lines
    assert f"root       {os.path.realpath(library.photos)}" in lines


def test_failures_are_listed_with_their_reason(searcher: Shell, library: Trained) -> None:
    """The same facts for people and for scripts."""
    (record,) = searcher.run("failures", "--json").records
    assert list(record) == ["path", "stage", "reason", "attempts", "first_failed_at", "last_failed_at"]
    assert (record["path"], record["stage"]) == (os.path.realpath(library.broken), "decode")
    line = searcher.run("failures").out.decode()
    assert line.startswith(f"{record['path']}: {record['reason']} (decode, since {record['first_failed_at']}")


def test_a_retry_forgets_failures_whose_files_are_gone(shell: Shell) -> None:
    """There is nothing left to try, and no child is started for it."""
    home = IndexHome(shell.index)
    home.create()
    gone = Failure(ImageFile(b"/nowhere/gone.jpg", 1, 1), Stage.DECODE, "broken")
    with Catalog(home.catalog, write=True) as catalog:
        catalog.set_model(replace(facts(3), name="starter"))
        catalog.record(EmbeddedBatch((), np.zeros((0, 3), np.float32), (gone,)))
    assert shell.run("failures").out.startswith(b"/nowhere/gone.jpg: broken")
    done = shell.run("failures", "--retry")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(b"nothing to embed, no child was started")
    assert shell.run("failures") == Done(0, b"", "")
