"""Records that cross the border between two stages."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_index.records import FIRST_NS, INCOMPLETE, LAST_NS, ImageFile, ScanProblem, Summary


@given(st.integers(-(10**21), 10**21))
def test_a_time_that_fits_64_bits_stays_and_any_other_becomes_the_nearest_that_does(mtime_ns: int) -> None:
    """Whatever a file system says, a catalog can store it, and later times never become earlier ones."""
    status = os.stat_result((0o100644, 1, 1, 1, 0, 0, 7, 0, mtime_ns // 10**9, 0), {"st_mtime_ns": mtime_ns})
    assert ImageFile.of(b"/a.jpg", status)[:3] == (b"/a.jpg", 7, sorted((FIRST_NS, mtime_ns, LAST_NS))[1])


@pytest.mark.parametrize(
    ("summary", "code"),
    [
        (Summary(embedded=5), 0),
        (Summary(failed=1), INCOMPLETE),
        (Summary(problems=(ScanProblem(b"/a", "gone"),)), INCOMPLETE),
        (Summary(failed=1, stopped_by=15), 143),
    ],
)
def test_the_exit_code_tells_how_a_run_came_to_its_end(summary: Summary, code: int) -> None:
    """A signal says more than what could not be read."""
    assert summary.exit_code == code
