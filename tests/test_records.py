"""Records that cross the border between two stages."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from image_index.records import FIRST_NS, LAST_NS, ImageFile


@given(st.integers(-(10**21), 10**21))
def test_a_time_that_fits_64_bits_stays_and_any_other_becomes_the_nearest_that_does(mtime_ns: int) -> None:
    """Whatever a file system says, a catalog can store it, and later times never become earlier ones."""
    status = os.stat_result((0o100644, 1, 1, 1, 0, 0, 7, 0, mtime_ns // 10**9, 0), {"st_mtime_ns": mtime_ns})
    assert ImageFile.of(b"/a.jpg", status)[:3] == (b"/a.jpg", 7, sorted((FIRST_NS, mtime_ns, LAST_NS))[1])
