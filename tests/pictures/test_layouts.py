"""What is whole but cannot be read is named, and not called damaged."""

from __future__ import annotations

import io
import math
import struct

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from image_index.errors import DecodeError
from image_index.files.read import FileContent
from image_index.pictures.decode import decode
from image_index.pictures.layouts import name_layout, plain_tiff_pixels
from image_index.records import ImageFile, Preprocess

TAGS = TiffImagePlugin.ImageFileDirectory_v2


def tiff(**tags: int | tuple[int, ...]) -> bytes:
    """Return a TIFF of 8 x 6 pixels of three floats, with other tags where they are named."""
    directory = TAGS()
    named = {"bits": 258, "compression": 259, "photometric": 262, "number": 339, "extra": 338, "reduced": 254}
    named |= {"subs": 330, "dng": 50706}
    values = {"bits": (32, 32, 32), "compression": 1, "photometric": 2, "number": (3, 3, 3)} | tags
    for tag, number in ((256, 8), (257, 6), (278, 6), (273, 400), (279, 576)):
        directory[tag] = number
    for name, value in values.items():
        directory[named[name]] = value
    directory[277] = len(directory[258])
    return (b"II*\0\x08\0\0\0" + directory.tobytes(8)).ljust(400, b"\0") + bytes(576)


def bmp() -> bytes:
    """Return a BMP with four bits for each colour."""
    header = struct.pack("<IiiHHIIiiII", 56, 4, 4, 1, 16, 3, 32, 0, 0, 0, 0) + struct.pack("<4I", 0xF00, 0xF0, 0xF, 0)
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + 32, 0, 0, 14 + len(header)) + header + bytes(32)


UNREAD = {
    "a TIFF with 32-bit float RGB": tiff(),
    "a TIFF with 16-bit float grey": tiff(bits=(16,), number=(3,), photometric=1),
    "a TIFF with 16-bit Lab": tiff(bits=(16, 16, 16), number=(1, 1, 1), photometric=8),
    "a TIFF with 16-bit grey and more channels": tiff(bits=(16, 16), number=(1, 1), photometric=1, extra=2),
    "a TIFF with compression 33003": tiff(compression=33003),
    "a TIFF with 8-bit photometric interpretation 32803": tiff(bits=(8, 8, 8), number=(1, 1, 1), photometric=32803),
    "a TIFF with 8-bit grey and more channels": tiff(bits=(8, 8, 8), number=(1, 1, 1), photometric=1),
    "a JPEG with 12 bits": b"\xff\xd8\xff\xe0\0\4ab\xff\xc0\0\x0b\x0c\0\x08\0\x08\1\1\x11\0",
    "a lossless JPEG": b"\xff\xd8\xff\xc3\0\x0b\x08\0\x08\0\x08\1\1\x11\0\xff\xda",
    "a PAM": b"P7\nWIDTH 8\nHEIGHT 8\nDEPTH 3\nMAXVAL 255\nENDHDR\n" + bytes(192),
    "a PNG for iPhones (CgBI)": b"\x89PNG\r\n\x1a\n\0\0\0\4CgBIP\0 \2\0\0\0\0",
    "a big-endian BigTIFF": b"MM\0+\0\x08\0\0" + bytes(100),
    "a PFM in colour": b"PF\n8 6\n-1.0\n" + bytes(8 * 6 * 12),
    "a BMP with 16 bits and masks of its own": bmp(),
}


@pytest.mark.parametrize("layout", UNREAD)
def test_a_layout_that_is_not_read_is_named(layout: str) -> None:
    """The reason says what the file is."""
    data = UNREAD[layout]
    options = Preprocess((8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    with pytest.raises(DecodeError) as caught:
        decode(FileContent(data, ImageFile(b"/a", len(data), 0), bytes(32), 0), options, math.inf)
    assert str(caught.value) == f"{layout}, which cannot be read"


@pytest.mark.parametrize("data", [b"", b"II*\0", b"BM", tiff()[:60], b"no picture", b"MM\0*" + bytes(50)])
def test_what_is_damaged_has_no_name(data: bytes) -> None:
    """And nothing is raised."""
    assert name_layout(data) is None
    assert plain_tiff_pixels(data) == 0


def plain(**tags: int | tuple[int, ...]) -> bytes:
    """Return a TIFF that Pillow knows."""
    return tiff(bits=(8, 8, 8), number=(1, 1, 1), **tags)


def test_a_tiff_is_told_from_a_raw_file() -> None:
    """By what those say of their first picture, which is a small one."""
    stream = io.BytesIO()
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(stream, "TIFF")
    assert plain_tiff_pixels(stream.getvalue()) == plain_tiff_pixels(plain()) == 48
    for data in (
        plain(reduced=1),
        plain(subs=(400, 500)),
        plain(dng=(1, 4, 0, 0)),
        b"II*\0\x10\0\0\0CR\2\0" + bytes(90),
    ):
        assert plain_tiff_pixels(data) == 0
