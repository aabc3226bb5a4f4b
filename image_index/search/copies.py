"""Find the pictures of a library that are near copies of each other, by their grids.

The descriptors of all pictures, and of their crops, say which few could be copies; then the grids of these are compared
cell by cell. For a million pictures this takes about 700 MB: their grids are read, and some read again, but not kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from image_index.catalog.reader import CatalogReader
from image_index.grid import BYTES, Grids, unpack_grids
from image_index.search.compare import EDGE, TYPICAL_CROP, Truths, agree_cropped, agree_in_place, descriptors

logger = logging.getLogger(__name__)

LEAST_COSINE = 0.98
"""The least cosine of two descriptors whose grids are compared: 99.5 % of the copies measured have 0.987 or more."""

CLOSER = 0.001
"""How much nearer to the whole picture than to its crop a cropped copy may seem."""

NEAREST = 8
"""With how many pictures of a list of neighbours each is compared; in an archive of pages all are near all others."""

CHUNK = 1024
"""How many grids are read, or pairs compared, at a time."""

_NO_GRID = bytes(BYTES)

Rows = NDArray[np.int64]

Comparison = Callable[[Grids, Grids], Truths]


class _Read(NamedTuple):
    """Of n pictures that are not flat: their positions, their descriptors, and those of their crops, (n, 43)."""

    positions: Rows
    whole: NDArray[np.float32]
    cropped: NDArray[np.float32]


class Copies:
    """Pictures whose grids are compared; they are named by their positions in `ids`."""

    def __init__(self, catalog: CatalogReader, ids: Sequence[int]) -> None:
        """Read the grids; flat pictures, and those without a grid, are copies of nothing."""
        from image_index.vectors.neighbours import Neighbours

        self._catalog, self._ids = catalog, np.array(ids, np.int64)
        self._read = self._read_all()
        self._neighbours = Neighbours(self._read.whole)

    def pairs(self) -> NDArray[np.int64]:
        """Return pairs (n, 2) of pictures that are copies, the smaller position first, sorted.

        Of a picture that has many copies, some pairs are left out: `all_of` finds them.
        """
        whole, cropped = self._read.whole, self._read.cropped
        every = np.arange(len(whole))
        in_place = np.unique(np.sort(self._near(whole, every, NEAREST), axis=1), axis=0)
        crops = self._near(cropped, every, NEAREST)
        # Only what is more like the crop than like the whole is aligned, which takes five times as long as comparing.
        one, other = crops.T
        closer = _cosines(cropped, whole, one, other) > _cosines(whole, whole, one, other) - CLOSER
        found = [self._confirmed(in_place, agree_in_place), self._confirmed(crops[closer], agree_cropped)]
        return np.unique(np.sort(self._read.positions[np.concatenate(found)], axis=1), axis=0)

    def all_of(self, position: int, known: int) -> Rows:
        """Return all pictures of which one is a copy, if it may have more than the `known` ones, or nothing."""
        row, most, copies = int(np.searchsorted(self._read.positions, position)), NEAREST, np.empty(0, np.int64)
        while 2 * known >= most:
            most *= 8
            rows = self._near(self._read.whole[row : row + 1], np.array([row]), most)
            copies = self._confirmed(rows, agree_in_place)[:, 1]
            known = len(copies)
        return self._read.positions[copies]

    def _read_all(self) -> _Read:
        order = np.argsort(self._ids)  # by id the catalog's pages come in their order
        parts = [self._read_some(order[start : start + CHUNK]) for start in range(0, len(order), CHUNK)]
        missing = sum(count for _, count in parts)
        if missing:
            logger.warning(
                "%d pictures are in the index without their grid: of these only copies of equal content are found."
                " Forget them and train again to find others",
                missing,
            )
        positions, whole, cropped = (
            (np.concatenate(arrays) for arrays in zip(*(part for part, _ in parts), strict=True))
            if parts
            else _Read(np.empty(0, np.int64), *np.empty((2, 0, 1), np.float32))
        )
        order = np.argsort(positions)
        return _Read(positions[order], whole[order], cropped[order])

    def _read_some(self, positions: Rows) -> tuple[_Read, int]:
        """Return those of `positions` that are not flat, with descriptors, and how many have no grid."""
        blobs = self._catalog.grids_of(self._ids[positions].tolist())
        grids = unpack_grids([blobs.get(image_id, _NO_GRID) for image_id in self._ids[positions].tolist()])
        levels = grids.bright.reshape(len(positions), -1)
        structured = np.flatnonzero(levels.max(axis=1) - levels.min(axis=1) > EDGE)
        kept = Grids(grids.bright[structured], grids.colour[structured])
        found = _Read(positions[structured], descriptors(kept), descriptors(kept, TYPICAL_CROP))
        return found, len(positions) - len(blobs)

    def _near(self, queries: NDArray[np.float32], own: Rows, most: int) -> Rows:
        """Return pairs (n, 2) of rows: of `own`, whose descriptors are `queries`, and of pictures near them."""
        pairs = [np.stack(rows, axis=1) for rows in self._neighbours.near(queries, own, LEAST_COSINE, most)]
        return np.concatenate([np.empty((0, 2), np.int64), *pairs])

    def _confirmed(self, pairs: Rows, agree: Comparison) -> Rows:
        """Return those of `pairs` (n, 2) of rows whose grids agree."""
        found = [pairs[:0]]
        for start in range(0, len(pairs), CHUNK):
            some = pairs[start : start + CHUNK]
            rows, places = np.unique(some, return_inverse=True)
            ids = self._ids[self._read.positions[rows]].tolist()
            blobs = self._catalog.grids_of(ids)
            grids = unpack_grids([blobs.get(image_id, _NO_GRID) for image_id in ids])
            one, other = (Grids(grids.bright[side], grids.colour[side]) for side in places.reshape(-1, 2).T)
            found.append(some[agree(one, other)])
        return np.concatenate(found)


def _cosines(ones: NDArray[np.float32], others: NDArray[np.float32], one: Rows, other: Rows) -> NDArray[np.float32]:
    """Return the cosines of the rows `one` of `ones` and the rows `other` of `others`."""
    parts = [
        np.einsum("nd,nd->n", ones[one[start : start + CHUNK]], others[other[start : start + CHUNK]])
        for start in range(0, len(one), CHUNK)
    ]
    return np.concatenate([np.empty(0, np.float32), *parts])
