"""Tell by their grids whether one picture is a copy of another: encoded anew, scaled, cropped, with a text across it.

Hashes and vectors tell that two pictures look alike, as do two dogs in one pose, two pages of a book, and one shirt in
two colours. Here two grids are laid over each other, and every cell must agree. Three things may differ: brightness and
contrast as a whole; some cells of a photo, where a text was put across; and the frame, if moving and stretching it
makes the cells agree.

The limits were found on 2168 photos with six copies of each, and on made-up pages, dialogs and windows
(docs/decisions/0021).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from image_index.grid import Grids

Cells = NDArray[np.floating[Any]]
"""Brightness, or a colour, of n pictures: (n, side, side)."""

Truths = NDArray[np.bool_]

LEVELS, COLOUR_LEVELS = 2.0, 6.0
"""How many of 256 levels two cells may differ where the picture is flat: JPEG at quality 40 changes as much."""

SLOPE, FRAMED_SLOPE = 0.15, 0.25
"""And what share of the step to the next cell: scaling shifts an edge a little, and aligning a little more."""

COLOUR_SLOPE = 0.3
COLOUR_CHANGED = 0.1
"""The share of the colour's cells that may differ more: where white text was put across."""

EDGE = 4.0
"""A cell is part of a structure if one beside it differs by more levels."""

LEAST_STRUCTURE = 0.02
"""The least share of cells in a structure: pictures of less are flat, and only exact copies of each other."""

PICTORIAL, PICTORIAL_CROP = 0.45, 0.4
"""The least share of cells in a structure of a photo. Where it is less, as in a dialog, what differs is the text."""

TEXT, OTHER_SIGN = 0.1, 0.03
"""What share of the structure a text may change, and what share of that may change the other way.

A text put across makes cells brighter, or makes them darker. Another text in the place of the first makes as many
brighter as darker.
"""

CROP_CHANGED, CROP_GAIN, CROP_CORRELATION = 0.3, 0.5, 0.93
"""Of an aligned copy: the most of its structure that may differ, also as a share of what differed before; the least
correlation."""

MOST_MOVED, LEAST_MOVED, MOST_EDGE, LEAST_EDGE = 0.14, 0.03, 0.2, 0.03
"""Limits of a frame in half widths and heights of a picture: of shift and stretch, of a shift without stretch, and of
how far an edge moves (0.2: a crop of 10 %)."""

TYPICAL_CROP = 0.04
"""How much narrower and lower the picture is that stands for the cropped copies, among the descriptors."""

LOW, LOW_COLOUR = 5, 3
"""How many frequencies of the brightness and of the colour, each way, are in a descriptor."""


class Frames(NamedTuple):
    """Where the frames of n pictures lie in those of n others, in half widths and half heights: each (n,).

    What is at x in the one picture, from -1 at the left to 1 at the right, is in the other at
    x + shift_x + stretch_x * x; so for y.
    """

    shift_x: NDArray[np.float32]
    stretch_x: NDArray[np.float32]
    shift_y: NDArray[np.float32]
    stretch_y: NDArray[np.float32]


class Laid(NamedTuple):
    """Cells of pictures, those of others that lie on them, and which of the latter there are."""

    first: Cells
    second: Cells
    shared: Truths


class Change(NamedTuple):
    """How n pairs of pictures differ, in cells: in a structure, brighter in the first, darker in the first."""

    structured: NDArray[np.int64]
    brighter: NDArray[np.int64]
    darker: NDArray[np.int64]

    @property
    def cells(self) -> NDArray[np.int64]:
        """How many cells differ."""
        return self.brighter + self.darker


def descriptors(grids: Grids, crop: float = 0.0) -> NDArray[np.float32]:
    """Return unit vectors (n, 43): the low frequencies (DCT-II) of brightness and colour, without the mean brightness.

    With `crop` they are those of the pictures without that share of their width and height. A copy of a picture, even
    with a text across it, has a cosine of at least 0.98 with it; a cropped one with it or with its crop.
    """
    basis, colour_basis = (
        _frequencies(count, planes.shape[-1], crop)
        for count, planes in ((LOW, grids.bright), (LOW_COLOUR, grids.colour))
    )
    bright = basis @ grids.bright.astype(np.float32) @ basis.T
    bright[:, 0, 0] = 0
    colour = colour_basis @ (grids.colour.astype(np.float32) - 128) @ colour_basis.T
    # a cell of colour is as large as 16 of brightness, and an orthonormal transform grows with the side
    parts = [bright.reshape(-1, LOW * LOW), 4 * colour.reshape(-1, 2 * LOW_COLOUR * LOW_COLOUR)]
    found = np.concatenate(parts, axis=1)
    unit: NDArray[np.float32] = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1)
    return unit


def _frequencies(count: int, side: int, crop: float) -> Cells:
    """Return the first rows (count, side) of the orthonormal cosine transform of a row of cells, cropped before."""
    rows = np.cos(np.pi / (2 * side) * np.outer(np.arange(count), 2 * np.arange(side) + 1)) * np.sqrt(2 / side)
    rows[0] /= np.sqrt(2)
    none = np.zeros(1, np.float32)
    found: Cells = rows.astype(np.float32) @ _resampling(none, none - np.float32(crop), side)[0][0]
    return found


def agree_in_place(first: Grids, second: Grids) -> Truths:
    """Return for each of n pairs of pictures whether they agree as they are, but for a text across a photo."""
    cells = first.bright[0].size
    change = _change(_laid(first, second), SLOPE)
    text = np.minimum(change.brighter, change.darker) <= OTHER_SIGN * np.maximum(change.brighter, change.darker)
    photo = (change.structured >= PICTORIAL * cells) & (change.cells <= TEXT * change.structured)
    agree: Truths = (change.structured >= LEAST_STRUCTURE * cells) & ((change.cells == 0) | (photo & text))
    return agree & _agree_in_colour(first, second, None)


def agree_cropped(first: Grids, second: Grids) -> Truths:
    """Return for each of n pairs whether the second picture agrees with a crop of the first, after alignment."""
    whole = _laid(first, second)
    frames = Frames(*np.zeros((4, len(whole.first)), np.float32))
    frames = _align(_halved(whole.first), _halved(whole.second), frames, rounds=3)
    frames = _align(whole.first, whole.second, frames, rounds=2)
    laid = _lay(whole.first, whole.second, frames)
    before, after = _change(whole, FRAMED_SLOPE), _change(laid, FRAMED_SLOPE)
    agree: Truths = (
        _are_nested(frames)
        & (after.structured >= PICTORIAL_CROP * laid.shared.sum(axis=(1, 2)))
        & (after.cells <= np.minimum(CROP_CHANGED * after.structured, CROP_GAIN * before.cells))
        & (_correlations(laid) >= CROP_CORRELATION)
        & _agree_in_colour(first, second, frames)
    )
    return agree


def _laid(first: Grids, second: Grids) -> Laid:
    """Lay the second pictures on the first as they are."""
    bright = [grids.bright.astype(np.float32) for grids in (first, second)]
    return Laid(bright[0], bright[1], np.ones(bright[0].shape, np.bool_))


def _are_nested(frames: Frames) -> Truths:
    """Return which frames are those of crops: a side moves inwards, or none outwards; a pan moves all the same way."""
    sides = [(np.abs(shift), np.abs(stretch)) for shift, stretch in (frames[:2], frames[2:])]
    furthest = np.maximum(*(shift + stretch for shift, stretch in sides))
    panned = np.maximum(*(shift - stretch for shift, stretch in sides))
    nested: Truths = (panned < LEAST_MOVED) & (furthest > LEAST_EDGE) & (furthest < MOST_EDGE)
    return nested


def _agree_in_colour(first: Grids, second: Grids, frames: Frames | None) -> Truths:
    """Return which pictures have the same colours in the same places."""
    changed = np.zeros(len(first.colour), np.int64)
    for one, other in zip(first.colour.transpose(1, 0, 2, 3), second.colour.transpose(1, 0, 2, 3), strict=True):
        cells = one.astype(np.float32), other.astype(np.float32)
        laid = _lay(*cells, frames) if frames else Laid(*cells, np.ones(one.shape, np.bool_))
        steps = np.maximum(_steps(laid.first), _steps(laid.second))
        differs = np.abs(laid.first - laid.second) > COLOUR_LEVELS + COLOUR_SLOPE * steps
        changed += np.count_nonzero(differs & laid.shared, axis=(1, 2))
    agree: Truths = changed <= COLOUR_CHANGED * first.colour[0].size
    return agree


def _change(laid: Laid, slope: float) -> Change:
    """Return how the pictures of each pair differ."""
    steps = np.maximum(_steps(laid.first), _steps(laid.second))
    tolerance = LEVELS + slope * steps
    left = _residuals(laid, tolerance)
    kinds = (steps > EDGE, left > tolerance, left < -tolerance)
    return Change(*(np.count_nonzero(cells & laid.shared, axis=(1, 2)) for cells in kinds))


def _steps(cells: Cells) -> Cells:
    """Return by how much each cell differs from the one beside, above or below it that differs most."""
    steps = np.zeros_like(cells)
    across, down = np.abs(np.diff(cells, axis=2)), np.abs(np.diff(cells, axis=1))
    for part, step in (
        (steps[:, :, 1:], across),
        (steps[:, :, :-1], across),
        (steps[:, 1:], down),
        (steps[:, :-1], down),
    ):
        np.maximum(part, step, out=part)
    return steps


def _residuals(laid: Laid, tolerance: Cells) -> Cells:
    """Return by how much each cell of the first is brighter than the second's, fitted in brightness and contrast.

    Cells that differ much take no part in the fit, or a text across the picture would shift all others.
    """
    weights = laid.shared.astype(np.float32)
    for _ in range(3):
        first, second = (cells - _means(cells, weights) for cells in (laid.first, laid.second))
        energy = np.maximum((second * second * weights).sum(axis=(1, 2), keepdims=True), 1)
        contrast = (first * second * weights).sum(axis=(1, 2), keepdims=True) / energy
        left: Cells = first - np.clip(contrast, 0.8, 1.25) * second
        weights = (laid.shared & (np.abs(left) <= 2 * tolerance)).astype(np.float32)
    return left


def _means(cells: Cells, weights: Cells) -> Cells:
    """Return the weighted mean of each picture's cells, (n, 1, 1)."""
    total = (cells * weights).sum(axis=(1, 2), keepdims=True)
    means: Cells = total / np.maximum(weights.sum(axis=(1, 2), keepdims=True), 1)
    return means


def _correlations(laid: Laid) -> NDArray[np.float32]:
    """Return the correlation of the cells of each pair."""
    weights = laid.shared.astype(np.float32)
    first, second = ((cells - _means(cells, weights)) * weights for cells in (laid.first, laid.second))
    energy = (first * first).sum(axis=(1, 2)) * (second * second).sum(axis=(1, 2))
    found: NDArray[np.float32] = (first * second).sum(axis=(1, 2)) / np.sqrt(np.maximum(energy, 1))
    return found


# Aligning: Gauss-Newton on the squared difference, as Lucas and Kanade have it (1981), with the mean of both pictures'
# slopes (Malis, 2004), which converges from further away.


def _align(first: Cells, second: Cells, frames: Frames, rounds: int) -> Frames:
    """Return frames that make the second pictures agree better with the first."""
    side = first.shape[-1]
    slopes, places = _slopes(first), _centres(side)
    for _ in range(rounds):
        laid = _lay(first, second, frames)
        across, down = (0.5 * (one + other) for one, other in zip(slopes, _slopes(laid.second), strict=True))
        # how the cells change with each number of the frame, and with contrast and brightness
        parts = (across, across * places, down, down * places[:, None], laid.second, np.ones_like(first))
        changes = (np.stack(parts, axis=1) * laid.shared[:, None]).reshape(len(first), 6, -1)
        left = ((first - laid.second) * laid.shared).reshape(len(first), -1, 1)
        squares = changes @ changes.transpose(0, 2, 1)
        diagonal = np.arange(6)
        squares[:, diagonal, diagonal] = 1.001 * squares[:, diagonal, diagonal] + 0.01 * side * side
        moves = np.linalg.solve(squares, changes @ left)[:, :4, 0].T
        frames = Frames(*np.clip(np.stack(frames) + moves, -MOST_MOVED, MOST_MOVED))
    return frames


def _lay(first: Cells, second: Cells, frames: Frames) -> Laid:
    """Lay the second pictures on the first."""
    across, has_x = _resampling(frames.shift_x, frames.stretch_x, first.shape[-1])
    down, has_y = _resampling(frames.shift_y, frames.stretch_y, first.shape[-1])
    return Laid(first, down @ second @ across.transpose(0, 2, 1), has_y[:, :, None] & has_x[:, None])


def _resampling(shift: NDArray[np.float32], stretch: NDArray[np.float32], side: int) -> tuple[Cells, Truths]:
    """Return matrices (n, side, side) that resample a row of cells linearly, and which cells (n, side) there are."""
    sources = ((_centres(side) * (1 + stretch[:, None]) + shift[:, None] + 1) * side - 1) / 2
    has_source = (sources >= -0.5) & (sources <= side - 0.5)
    sources = np.clip(sources, 0, side - 1)
    weights = 1 - np.abs(sources[:, :, None] - np.arange(side, dtype=np.float32))
    return np.maximum(weights, 0), has_source


def _centres(side: int) -> NDArray[np.float32]:
    """Return the places of a row's cells, from -1 to 1."""
    return ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)


def _slopes(cells: Cells) -> tuple[Cells, Cells]:
    """Return how much the brightness grows over half a picture, across and down."""
    down, across = (cells.shape[-1] / 2 * slope for slope in np.gradient(cells, axis=(1, 2)))
    return across, down


def _halved(cells: Cells) -> Cells:
    """Return the means of 2 x 2 cells: far shifts are found in them."""
    side = cells.shape[-1] // 2
    found: Cells = cells.reshape(-1, side, 2, side, 2).mean(axis=(2, 4))
    return found
