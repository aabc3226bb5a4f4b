"""The perceptual hash of a picture: what of it survives scaling, re-encoding and small edits, in 64 bits.

It is the pHash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), as the library
imagehash computes it: of a 32 x 32 grey picture the 8 x 8 lowest frequencies, each above their median or not.
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
    low = (_COSINES @ grey.astype(np.float64) @ _COSINES.T).round(3)  # else a flat picture's bits would be rounding
    return np.packbits(low > np.median(low)).tobytes()
