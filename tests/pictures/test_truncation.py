"""A file whose end is missing is refused, in every format, and no complete one is taken for truncated."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from image_index.errors import DecodeError
from tests.support.encoded_pictures import (
    HEIGHT,
    SAMPLE_NAMES,
    WIDTH,
    decoded,
    distance,
    full_size,
    photo_like,
    plain,
    preprocess,
    samples,
    saved,
)


@pytest.mark.parametrize("name", SAMPLE_NAMES)
def test_a_truncated_file_is_refused_or_complete(name: str) -> None:
    """However much of a file's end is missing, it fails or gives the pixels of the complete file."""
    data = samples()[name]
    expected = full_size(data)
    lengths = {*np.linspace(1, len(data) - 1, 28).astype(int).tolist(), *range(len(data) - 12, len(data))}
    refused = 0
    for length in sorted(lengths):
        try:
            pixels = decoded(data[:length], preprocess(*expected.shape[:2], resize_mode="squash")).pixels
        except DecodeError:
            refused += 1
        else:
            assert distance(pixels, expected) == 0, f"{length} of {len(data)} bytes"
    assert refused > 5


@pytest.mark.parametrize("name", [name for name in SAMPLE_NAMES if not name.startswith("plain")])
def test_appended_data_does_no_harm(name: str) -> None:
    """What phones and editors append to a whole picture is not looked at."""
    data = samples()[name]
    for tail in (b"\0" * 500, b"SEFT" + bytes(range(256)) * 3, data[len(data) // 2 :]):
        assert distance(full_size(data + tail), full_size(data)) == 0


@pytest.mark.parametrize("image", [photo_like(150, 200), photo_like(150, 200).convert("L")], ids=["RGB", "L"])
def test_a_jpeg_closed_too_early_is_refused(image: Image.Image) -> None:
    """An end marker in the middle of the picture does not make the rest grey."""
    data = saved(image, "JPEG")
    for share in (0.4, 0.6, 0.9):
        with pytest.raises(DecodeError, match="cut short"):
            decoded(data[: int(len(data) * share)] + b"\xff\xd9")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_grey_corner_is_no_crime(mode: str) -> None:
    """A whole picture that ends in the grey of a missing one is read."""
    image = Image.new("RGB", (WIDTH, HEIGHT), (128, 128, 128))
    image.paste(photo_like(20, 30), (3, 3))
    data = saved(image.convert(mode), "JPEG", quality=90)
    assert distance(decoded(data).pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))) == 0


@pytest.mark.parametrize(
    ("name", "part"), [("png late exif", b"eXIf"), ("jp2 tiles", b"\xff\x90\0\x0a"), ("j2k tiles", b"\xff\x90\0\x0a")]
)
def test_a_file_cut_between_two_parts_is_refused(name: str, part: bytes) -> None:
    """A file that ends before its EXIF or its first tile is not whole, though every part that is there may be."""
    data = samples()[name]
    end = data.index(part) - (4 if name.startswith("png") else 0)
    for length in (end - 4, end, end + 2, end + 4):
        with pytest.raises(DecodeError):
            decoded(data[:length])


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_truncated_number_is_not_a_smaller_number(missing: int) -> None:
    """A plain pixmap that ends within a number is refused."""
    data = plain(b"P3", np.full((HEIGHT, WIDTH, 3), 199), 255)
    with pytest.raises(DecodeError, match="cut short"):
        decoded(data[:-missing])
