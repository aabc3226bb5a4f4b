"""Near hashes, against counting bits."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from image_index.vectors.hashes import near_pairs


@given(
    st.lists(st.integers(0, 2**16 - 1), max_size=60).map(
        lambda numbers: np.array(numbers, "<u8").view(np.uint8).reshape(-1, 8)
    ),
    st.integers(0, 16),
)
def test_near_pairs_are_those_that_popcount_finds(hashes: NDArray[np.uint8], distance: int) -> None:
    """Every pair once, none with itself, at exactly that distance still."""
    bits = np.unpackbits(hashes, axis=1).astype(int)
    expected = {
        (i, j) for i in range(len(bits)) for j in range(i + 1, len(bits)) if np.abs(bits[i] - bits[j]).sum() <= distance
    }
    if len(hashes):
        found = [
            pair
            for first, second in near_pairs(hashes, distance)
            for pair in zip(first.tolist(), second.tolist(), strict=True)
        ]
        assert len(found) == len(set(found))
        assert set(found) == expected
