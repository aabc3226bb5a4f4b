"""A side chunk of a PNG, however large or damaged, never costs the picture."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms

from image_index.errors import DecodeError
from image_index.files.read import FileContent
from image_index.pictures.decode import Picture, decode, prepare
from image_index.pictures.png import MOST_BYTES, SIGNATURE, without_side_chunks
from image_index.records import ImageFile, Preprocess

LEVELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
PRO_PHOTO = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def decoded(data: bytes) -> Picture:
    """Decode a picture of 30 x 20 pixels as it is."""
    options = Preprocess((20, 30), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), resize_mode="squash")
    return decode(FileContent(data, ImageFile(b"/a.png", len(data), 0), bytes(32), 0), options)


def png(image: Image.Image | None = None) -> bytes:
    """Return a picture without side chunks."""
    stream = io.BytesIO()
    (image or Image.fromarray(LEVELS)).save(stream, "PNG")
    return stream.getvalue()


def chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    """Return a chunk, with a wrong checksum if that is what is wanted."""
    checksum = zlib.crc32(kind + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def with_chunk(made: bytes, *, late: bool = False, data: bytes = b"") -> bytes:
    """Put a chunk in front of the pixels of a picture, or behind them."""
    data = data or png()
    place = data.index(b"IEND" if late else b"IDAT") - 4
    return data[:place] + made + data[place:]


XMP = b"XML:com.adobe.xmp\0"
ODD_CHUNKS = {
    "text of 2 MB": chunk(b"tEXt", b"Comment\0" + b"x" * (2 << 20)),
    "compressed text of 2 MB": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * (2 << 20))),
    "text that explodes": chunk(b"zTXt", XMP + b"\0" + zlib.compress(bytes(MOST_BYTES + 1))),
    "international text that explodes": chunk(b"iTXt", XMP + b"\1\0\0\0" + zlib.compress(bytes(MOST_BYTES + 1))),
    "over 64 MB of text": chunk(b"tEXt", b"Comment\0" + b"x" * (1 << 20)) * 70,
    "text with a wrong checksum": chunk(b"tEXt", b"Comment\0hello", 0),
    "needed text with a wrong checksum": chunk(b"iTXt", XMP + b"\0\0\0\0hello", 0),
    "text with an unknown method": chunk(b"zTXt", b"Raw profile type exif\0\7" + zlib.compress(b"x")),
    "international text with an unknown method": chunk(b"iTXt", XMP + b"\1\7\0\0" + zlib.compress(b"x")),
    "text with a broken stream": chunk(b"zTXt", b"Raw profile type exif\0\0garbage"),
    "profile with an unknown method": chunk(b"iCCP", b"icc\0\7" + zlib.compress(PRO_PHOTO)),
    "profile with a wrong checksum": chunk(b"iCCP", b"icc\0\0" + zlib.compress(PRO_PHOTO), 0),
    "profile with a broken stream": chunk(b"iCCP", b"icc\0\0garbage"),
    "profile without end": chunk(b"iCCP", b"icc"),
    "profile that explodes": chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(MOST_BYTES + 1))),
    "short gamma": chunk(b"gAMA", b"\0\1"),
    "short chromaticities": chunk(b"cHRM", b"\0\1"),
    "short pixel size": chunk(b"pHYs", b"\0\1"),
    "empty sRGB": chunk(b"sRGB", b""),
    "short transparency": chunk(b"tRNS", b"\0"),
    "wrong transparency": chunk(b"tRNS", b"\0\1\0\2\0\3", 0),
    "wrong EXIF": chunk(b"eXIf", b"MM\0*", 0),
    "damaged EXIF": chunk(b"eXIf", b"nonsense"),
    "short animation": chunk(b"acTL", b"\0") + chunk(b"fcTL", b"\0\0"),
    "type that is none": chunk(b"te\0t", b"abc"),
    "unknown": chunk(b"quQu", b"\0", 0),
}


@pytest.mark.parametrize("late", [False, True], ids=["before the pixels", "behind the pixels"])
@pytest.mark.parametrize("made", ODD_CHUNKS.values(), ids=ODD_CHUNKS)
def test_a_side_chunk_never_costs_the_picture(made: bytes, late: bool) -> None:
    """The picture is what it is without the chunk."""
    assert (decoded(with_chunk(made, late=late)).pixels == LEVELS).all()


@pytest.mark.parametrize("late", [False, True])
def test_sound_exif_is_kept(late: bool) -> None:
    """With the orientation, before the pixels and behind them."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Model] = 3, "X1"
    picture = decoded(with_chunk(chunk(b"eXIf", exif.tobytes()[6:]), late=late))
    assert picture.facts.camera == "X1"
    assert (picture.pixels == LEVELS[::-1, ::-1]).all()


def test_a_large_profile_is_applied() -> None:
    """One of more than a megabyte changes the colours as a small one does."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red_first = srgb.replace(b"rXYZ", b"tXYZ").replace(b"gXYZ", b"rXYZ").replace(b"tXYZ", b"gXYZ")
    small, large = (chunk(b"iCCP", b"icc\0\0" + zlib.compress(red_first + bytes(more))) for more in (0, 3 << 20))
    assert (decoded(with_chunk(small)).pixels != LEVELS).any()
    assert (decoded(with_chunk(large)).pixels == decoded(with_chunk(small)).pixels).all()


def test_transparency_is_kept() -> None:
    """A colour that is transparent is white."""
    plain = png(Image.new("RGB", (30, 20), (1, 2, 3)))
    made = chunk(b"tRNS", b"\0\1\0\2\0\3")
    assert (decoded(with_chunk(made, data=plain)).pixels == 255).all()


def test_nothing_is_left_out_of_a_picture_alone() -> None:
    """Its bytes are what they were, with what programs append to it."""
    assert without_side_chunks(png()) == png()
    assert without_side_chunks(png() + b"appended") == png() + b"appended"


@pytest.mark.parametrize("made", [chunk(b"quQu", bytes(50)), chunk(b"eXIf", b"MM\0*\0\0\0\x08" + bytes(40))])
def test_a_file_cut_within_a_side_chunk_is_refused(made: bytes) -> None:
    """What is missing may have been the picture's own."""
    data = with_chunk(made, late=True)
    start = data.index(made)
    for length in range(start, start + len(made) + 12):
        with pytest.raises(DecodeError, match="cut short"):
            decoded(data[:length])


@given(st.binary(max_size=200), st.integers(0, 120))
def test_any_bytes_come_through(garbage: bytes, place: int) -> None:
    """Nothing is raised, and nothing but whole side chunks is left out."""
    prepare()
    data = png()[:place] + garbage + png()[place:]
    kept = without_side_chunks(SIGNATURE + data)
    assert len(kept) <= len(data) + 8
    assert kept.startswith(SIGNATURE)
