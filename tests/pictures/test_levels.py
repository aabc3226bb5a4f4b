"""Grey levels of more than 8 bits become what someone would look at."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from image_index.pictures.decode import prepare
from image_index.pictures.levels import to_8_bits

Array = NDArray[Any]
RAMP = np.linspace(0, 255, 90 * 120).reshape(90, 120).round().astype(np.uint8)
NUMBERS = {"u": 1, "i": 2, "f": 3}
NO_DATA = 42113


def tiff(levels: Array, *, is_white_zero: bool = False, order: str = "<", compressed: bool = False) -> bytes:
    """Write the smallest grey TIFF of any kind of number."""
    pixels = levels.astype(levels.dtype.newbyteorder("<" if order == "<" else ">")).tobytes()
    if compressed:
        pixels = zlib.compress(pixels)
    height, width = levels.shape
    entries = {256: width, 257: height, 258: 8 * levels.itemsize, 259: 8 if compressed else 1}
    entries |= {262: int(not is_white_zero), 273: 8 + 2 + 10 * 12 + 4, 277: 1, 278: height, 279: len(pixels)}
    entries |= {339: NUMBERS[levels.dtype.kind]}
    rows = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in entries.items())
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    return head + rows + b"\0" * 4 + pixels


def grey(data: bytes) -> Array:
    """Return the levels in 8 bits."""
    prepare()
    image = Image.open(io.BytesIO(data))
    image.load()
    return np.asarray(to_8_bits(image)).astype(int)


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "deflate"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("is_white_zero", [False, True], ids=["black is zero", "white is zero"])
@pytest.mark.parametrize("kind", ["u2", "i2", "u4", "i4", "f4"])
def test_every_kind_of_number_gives_the_same_picture(
    kind: str, is_white_zero: bool, order: str, compressed: bool
) -> None:
    """Whatever zero is, whatever the order of bytes, and whether libtiff decompresses it or not."""
    factor = {"u2": 257, "i2": 100, "u4": 16_843_009, "i4": 8_000_000, "f4": 1 / 255}[kind]
    levels = ((255 - RAMP if is_white_zero else RAMP).astype(np.float64) * factor).astype(kind)
    found = grey(tiff(levels, is_white_zero=is_white_zero, order=order, compressed=compressed))
    assert np.abs(found - RAMP).max() <= 1


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_fewer_bits_in_sixteen_are_as_bright_as_sixteen(bits: int) -> None:
    """A sensor of 10 bits is not black, with one hot pixel or without."""
    levels = (RAMP / 255 * (2**bits - 1)).astype(np.uint16)
    assert np.abs(grey(tiff(levels)) - RAMP).max() <= 1
    levels[40, 40] = 65535
    assert np.abs(np.delete(grey(tiff(levels)) - RAMP, 40 * 120 + 40)).max() <= 1


@pytest.mark.parametrize("hole", [-9999.0, 3.4e38, -3.4028235e38, 1e20, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("share", [1, 2000], ids=["one", "many"])
def test_levels_that_mean_no_data_do_not_flatten_the_rest(hole: float, share: int) -> None:
    """One of them or a fifth of the picture: the rest is as it is without."""
    levels = RAMP.astype(np.float32) / 10 + 1000
    levels.ravel()[:: levels.size // share][:share] = hole
    found = grey(tiff(levels)).ravel()
    kept = levels.ravel() == (RAMP.astype(np.float32) / 10 + 1000).ravel()
    assert np.abs(found - RAMP.ravel())[kept].max() <= 2


def test_the_level_that_gdal_names_is_no_data() -> None:
    """Even where it is near the others."""
    levels = RAMP.astype(np.float32) / 10 + 1000
    levels[:, :30] = 990
    stream = io.BytesIO()
    Image.fromarray(levels).save(stream, "TIFF", tiffinfo={NO_DATA: "990"})
    assert np.abs(grey(stream.getvalue()) - RAMP)[:, 30:].max() <= 1


def test_a_map_of_few_labels_keeps_all_of_them() -> None:
    """None is taken for no data, though one is far from the others."""
    levels = np.repeat(np.array([0, 1, 2, 100], np.int32), 2700).reshape(90, 120)
    assert np.unique(grey(tiff(levels))).tolist() == [0, 3, 5, 255]


def test_an_empty_range_is_black() -> None:
    """One level, or none that is a number."""
    for levels in (np.full((9, 9), 7.0, np.float32), np.full((9, 9), np.nan, np.float32)):
        assert grey(tiff(levels)).max() == 0


def test_a_png_of_ten_bits_in_sixteen_is_not_black() -> None:
    """Scientific cameras write those, too; a full range is divided by 257."""
    for factor in (257, 4):
        stream = io.BytesIO()
        Image.fromarray(RAMP.astype(np.uint16) * factor).save(stream, "PNG", pnginfo=PngImagePlugin.PngInfo())
        assert np.abs(grey(stream.getvalue()) - RAMP).max() <= 1
