"""What a stored grid looks like, and what it is made of."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from image_index.grid import BYTES, COLOUR_SIDE, SIDE, unpack_grids
from tests.support.encoded_pictures import SQUARE, decoded, photo_like, saved


def grid_of(image: Image.Image, **options: object) -> bytes:
    """Return the grid that decoding a picture gives."""
    return decoded(saved(image, "PNG", **options), SQUARE).grid


def test_a_grid_has_the_brightness_and_the_colour_of_each_part() -> None:
    """Row by row: dark above bright, red beside blue."""
    pixels = np.zeros((96, 96, 3), np.uint8)
    pixels[:48, :48], pixels[:48, 48:], pixels[48:] = (90, 0, 0), (0, 0, 90), (200, 200, 200)
    bright, colour = unpack_grids([grid_of(Image.fromarray(pixels)), bytes(BYTES)])
    assert (bright.shape, colour.shape) == ((2, SIDE, SIDE), (2, 2, COLOUR_SIDE, COLOUR_SIDE))
    red, blue = colour[0, :, 1, 1].astype(int), colour[0, :, 1, 6].astype(int)
    assert (bright[0, 4, 4], bright[0, 28, 4]) == (pytest.approx(0.299 * 90, abs=1), 200)
    assert blue[0] - 128 == pytest.approx(0.5 * 90, abs=1)
    assert red[1] - 128 == pytest.approx(0.5 * 90, abs=1)
    assert (colour[0, :, 6] == 128).all()
    assert not bright[1].any()


@pytest.mark.parametrize("size", [(75, 60), (333, 251), (1200, 900)])
def test_a_copy_of_another_size_has_nearly_the_same_grid(size: tuple[int, int]) -> None:
    """Whatever its shape: a grid is always square."""
    photo = photo_like(600, 800)
    original, copy = (np.frombuffer(grid_of(image), np.uint8).astype(int) for image in (photo, photo.resize(size)))
    assert np.abs(original - copy).max() <= 6 < original.std()


def test_a_grid_is_of_the_picture_as_it_is_displayed() -> None:
    """In sRGB, on white where it is transparent, turned as EXIF says."""
    photo = photo_like(60, 60)
    exif = Image.Exif()
    exif[274] = 6
    assert grid_of(photo.transpose(Image.Transpose.ROTATE_90), exif=exif) == grid_of(photo)
    assert set(grid_of(Image.new("RGBA", (40, 40), (0, 0, 0, 0)))[: SIDE * SIDE]) == {255}
    assert grid_of(photo.convert("L"))[SIDE * SIDE :] == b"\x80" * 128
