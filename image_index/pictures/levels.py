"""Bring grey pictures of 16-bit, 32-bit and float levels to 8 bits, as someone would look at them."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

SAMPLE = 1 << 20
"""About so many levels decide the range: of 100 megapixels, percentiles alone would take two seconds."""

SHARE = 0.1
"""What percentage of the levels may be darker than black, and lighter than white: hot pixels, not clouds."""

MOST_IN_16_BITS = 1 << 14
"""A 16-bit picture whose levels are all smaller has 14 bits or fewer, as sensors, X-ray and depth cameras give."""

FEWEST_LEVELS = 16
"""With fewer different levels a picture is a map of labels, and none of them means "no data"."""


_GDAL_NODATA = 42113
"""The TIFF tag in which GDAL writes, as text, the level that means "no data"."""


def to_8_bits(image: Image.Image) -> Image.Image:
    """Return a picture of mode I, F or I;16 in mode L.

    Levels of 16 bits have a range that is stated; others go from their own dark end to their own light one.
    """
    tags = dict(image.tag_v2) if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    levels = _levels(image, tags)
    if image.mode.startswith("I;16"):
        low, high = 0.0, _greatest_in_16_bits(levels)
    elif (image.format, image.mode) == ("PPM", "I"):  # Pillow scales every deep PGM to 0..65535
        low, high = 0.0, 65535.0
    else:
        low, high = _ends(levels, str(tags.get(_GDAL_NODATA, "")))
    levels = np.nan_to_num(levels, copy=False, posinf=0, neginf=0).clip(low, high)
    grey = ((levels - low) * (255 / (high - low) if low < high else 0)).round().astype(np.uint8)
    return Image.fromarray(255 - grey if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0 else grey)


def _levels(image: Image.Image, tags: dict[int, Any]) -> NDArray[np.float32]:
    """Return the levels that a picture has, where Pillow has others: 32 bits are signed there, whatever is said.

    And of big-endian TIFFs that libtiff decompresses, which gives the machine's own order, it turns the bytes round.
    """
    levels = np.array(image)
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE)
    is_turned = bits and tags.get(TiffImagePlugin.COMPRESSION, 1) != 1 and image.tag_v2.prefix == b"MM"  # type: ignore[attr-defined]
    if is_turned and sys.byteorder == "little" and image.mode in ("I", "F"):
        levels = (levels.astype(np.int16) if bits == (16,) else levels).byteswap()
    if image.mode == "I" and bits == (32,) and tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,)) == (1,):
        levels = levels.view(np.uint32)
    return levels.astype(np.float32)


def _greatest_in_16_bits(levels: NDArray[np.float32]) -> float:
    """Return the greatest level that as many bits can have as are in use: 1023 for a sensor of 10 bits."""
    bright = float(np.percentile(_sample(levels), 100 - SHARE))
    return float((1 << int(bright).bit_length()) - 1) if 0 < bright < MOST_IN_16_BITS else 65535.0


def _ends(levels: NDArray[np.float32], no_data: str) -> tuple[float, float]:
    """Return the levels that become black and white; `no_data` is what GDAL says.

    A level that is further from all others than those are from each other is no data either: -9999 beside heights.
    """
    sample = _sample(levels)
    sample = sample[np.isfinite(sample)]
    with suppress(ValueError):
        sample = sample[sample != np.float32(no_data.strip(" \0"))]
    found = np.unique(sample)
    while len(found) > FEWEST_LEVELS and found[1] - found[0] > found[-1] - found[1]:
        found = found[1:]
    while len(found) > FEWEST_LEVELS and found[-1] - found[-2] > found[-2] - found[0]:
        found = found[:-1]
    if not len(found):
        return 0.0, 0.0
    data = sample[(sample >= found[0]) & (sample <= found[-1])]
    low, high = np.percentile(data, (SHARE, 100 - SHARE))
    return (float(low), float(high)) if low < high else (float(found[0]), float(found[-1]))


def _sample(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return about `SAMPLE` of the levels, or all of fewer."""
    step = max(1, int((levels.size / SAMPLE) ** 0.5))
    return levels[::step, ::step].ravel()
