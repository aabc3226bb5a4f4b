"""The grid of a picture: how bright and how coloured each part of it is, small enough to keep for every picture.

Brightness is 32 x 32 bytes, row by row; then follow two planes of colour, 8 x 8 bytes each: Y, Cb and Cr as JPEG has
them. Decoding makes it from the pixels of which it makes the perceptual hash, and `imgidx dupes` compares it
(docs/decisions/0021).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SIDE = 32
"""Width and height of the brightness in cells."""

COLOUR_SIDE = 8
"""Width and height of each plane of colour."""

BYTES = SIDE * SIDE + 2 * COLOUR_SIDE * COLOUR_SIDE
"""The length of a stored grid: 1152 bytes."""


class Grids(NamedTuple):
    """The grids of n pictures: brightness (n, 32, 32) and colour (n, 2, 8, 8)."""

    bright: NDArray[np.uint8]
    colour: NDArray[np.uint8]


def unpack_grids(grids: Sequence[bytes]) -> Grids:
    """Return stored grids, each of `BYTES` bytes, as arrays."""
    rows = np.frombuffer(b"".join(grids), np.uint8).reshape(len(grids), BYTES)
    bright = rows[:, : SIDE * SIDE].reshape(-1, SIDE, SIDE)
    return Grids(bright, rows[:, SIDE * SIDE :].reshape(-1, 2, COLOUR_SIDE, COLOUR_SIDE))
