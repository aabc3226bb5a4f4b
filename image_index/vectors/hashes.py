"""Which perceptual hashes are nearly the same, by FAISS: it compares a hundred thousand with each other in seconds."""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

MOST_PAIRS = 1 << 25
"""How many pairs are found in one go at most, where all hashes are near each other: they take 400 MB."""


class HashIndex:
    """Perceptual hashes (N, B), to be asked which of them are near each other."""

    def __init__(self, hashes: NDArray[np.uint8], distance: int) -> None:
        """`distance` is in how many bits two hashes that are near each other may differ."""
        self._hashes = np.ascontiguousarray(hashes)
        self._index = faiss.IndexBinaryFlat(8 * hashes.shape[1])
        self._index.add(self._hashes)
        self._radius = distance + 1  # FAISS means `less than`
        self.block = min(1000, max(1, MOST_PAIRS // max(1, len(hashes))))
        """How many positions to ask for in one go."""

    def near(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the positions of the hashes near those at `positions` (n,), themselves among them.

        They come one after the other in the second array, from `limits[i]` to `limits[i + 1]` for `positions[i]`.
        """
        limits, _, found = self._index.range_search(self._hashes[positions], self._radius)
        return limits.astype(np.int64), found


def near_pairs(hashes: NDArray[np.uint8], distance: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the positions, first and second, of hashes (N, B) that differ in at most `distance` bits.

    Each pair comes once, the smaller position first, and no hash with itself.
    """
    index = HashIndex(hashes, distance)
    for start in range(0, len(hashes), index.block):
        block = np.arange(start, min(start + index.block, len(hashes)))
        limits, found = index.near(block)
        first = np.repeat(block, np.diff(limits))
        ahead = found > first
        yield first[ahead], found[ahead]
