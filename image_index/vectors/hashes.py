"""Find perceptual hashes that differ in a few bits, with FAISS: it compares a hundred thousand in seconds."""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

MOST_PAIRS = 1 << 25
"""The most pairs that one call of FAISS may return: where all hashes are near each other they take 400 MB."""


class HashIndex:
    """Perceptual hashes (N, B) uint8, each of 8 B bits, and the neighbours of each among them."""

    def __init__(self, hashes: NDArray[np.uint8], distance: int) -> None:
        """Index `hashes`; two of them are near each other if they differ in at most `distance` bits."""
        self._hashes = np.ascontiguousarray(hashes)
        self._index = faiss.IndexBinaryFlat(8 * hashes.shape[1])
        self._index.add(self._hashes)
        self._radius = distance + 1  # FAISS returns what is less than its radius
        self.block = min(1000, max(1, MOST_PAIRS // max(1, len(hashes))))
        """How many positions to ask for at once."""

    def near(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return `limits` (n + 1,) and `found`: the neighbours of the hashes at `positions` (n,).

        As FAISS's `range_search` has it: the neighbours of `positions[i]`, itself included, are
        `found[limits[i]:limits[i + 1]]`.
        """
        limits, _, found = self._index.range_search(self._hashes[positions], self._radius)
        return limits.astype(np.int64), found


def near_pairs(hashes: NDArray[np.uint8], distance: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield pairs of positions, as two arrays, of hashes (N, B) that differ in at most `distance` bits.

    Each pair comes once, the smaller position in the first array; no hash is paired with itself.
    """
    index = HashIndex(hashes, distance)
    for start in range(0, len(hashes), index.block):
        block = np.arange(start, min(start + index.block, len(hashes)))
        limits, found = index.near(block)
        first = np.repeat(block, np.diff(limits))
        ahead = found > first
        yield first[ahead], found[ahead]
