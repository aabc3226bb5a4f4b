"""EXIF and XMP where Pillow does not look: boxes, text of a PNG, RAW files that are no plain TIFF."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import ExifTags, Image, PngImagePlugin

from image_index.pictures.containers import adopt_metadata, raw_exifs

EXIF = Image.Exif()
EXIF.endian = "<"
EXIF[ExifTags.Base.Model] = "X1"
EXIF[ExifTags.Base.Orientation] = 6
BLOCK = EXIF.tobytes()
TIFF = BLOCK.removeprefix(b"Exif\0\0")
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


def models(raw: bytes) -> list[object]:
    """Return what the EXIF blocks of a RAW file say of the camera."""
    return [exif.get(ExifTags.Base.Model) for exif in raw_exifs(raw)]


def box(kind: bytes, content: bytes, *, long: bool = False) -> bytes:
    """Return a box of an ISO file."""
    if long:
        return struct.pack(">I4sQ", 1, kind, 16 + len(content)) + content
    return struct.pack(">I4s", 8 + len(content), kind) + content


def jpeg() -> bytes:
    """Return a small JPEG with EXIF."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "JPEG", exif=BLOCK)
    return stream.getvalue()


@pytest.mark.parametrize(
    "raw",
    [
        TIFF,
        b"IIU\0" + TIFF[4:],
        b"IIRO" + TIFF[4:],
        b"IIRS" + TIFF[4:],
        b"FUJIFILMCCD-RAW 0201".ljust(84, b"\0") + struct.pack(">II", 100, len(jpeg())) + b"\0" * 8 + jpeg(),
        b"\0MRM\0\0\1\0" + b"\0PRD\0\0\0\2ab" + b"\0TTW" + struct.pack(">I", len(TIFF)) + TIFF,
    ],
    ids=["TIFF", "RW2", "ORF", "older ORF", "RAF", "MRW"],
)
def test_the_exif_of_every_raw_container_is_found(raw: bytes) -> None:
    """Behind magic numbers and headers of their own, they hold a TIFF like any other."""
    assert models(raw) == ["X1"]


def test_both_directories_of_a_cr3_are_found() -> None:
    """Canon keeps each in a TIFF of its own."""
    raw = box(b"ftyp", b"crx \0\0\0\1") + box(b"moov", box(b"CMT1", TIFF) + box(b"CMT2", TIFF))
    assert models(raw) == ["X1", "X1"]


@pytest.mark.parametrize("raw", [b"", b"raw", b"II*\0", b"FUJIFILMCCD-RAW", b"\0MRM", b"\0\0\0\x18ftypcrx ", TIFF[:20]])
def test_a_damaged_raw_file_has_no_exif(raw: bytes) -> None:
    """And nothing is raised."""
    assert [model for model in models(raw) if model] == []


def profile(kind: str, content: bytes) -> bytes:
    """Return a PNG with text as ImageMagick writes it."""
    lines = content.hex()
    text = f"\n{kind}\n{len(content):8d}\n" + "\n".join(lines[n : n + 72] for n in range(0, len(lines), 72)) + "\n"
    info = PngImagePlugin.PngInfo()
    info.add_text(f"Raw profile type {kind}", text, zip=True)
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG", pnginfo=info)
    return stream.getvalue()


def jp2(*boxes: bytes) -> bytes:
    """Return a JPEG 2000 with boxes before its pixels."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "JPEG2000")
    head, name, pixels = stream.getvalue().partition(b"jp2c")
    return head[:-4] + b"".join(boxes) + head[-4:] + name + pixels


def loaded(data: bytes) -> Image.Image:
    """Return a picture loaded as the decoder does."""
    image = Image.open(io.BytesIO(data))
    image.load()
    adopt_metadata(image, data)
    return image


@pytest.mark.parametrize(
    "data",
    [
        profile("exif", BLOCK),
        profile("APP1", BLOCK),
        profile("APP1", TIFF),
        jp2(box(b"uuid", b"JpgTiffExif->JP2" + TIFF)),
        jp2(box(b"uuid", b"JpgTiffExif->JP2" + TIFF, long=True)),
        jp2(box(b"uuid", b"x" * 16), box(b"uuid", b"JpgTiffExif->JP2" + BLOCK)),
    ],
)
def test_exif_is_found_by_pillow_afterwards(data: bytes) -> None:
    """With the orientation, too."""
    exif = loaded(data).getexif()
    assert (exif.get(ExifTags.Base.Model), exif.get(ExifTags.Base.Orientation)) == ("X1", 6)


@pytest.mark.parametrize(
    "data",
    [
        profile("xmp", XMP),
        profile("APP1", b"http://ns.adobe.com/xap/1.0/\0" + XMP),
        jp2(box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + XMP)),
    ],
)
def test_xmp_is_found_afterwards(data: bytes) -> None:
    """It stands where Pillow puts that of a JPEG."""
    assert XMP in loaded(data).info["xmp"]


@pytest.mark.parametrize("data", [profile("exif", b""), profile("xmp", b"no XMP"), jp2(box(b"uuid", b""))])
def test_damage_leaves_a_picture_without(data: bytes) -> None:
    """And nothing is raised."""
    assert dict(loaded(data).getexif()) == {}


def test_a_profile_that_is_no_hexadecimal_is_none() -> None:
    """ImageMagick's text may have been edited."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", "\nexif\n 4\nzzzz\n")
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG", pnginfo=info)
    assert dict(loaded(stream.getvalue()).getexif()) == {}
