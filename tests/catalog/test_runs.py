"""The table of runs: what each says of itself, whose turn it is, and which are dead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from image_index.catalog.catalog import Catalog
from image_index.catalog.runs import Runs
from image_index.errors import Interrupted, ModelUnavailable
from image_index.records import KnownRun, Outcome, ScanProblem, StageSeconds, Summary


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the catalog is."""
    return tmp_path / "catalog.sqlite3"


@pytest.fixture
def catalog(path: Path) -> Iterator[Catalog]:
    """Return a new catalog."""
    with Catalog(path, write=True) as made:
        yield made


def last_run(catalog: Catalog) -> KnownRun:
    """Return the newest run, which must be there."""
    last = Runs(catalog).last()
    assert last is not None
    return last


SUMMARY = Summary(planned=4, embedded=3, stages=StageSeconds(scan=0.25), problems=(ScanProblem(b"/\xff", "gone"),))


def test_a_run_is_running_until_its_block_ends(catalog: Catalog) -> None:
    """A run that was killed is seen as such, for nobody ends its block."""
    with Runs(catalog).recorded() as run:
        run.begin()
        last = last_run(catalog)
        assert (last.outcome, last.ended_at_s, last.error) == ("running", None, None)
        run.summary = SUMMARY
    last = last_run(catalog)
    assert (last.outcome, last.summary, last.error) == ("done", replace(SUMMARY, problems=()), None)
    assert last.ended_at_s is not None
    assert last.started_at_s <= last.ended_at_s
    with Runs(catalog).recorded() as run:
        run.begin()
        run.outcome = Outcome.STOPPED
    assert last_run(catalog).outcome == "stopped"


@pytest.mark.parametrize(
    ("error", "outcome", "message"),
    [
        (ModelUnavailable("it cannot be fetched; try again"), "failed", "it cannot be fetched; try again"),
        (ZeroDivisionError("by zero"), "failed", "ZeroDivisionError: by zero"),
        (Interrupted(15), "stopped", None),
        (KeyboardInterrupt(), "stopped", None),
    ],
)
def test_a_run_that_an_error_ends_says_so(
    catalog: Catalog, error: BaseException, outcome: str, message: str | None
) -> None:
    """The error goes on to the caller; what was done before it is kept in the summary."""

    def fail() -> None:
        with Runs(catalog).recorded() as run:
            run.begin()
            run.summary = SUMMARY
            raise error

    with pytest.raises(type(error)):
        fail()
    last = last_run(catalog)
    assert (last.outcome, last.summary, last.error) == (outcome, replace(SUMMARY, problems=()), message)
    assert last.ended_at_s is not None


def test_an_error_is_not_hidden_by_a_disk_on_which_it_cannot_be_recorded(catalog: Catalog, path: Path) -> None:
    """Then the run looks killed, and the caller hears of the first error."""

    def fail() -> None:
        with Runs(catalog).recorded() as run:
            run.begin()
            catalog.close()
            raise ModelUnavailable("gone")

    with pytest.raises(ModelUnavailable):
        fail()
    with Catalog(path, write=True) as reopened:
        assert last_run(reopened).outcome == "running"
