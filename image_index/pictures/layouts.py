"""Layouts of TIFF that Pillow could read but does not list, and names for those that nothing here reads."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

from PIL import ExifTags, Image, TiffImagePlugin

_COLOURS = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "Lab", 9: "Lab"}
_CHANNELS = {0: 1, 1: 1, 3: 1, 5: 4}
_NUMBERS = {1: "", 2: "signed ", 3: "float ", 5: "complex ", 6: "complex "}


_UNREAD = {b"MM\0+": "a big-endian BigTIFF", b"P7\n": "a PAM", b"PF\n": "a PFM in colour", b"PF ": "a PFM in colour"}

DNG_VERSION = 50706
"""The TIFF tag that every DNG has."""


def list_more_layouts() -> None:
    """Let Pillow read integers of 16 and 32 bits in any order, with zero black or white, and grey with alpha."""
    more: dict[Any, tuple[str, str]] = {}
    for photometric in (0, 1):
        for number in (1, 2):
            more[b"II", photometric, (number,), 1, (32,), ()] = ("I", "I;32S")
            more[b"MM", photometric, (number,), 1, (32,), ()] = ("I", "I;32BS")
        more[b"II", photometric, (2,), 1, (16,), ()] = ("I", "I;16S")
        more[b"MM", photometric, (2,), 1, (16,), ()] = ("I", "I;16BS")
        more[b"MM", photometric, (1,), 1, (16,), ()] = ("I;16B", "I;16B")
        more[b"II", photometric, (3,), 1, (64,), ()] = ("F", "F;64F")
    for order in (b"II", b"MM"):  # as Pillow takes four channels of RGB for RGBA
        more[order, 1, (1,), 1, (8, 8), ()] = ("LA", "LA")
    for layout, modes in more.items():
        TiffImagePlugin.OPEN_INFO.setdefault(layout, modes)


def name_layout(data: bytes) -> str | None:
    """Return what a picture is whose start is sound, but whose layout is not read; None for one without such a start.

    It is asked only of what Pillow has refused.
    """
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0")):
        return _tiff_layout(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_layout(data)
    if data.startswith(b"BM") and len(data) > 34:
        bits, compression = struct.unpack_from("<HI", data, 28)
        return f"a BMP with {bits} bits and {'masks of its own' if compression == 3 else f'compression {compression}'}"
    if data[12:16] == b"CgBI":
        return "a PNG for iPhones (CgBI)"
    return next((name for start, name in _UNREAD.items() if data.startswith(start)), None)


def _tiff_layout(data: bytes) -> str | None:
    """Return what the tags of a TIFF say, None where they are damaged or Pillow knows the layout."""
    try:
        TiffImagePlugin.TiffImageFile(BytesIO(data))
    except SyntaxError as error:
        if str(error) != "unknown pixel mode" and not isinstance(error.__cause__, KeyError):  # of a compression
            return None
    except Exception:  # damage, in as many types as `decode` expects
        return None
    tags = Image.Exif()
    tags.load(data)
    compression = tags.get(ExifTags.Base.Compression, 1)
    if compression not in TiffImagePlugin.COMPRESSION_INFO:
        return f"a TIFF with compression {compression}"
    bits, number = (_first(tags.get(tag, 1)) for tag in (ExifTags.Base.BitsPerSample, ExifTags.Base.SampleFormat))
    photometric = tags.get(ExifTags.Base.PhotometricInterpretation, 0)
    colours = _COLOURS.get(photometric, f"photometric interpretation {photometric}")
    has_more = tags.get(ExifTags.Base.SamplesPerPixel, 1) > _CHANNELS.get(photometric, 3)
    extra = " and more channels" if has_more or ExifTags.Base.ExtraSamples in tags else ""
    return f"a TIFF with {bits}-bit {_NUMBERS.get(number, '')}{colours}{extra}"


def _jpeg_layout(data: bytes) -> str | None:
    """Return what the frame header of a JPEG says (ITU T.81, B.2.2), None for one that libjpeg reads."""
    start = 2
    while data[start : start + 1] == b"\xff" and len(data) - start >= 5:
        marker, size, precision = struct.unpack_from(">xBHB", data, start)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if marker in (0xC3, 0xC7, 0xCB, 0xCF):
                return "a lossless JPEG"
            return None if precision == 8 else f"a JPEG with {precision} bits"
        start += 2 + size
    return None


def _first(values: Any) -> Any:
    """Return the first of several values, or the only one."""
    return values[0] if isinstance(values, tuple) else values


def plain_tiff_pixels(data: bytes) -> int:
    """Return how many pixels a TIFF has; 0 for a camera's RAW file, which is a TIFF around a small picture, and others.

    A RAW file says that its first picture is reduced, lists others below it, or has the version of DNG.
    """
    if not data.startswith((b"II*\0", b"MM\0*")) or data[8:10] == b"CR":  # the latter is Canon's CR2
        return 0
    try:
        image = TiffImagePlugin.TiffImageFile(BytesIO(data))
    except Exception:  # damage, in as many types as `decode` expects
        return 0
    is_reduced = bool(image.tag_v2.get(ExifTags.Base.NewSubfileType, 0) & 1)
    is_raw = is_reduced or not {ExifTags.Base.SubIFDs, DNG_VERSION}.isdisjoint(image.tag_v2)
    return 0 if is_raw else image.width * image.height
