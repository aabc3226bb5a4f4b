"""`--decode preview`: the small copy in a file stands for the picture where it serves, and never otherwise."""

from __future__ import annotations

import io
import struct

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageOps

from image_index.errors import DecodeError
from image_index.formats import Decoding
from image_index.pictures.decode import Picture, decode
from image_index.records import DateSource, Preprocess
from tests.support.encoded_pictures import content, distance, photo_like, preprocess, saved

SMALL = preprocess(90)
PICTURE = photo_like(300, 400)
NEGATIVE = ImageOps.invert(PICTURE)
"""A preview that shows something else betrays that it was taken."""


def decoded_as(decoding: Decoding, data: bytes, target: Preprocess = SMALL) -> Picture:
    """Decode bytes."""
    return decode(content(data), target, decoding=decoding)


def jpeg_with_preview(preview: bytes, orientation: int = 1, picture: Image.Image = PICTURE) -> bytes:
    """Return a JPEG whose EXIF has an orientation, a camera, a date, and a thumbnail in its second directory."""
    date = b"2024:05:31 18:30:00\0"
    first, second = 8, 8 + 2 + 3 * 12 + 4
    date_at = second + 2 + 2 * 12 + 4
    preview_at = date_at + len(date)
    block = b"Exif\0\0II*\0" + struct.pack("<IH", first, 3)
    block += struct.pack("<HHI4s", 0x010F, 2, 4, b"Ada\0") + struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    block += struct.pack("<HHII", 0x0132, 2, len(date), date_at) + struct.pack("<IH", second, 2)
    block += struct.pack("<HHII", 0x0201, 4, 1, preview_at) + struct.pack("<HHII", 0x0202, 4, 1, len(preview))
    return saved(picture, "JPEG", quality=95, exif=block + struct.pack("<I", 0) + date + preview)


def thumbnail(image: Image.Image, width: int, height: int) -> bytes:
    """Return a small copy as a JPEG."""
    return saved(image.resize((width, height)), "JPEG", quality=95)


def is_taken(data: bytes, target: Preprocess = SMALL) -> bool:
    """Tell whether the preview, which is a negative, was decoded instead of the picture."""
    fast, preview = (decoded_as(way, data, target).pixels.astype(int) for way in (Decoding.FAST, Decoding.PREVIEW))
    return bool(np.abs(fast - preview).mean() > 20)


def test_the_preview_of_a_heic_is_decoded_in_its_place() -> None:
    """Its pixels are those of the thumbnail that pillow-heif finds; width and height are the picture's."""
    data = saved(PICTURE, "HEIF", thumbnails=[160], tile_size=128)
    picture = decoded_as(Decoding.PREVIEW, data)
    alone = pillow_heif.open_heif(io.BytesIO(data))[0].get_thumbnail(0).to_pillow()
    assert alone.size == (160, 120)
    assert distance(picture.pixels, decoded_as(Decoding.FAST, saved(alone, "PNG")).pixels) == 0
    assert picture.facts[:3] == (400, 300, "heif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_preview_is_turned_like_its_picture(orientation: int) -> None:
    """In a HEIC it has the same properties, in a JPEG the orientation in EXIF counts for both."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    heic = saved(PICTURE, "HEIF", thumbnails=[200], exif=exif.tobytes(), quality=90)
    for data in (heic, jpeg_with_preview(thumbnail(PICTURE, 200, 150), orientation)):
        fast, preview = (decoded_as(way, data) for way in (Decoding.FAST, Decoding.PREVIEW))
        assert preview.facts[:-1] == fast.facts[:-1]
        assert np.abs(fast.pixels.astype(int) - preview.pixels).mean() < 6
        assert not np.array_equal(fast.pixels, preview.pixels)


def test_the_facts_are_those_of_the_whole_file() -> None:
    """Size, format, date and camera, as if the picture itself had been decoded."""
    facts = decoded_as(Decoding.PREVIEW, jpeg_with_preview(thumbnail(NEGATIVE, 160, 120), orientation=6)).facts
    assert facts[:3] == (300, 400, "jpeg")
    assert (facts.camera, facts.date_source) == ("Ada", DateSource.EXIF)


def test_a_preview_of_fewer_pixels_than_the_model_takes_is_left() -> None:
    """Of 400 x 300, a model of 90 x 90 takes 120 x 90."""
    assert is_taken(jpeg_with_preview(thumbnail(NEGATIVE, 120, 90)))
    assert not is_taken(jpeg_with_preview(thumbnail(NEGATIVE, 119, 89)))
    assert not is_taken(jpeg_with_preview(thumbnail(NEGATIVE, 120, 90)), preprocess(96))
    data = saved(PICTURE, "HEIF", thumbnails=[100])
    fast, preview = (decoded_as(way, data) for way in (Decoding.FAST, Decoding.PREVIEW))
    assert distance(fast.pixels, preview.pixels) == 0


@pytest.mark.parametrize(
    "preview",
    [thumbnail(NEGATIVE, 160, 90), thumbnail(NEGATIVE.convert("L"), 160, 120), thumbnail(NEGATIVE, 160, 120)[:900]],
    ids=["of another shape", "grey", "cut short"],
)
def test_a_preview_that_is_not_the_picture_made_small_is_left(preview: bytes) -> None:
    """Black bars and a crop that came later change the shape; damage costs the preview alone."""
    assert not is_taken(jpeg_with_preview(preview))


def test_a_truncated_jpeg_is_refused_although_its_preview_is_there() -> None:
    """The end of the scan must be in the file, wherever; that of the preview does not count."""
    data = jpeg_with_preview(thumbnail(NEGATIVE, 160, 120))
    assert is_taken(data + b"what a phone has put behind it")
    with pytest.raises(DecodeError, match="cut short"):
        decoded_as(Decoding.PREVIEW, data[:-2000])


def test_a_truncated_heic_is_refused_although_its_preview_is_there() -> None:
    """Its last tile would be black, and nobody would notice."""
    data = saved(PICTURE, "HEIF", thumbnails=[160], tile_size=128)
    with pytest.raises(DecodeError, match="cut short"):
        decoded_as(Decoding.PREVIEW, data[:-500])


@pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF"])
def test_other_formats_are_decoded_as_ever(name: str) -> None:
    """They have no preview that serves."""
    data = saved(PICTURE, name)
    fast, preview = (decoded_as(way, data) for way in (Decoding.FAST, Decoding.PREVIEW))
    assert distance(fast.pixels, preview.pixels) == 0
