"""Find truncated files, in the formats where Pillow and its libraries do not notice a missing end."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
from PIL import Image, ImageChops

PNG_END = b"IEND\xaeB`\x82"
"""The end chunk with its CRC."""


def is_truncated(image: Image.Image, data: bytes, scan_start: int, least_size: tuple[int, int] | None) -> bool:
    """Tell whether the end of a loaded picture's file `data` is missing, where loading it may have gone unnoticed.

    `scan_start` is where a JPEG's header ends, `least_size` what `Image.draft` was asked for, None where it was not.
    """
    match image.format:
        case "JPEG":
            return _jpeg_ends_early(image, data, scan_start, least_size)
        case "PNG":  # EXIF, and so the rotation, may stand between the pixels and the end chunk
            return PNG_END not in data
        case "PPM":  # in plain PGM and PPM white space follows every number: without it, 25 may have been 255
            return data[:2] in (b"P2", b"P3") and not data[-1:].isspace()
        case "JPEG2000":  # the end marker after the first tile-part: OpenJPEG leaves missing tiles black
            return data.find(b"\xff\xd9", data.find(b"\xff\x90")) < 0
        case "HEIF" | "AVIF":  # libheif leaves missing tiles of a grid, as in any iPhone picture, black
            return a_box_is_cut(data)
    return False


def _jpeg_ends_early(image: Image.Image, data: bytes, scan_start: int, least_size: tuple[int, int] | None) -> bool:
    """Tell whether an end marker came before the last row: libjpeg paints what is missing grey and says nothing."""
    corner = image.getpixel((image.width - 1, image.height - 1))
    if not all(127 <= level <= 128 for level in np.atleast_1d(np.asarray(corner))):
        return False
    # Grey in the last corner is suspect, but a photo may end in it too. So some bytes are put in before the end marker
    # and the file is decoded again: a complete scan is not changed by them, one that ended early goes on with them.
    end = data.find(b"\xff\xd9", scan_start)
    again = Image.open(BytesIO(data[:end] + bytes(range(1, 65)) + data[end:]), formats=("JPEG",))
    again.draft(None, least_size)
    return ImageChops.difference(image, again).getbbox(alpha_only=False) is not None


def a_box_is_cut(data: bytes) -> bool:
    """Tell whether a top-level box that holds a picture ends beyond the file (ISO/IEC 14496-12, 4.2)."""
    start = 0
    while len(data) - start >= 16:
        size, kind, large_size = struct.unpack_from(">I4sQ", data, start)
        start += max(8, large_size if size == 1 else size or len(data) - start)
        if start > len(data) and kind in (b"meta", b"mdat", b"moov"):
            return True
    return False
