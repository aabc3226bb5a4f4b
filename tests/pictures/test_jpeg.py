"""A segment of a JPEG that no pixel depends on never costs the picture."""

from __future__ import annotations

import io
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from image_index.files.read import FileContent
from image_index.pictures.decode import Picture, decode
from image_index.pictures.jpeg import without_side_segments
from image_index.records import ImageFile, Preprocess

LEVELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def jpeg(mode: str = "RGB", **options: object) -> bytes:
    """Return a picture of 30 x 20 pixels."""
    stream = io.BytesIO()
    Image.fromarray(LEVELS).convert(mode).save(stream, "JPEG", **options)
    return stream.getvalue()


def with_segment(marker: int, content: bytes, data: bytes) -> bytes:
    """Put a segment in front of all others."""
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + data[2:]


def decoded(data: bytes) -> Picture:
    """Decode a picture as it is."""
    options = Preprocess((20, 30), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), resize_mode="squash")
    return decode(FileContent(data, ImageFile(b"/a.jpg", len(data), 0), bytes(32), 0), options, math.inf)


@pytest.mark.parametrize(
    ("marker", "content"),
    [
        *((0xE0, b"JFIF\0"), (0xEE, b"Adobe"), (0xED, b"Photoshop 3.0\x008B"), (0xE1, b"Exif\0\0"), (0xE2, b"MPF\0")),
        *((0xE2, b"ICC_PROFILE\0"), (0xE1, b"http://ns.adobe.com/xap/1.0/\0"), (0xFE, b""), (0xEB, b"JP"), (0xE2, b"")),
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_a_short_segment_never_costs_the_picture(mode: str, marker: int, content: bytes) -> None:
    """The picture is what it is without the segment, with its colours and its EXIF."""
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = "X1"
    data = jpeg(mode, exif=exif)
    picture = decoded(with_segment(marker, content, data))
    assert (picture.pixels == decoded(data).pixels).all()
    assert picture.facts.camera == "X1"


def test_what_the_pixels_need_is_kept() -> None:
    """Without other segments nothing is left out but JFIF's."""
    data = jpeg("CMYK")
    assert without_side_segments(data) == data
    plain = jpeg()
    assert without_side_segments(plain) == plain[:2] + plain[20:]


@given(st.binary(max_size=300))
def test_any_bytes_come_through(garbage: bytes) -> None:
    """Nothing is raised."""
    data = b"\xff\xd8" + garbage
    assert len(without_side_segments(data)) <= len(data)
