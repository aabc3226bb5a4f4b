"""The pictures of which a device or a number format must compute the vectors that the CPU computes in float32."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from image_index.records import Pixels

SELF_TEST_COSINE = 0.999
"""Below this a device or a number format computes something else than the CPU does in float32 (pytorch #174861)."""

KNUTH = 2654435761
"""Times this, successive numbers look random in their upper bits (Knuth, TAOCP 3, 6.4): noise without a generator."""


def self_test_pictures(height: int, width: int) -> Pixels:
    """Return three pictures (3, height, width, 3) uint8, as unlike as code can make them.

    Noise, smooth waves that run another way in each colour, and black strokes in rows, as of text: a kernel that is
    wrong for some values, or channels or axes in a wrong order, show in one of them. A fourth would cost every child of
    a ViT-B-32 another 0.2 s or so at its start.

    Nothing flat is among them. The vector of a flat picture hangs on so little that bfloat16, computed correctly,
    moves that of a disc on a plain ground to a cosine of 0.97, and mid-grey has no vector at all (model `starter`).
    """
    y, x = np.mgrid[:height, :width]
    noise = _hashed(np.arange(height * width * 3)).reshape(height, width, 3)
    across, down = 224 * x / width, 224 * y / height  # the same waves for every size
    waves = _colours(*(127 + 127 * np.sin(across / a + down / b) for a, b in ((10, 50), (50, 10), (25, -25))))
    inked = (y % 16 < 9) & (_hashed(x // 2 + 1000 * (y // 16)) < 110)
    strokes = _colours(*[np.where(inked, 20, 255)] * 3)
    return np.stack([noise, waves, strokes])


def _hashed(numbers: NDArray[np.int64]) -> Pixels:
    """Return a random-looking byte for each number, always the same one."""
    return (numbers.astype(np.uint32) * np.uint32(KNUTH) >> 24).astype(np.uint8)


def _colours(red: ArrayLike, green: ArrayLike, blue: ArrayLike) -> Pixels:
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)
