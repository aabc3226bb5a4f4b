"""Find the EXIF and XMP of files that keep them where Pillow does not look."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO

from PIL import Image

REACH = 4 << 20
"""How many bytes of a RAW file are searched for its EXIF, which stands before the pixels."""

_TIFF_HEADS = {  # Panasonic and Olympus have magic numbers of their own in front of a TIFF like any other
    b"II*\0": b"II*\0",
    b"MM\0*": b"MM\0*",
    b"IIU\0": b"II*\0",
    b"IIRO": b"II*\0",
    b"IIRS": b"II*\0",
    b"MMOR": b"MM\0*",
}
_JP2_EXIF, _JP2_XMP = b"JpgTiffExif->JP2", bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""The UUIDs of the boxes in which a JPEG 2000 has them (ExifTool's tables; XMP Specification Part 3)."""


def raw_exifs(raw: bytes) -> Iterator[Image.Exif]:
    """Yield the EXIF blocks of a camera RAW file; a damaged one is left out."""
    try:
        for block in _raw_blocks(raw):
            exif = Image.Exif()
            exif.load(block)
            yield exif
    except Exception:  # as many types as `decode` expects
        return


def _raw_blocks(raw: bytes) -> Iterator[bytes]:
    """Yield the TIFFs that a RAW file is or holds: one, but for Canon's CR3: each directory is one (CMT4: GPS)."""
    if head := _TIFF_HEADS.get(raw[:4]):
        yield raw if raw.startswith(head) else head + raw[4:]
    elif raw.startswith(b"FUJIFILMCCD-RAW"):
        start, size = struct.unpack_from(">II", raw, 84)  # a JPEG, with EXIF of the camera
        yield Image.open(BytesIO(raw[start : start + size]), formats=("JPEG",)).info["exif"]
    elif raw[4:12] == b"ftypcrx ":
        for name in (b"CMT1", b"CMT2", b"CMT4"):
            start = raw.index(name, 0, REACH)
            yield raw[start + 4 : start - 4 + int.from_bytes(raw[start - 4 : start], "big")]
    elif raw.startswith(b"\0MRM"):  # Minolta
        yield raw[raw.index(b"\0TTW", 0, REACH) + 8 :]


def adopt_metadata(image: Image.Image, data: bytes) -> None:
    """Put the EXIF and XMP of `data` into the `info` of the picture loaded from it, where Pillow looks for them.

    A PNG by ImageMagick has them as hexadecimal text, a JPEG 2000 in boxes.
    """
    if image.format == "PNG":
        kinds = ("exif", "APP1", "xmp")
        blocks = [_profile(str(image.info.pop(f"Raw profile type {kind}", ""))) for kind in kinds]
    elif image.format == "JPEG2000":
        blocks = list(_uuid_boxes(data))
    else:
        return
    for block in blocks:
        if block.startswith((b"Exif\0\0", b"II*\0", b"MM\0*", _JP2_EXIF)):
            image.info.setdefault("exif", block.removeprefix(_JP2_EXIF))
        elif b"adobe:ns:meta/" in block or block.startswith(_JP2_XMP):
            image.info.setdefault("xmp", block)


def _profile(text: str) -> bytes:
    """Return what a `Raw profile type` text holds: behind a name and a length, hexadecimal lines."""
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return b""


def _uuid_boxes(data: bytes) -> Iterator[bytes]:
    """Yield the content of the top-level `uuid` boxes (ISO/IEC 15444-1, annex I.7.2), which begins with the UUID."""
    start = 0
    while len(data) - start >= 16:
        size, kind, large_size = struct.unpack_from(">I4sQ", data, start)
        header, size = (16, large_size) if size == 1 else (8, size or len(data) - start)
        if kind == b"uuid":
            yield data[start + header : start + size]
        start += max(8, size)
