"""Pictures for the benchmarks: those of a directory in any number, as they are or as mosaics of a camera's size."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from PIL import Image

from image_index.files.scan import ScanOptions, scan
from image_index.paths import resolve
from image_index.records import ImageFile

MOSAIC = (4000, 3000)
TILE = (400, 300)
"""Twelve megapixels of a hundred photos: detail everywhere, as in a sharp photo."""

DISTINCT_MOSAICS = 16

GENERATED = (1024, 768)
GRAINS = ((128, 1.0), (32, 0.4), (8, 0.25))
"""Noise of so many pixels a grain, one blended over the other: a JPEG of 113 KB, as of a photo of that size."""


def pictures_in(directory: Path) -> list[Path]:
    """Return the pictures in `directory`; leave where there are none."""
    found = [item.path for item in scan(resolve(directory), ScanOptions()) if isinstance(item, ImageFile)]
    if not found:
        sys.exit(f"no pictures in {directory}")
    return [Path(os.fsdecode(path)) for path in found]


@contextmanager
def copies(photos: Path, count: int, *, mosaics: bool = False) -> Iterator[Path]:
    """Give a directory of `count` files: the pictures of `photos` over and over, or mosaics of them."""
    found = pictures_in(photos)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "photos"
        directory.mkdir()
        sources = found
        if mosaics:
            sources = [_mosaic(found, number, Path(scratch)) for number in range(min(count, DISTINCT_MOSAICS))]
        for number, source in enumerate(islice(cycle(sources), count)):
            shutil.copyfile(source, directory / f"{number:07d}{source.suffix}")
        yield directory


def _mosaic(photos: list[Path], number: int, directory: Path) -> Path:
    """Write a JPEG of a camera's size, tiled with photos."""
    canvas = Image.new("RGB", MOSAIC)
    places = [(x, y) for y in range(0, MOSAIC[1], TILE[1]) for x in range(0, MOSAIC[0], TILE[0])]
    for place, photo in zip(places, islice(cycle(photos), number * len(places), None), strict=False):
        canvas.paste(Image.open(photo).convert("RGB").resize(TILE), place)
    path = directory / f"mosaic-{number}.jpg"
    canvas.save(path, quality=90)
    return path


def generate(directory: Path, count: int, size: tuple[int, int] = GENERATED) -> list[Path]:
    """Write `count` different JPEGs of `size` (width, height) and return their paths; nothing is needed for them."""
    directory.mkdir(parents=True)
    rng = np.random.default_rng(0)
    paths = [directory / f"{number:04d}.jpg" for number in range(count)]
    for path in paths:
        canvas = Image.new("RGB", size)
        for grain, weight in GRAINS:
            cells = rng.integers(0, 256, (size[1] // grain + 1, size[0] // grain + 1, 3), dtype=np.uint8)
            canvas = Image.blend(canvas, Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC), weight)
        canvas.save(path, quality=85)
    return paths


@contextmanager
def links(sources: list[Path], count: int) -> Iterator[Path]:
    """Give a directory of `count` files beside `sources`: those over and over, hard-linked where the disk can do it."""
    with tempfile.TemporaryDirectory(dir=sources[0].parent.parent) as directory:
        for number, source in enumerate(islice(cycle(sources), count)):
            path = Path(directory) / f"{number:07d}{source.suffix}"
            try:
                os.link(source, path)
            except OSError:
                shutil.copyfile(source, path)
        yield Path(directory)
