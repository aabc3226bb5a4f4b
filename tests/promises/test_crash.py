"""A crash or an error at any statement of any change leaves the catalog as it was before, or as it is after."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.confined import run_confined
from tests.support.failing_statements import CHANGES, WAYS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TRANSACTION = 2
"""BEGIN and COMMIT."""


def test_a_failure_at_any_statement_leaves_before_or_after_and_nothing_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every change, creating and migrating too, at every one of its statements, by an error and by SIGKILL.

    What is left is sound by SQLite's own checks, and equal, to the last value of every table, to one of the two.
    Only a failure after COMMIT leaves the change done.
    """
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # else each of 1400 children writes a file of its own
    done = run_confined("-m", "tests.support.failing_statements", tmp_path)
    assert done.returncode == 0, done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(report["change"], report["way"]) for report in reports} == {
        (change, way) for change in (*CHANGES, "create", "migrate") for way in WAYS
    }
    for report in reports:
        assert report["statements"] > TRANSACTION, report
        after = 1 if report["way"].endswith("after") else 0
        assert report["left"] == {"before": report["statements"] - after, **({"after": 1} if after else {})}, report
    assert sum(report["statements"] for report in reports) > 500
