"""A large library to find duplicates in, made in minutes: catalog rows with grids like those of real pictures.

    python benchmarks/large_duplicates.py INDEX [--count 1000000] [--dim 512]

Most are photos of their own: noise whose amplitude falls with the frequency, as that of photos does. Every twentieth is
a copy of the one before, off by a level here and there, as another encoding leaves it. The rest is what makes finding
slow: one in 200 is a dialog, the same but for its text; one in 200 a blank page; one in 1000 a copy of one picture.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from large_library import NOWHERE, random_batch
from numpy.typing import NDArray

from image_index.catalog.catalog import Catalog
from image_index.grid import BYTES, COLOUR_SIDE, SIDE
from image_index.records import EmbeddedBatch, ImageFile, ModelFacts, Preprocess
from image_index.settings import IndexHome

CHUNK = 10_000
COPY, DIALOG, BLANK, SAME = 20, 200, 200, 1000
"""One picture in so many is a copy of the one before, a dialog, a blank page, a copy of the very same picture."""


def make_duplicates(home: IndexHome, count: int, dim: int) -> None:
    """Make an index of `count` pictures with vectors of `dim` dimensions."""
    home.create()
    with Catalog(home.catalog, write=True) as catalog:
        catalog.set_model(ModelFacts(NOWHERE, "0" * 64, "{}", Preprocess((8, 8), (0, 0, 0), (1, 1, 1)), dim))
        for first in range(0, count, CHUNK):
            catalog.record(_batch(first, min(CHUNK, count - first), dim))


def planted_groups(count: int) -> int:
    """Return how many groups of copies a library of `count` pictures has."""
    return count // COPY + 1


def _batch(first: int, count: int, dim: int) -> EmbeddedBatch:
    """Return the pictures from number `first` on."""
    random = np.random.default_rng(first)
    batch = random_batch([ImageFile(b"/photos/%09d.jpg" % n, n, 10**18) for n in range(first, first + count)], dim)
    grids = np.concatenate([_fields(random, count, SIDE, 45), *_colours(random, count)], axis=1)
    number = np.arange(first, first + count)
    kinds = {
        DIALOG: (number % DIALOG == 7, _dialogs),
        BLANK: (number % BLANK == 9, _blanks),
        SAME: (number % SAME == 11, _same),
    }
    for chosen, make in kinds.values():
        grids[chosen] = make(random, int(chosen.sum()))
    copies = np.flatnonzero(number % COPY == 1)[number[number % COPY == 1] > first]
    grids[copies] = np.clip(grids[copies - 1] + random.integers(-1, 2, (len(copies), BYTES)), 0, 255)
    batch.vectors[copies] = batch.vectors[copies - 1]
    stored = grids.astype(np.uint8)
    images = (replace(image, grid=grid.tobytes()) for image, grid in zip(batch.images, stored, strict=True))
    return EmbeddedBatch(tuple(images), batch.vectors)


def _fields(random: np.random.Generator, count: int, side: int, deviation: float) -> NDArray[np.float32]:
    """Return noise (count, side * side) around 128 whose amplitude falls as 1 / frequency."""
    rows, columns = np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij")
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf
    noise = np.fft.rfft2(random.normal(size=(count, side, side)).astype(np.float32)) / frequency
    field = np.fft.irfft2(noise, s=(side, side)).reshape(count, -1)
    scale = deviation * random.uniform(0.4, 1.4, (count, 1)) / field.std(axis=1, keepdims=True)
    found: NDArray[np.float32] = np.clip(128 + field * scale, 0, 255).astype(np.float32)
    return found


def _colours(random: np.random.Generator, count: int) -> list[NDArray[np.float32]]:
    """Return Cb and Cr of photos, each with a hue of its own."""
    return [
        _fields(random, count, COLOUR_SIDE, 8) + random.normal(0, 8, (count, 1)).astype(np.float32) for _ in range(2)
    ]


def _dialogs(random: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Return one dialog, with another text of one to four lines in each."""
    bright = np.full((count, SIDE, SIDE), 240, np.float32)
    bright[:, :4], bright[:, 10:17, 2:5], bright[:, 25:29, 18:30] = 80, 180, 225
    for line in range(4):
        length = random.integers(0 if line else 8, 24, count)
        ink = random.uniform(20, 90, (count, 24)) * (np.arange(24) < length[:, None])
        bright[:, 9 + 3 * line, 6:30] -= ink
    return np.concatenate([bright.reshape(count, -1), np.full((count, 128), 128, np.float32)], axis=1)


def _blanks(random: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Return blank pages as a scanner sees them: white, a level more or less."""
    pages = np.full((count, BYTES), 128, np.float32)
    pages[:, : SIDE * SIDE] = random.integers(249, 252, (count, SIDE * SIDE))
    return pages


def _same(random: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Return copies of one picture."""
    fixed = np.random.default_rng(0)
    picture = np.concatenate([_fields(fixed, 1, SIDE, 45), *_colours(fixed, 1)], axis=1)
    found: NDArray[np.float32] = picture + random.integers(-1, 2, (count, BYTES)).astype(np.float32)
    return found


def main() -> None:
    """Make a library that `duplicates.py --large-index` can use."""
    parser = argparse.ArgumentParser(description="an index of made-up pictures to find duplicates in")
    parser.add_argument("index", type=Path)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    arguments = parser.parse_args()
    make_duplicates(IndexHome(arguments.index), arguments.count, arguments.dim)


if __name__ == "__main__":
    main()
