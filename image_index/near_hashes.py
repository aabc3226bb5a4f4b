"""Which perceptual hashes are nearly the same, by FAISS: it compares a hundred thousand with each other in seconds."""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

BLOCK = 1000
"""How many hashes are compared with all others in one go: what is found of them has to fit into memory."""


def near_pairs(hashes: NDArray[np.uint8], distance: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the positions, first and second, of hashes (N, B) that differ in at most `distance` bits.

    Each pair comes once, the smaller position first, and no hash with itself.
    """
    index = faiss.IndexBinaryFlat(8 * hashes.shape[1])
    index.add(np.ascontiguousarray(hashes))
    for start in range(0, len(hashes), BLOCK):
        block = np.ascontiguousarray(hashes[start : start + BLOCK])
        limits, _, found = index.range_search(block, distance + 1)  # FAISS means `less than`
        counts = np.asarray(limits[1:] - limits[:-1], np.int64)
        first = np.repeat(np.arange(start, start + len(block)), counts)
        ahead = found > first
        yield first[ahead], found[ahead]
