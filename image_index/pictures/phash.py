"""The perceptual hash of a picture: 64 bits that scaling, re-encoding and small edits change little.

It is the pHash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), as the library
imagehash computes it. A picture is reduced to 32 x 32 grey pixels and transformed by a DCT; a bit says for each of the
8 x 8 lowest frequencies whether it is above their median.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIDE = 32
"""Width and height in pixels of the grey picture that is hashed."""

_LOW = 8
_COSINES = 2 * np.cos(np.pi / (2 * SIDE) * np.outer(np.arange(_LOW), 2 * np.arange(SIDE) + 1))
"""The first rows of the cosine transform (DCT-II)."""


def perceptual_hash(grey: NDArray[np.uint8]) -> bytes:
    """Return the hash, 8 bytes, of a grey picture (32, 32): bits from the lowest frequency on, row by row."""
    # Rounded, for in a flat picture all frequencies but the first are zero, and rounding errors would set the bits.
    low = (_COSINES @ grey.astype(np.float64) @ _COSINES.T).round(3)
    middle = np.sort(low, axis=None)[[_LOW * _LOW // 2 - 1, _LOW * _LOW // 2]]  # np.median takes five times as long
    return np.packbits(low > middle.mean()).tobytes()
