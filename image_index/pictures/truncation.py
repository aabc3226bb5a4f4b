"""Tell a picture file that is cut short, in the formats in which Pillow and its libraries may not miss its end."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
from PIL import Image, ImageChops


def is_whole(image: Image.Image, data: bytes, scan_start: int, wanted: tuple[int, int] | None) -> bool:
    """Tell whether the end is there, for the formats in which Pillow and its libraries may not miss it."""
    match image.format:
        case "JPEG":
            return not _jpeg_ends_early(image, data, scan_start, wanted)
        case "PNG":  # without its end chunk the EXIF (rotation) before that may be gone; "IEND" and its CRC
            return b"IEND\xaeB`\x82" in data
        case "PPM":  # in plain PGM and PPM white space follows every number; without it, 25 may have been 255
            return data[:2] not in (b"P2", b"P3") or data[-1:].isspace()
        case "JPEG2000":  # the end marker after the first tile-part; OpenJPEG leaves missing tiles black
            return data.find(b"\xff\xd9", data.find(b"\xff\x90")) >= 0
        case "HEIF" | "AVIF":  # libheif leaves missing tiles of a grid (any iPhone picture) black
            return _boxes_fit(data)
    return True


def _jpeg_ends_early(image: Image.Image, data: bytes, scan_start: int, wanted: tuple[int, int] | None) -> bool:
    """Tell whether an end marker came before the last row: libjpeg paints what is missing grey and says nothing."""
    corner = image.getpixel((image.width - 1, image.height - 1))
    if not all(127 <= level <= 128 for level in np.atleast_1d(np.asarray(corner))):
        return False
    # Grey in the last corner is suspect. A whole scan is deaf to more data before its end marker, a cut one is not.
    end = data.find(b"\xff\xd9", scan_start)
    again = Image.open(BytesIO(data[:end] + bytes(range(1, 65)) + data[end:]), formats=("JPEG",))
    again.draft(None, wanted)
    return ImageChops.difference(image, again).getbbox(alpha_only=False) is not None


def _boxes_fit(data: bytes) -> bool:
    """Tell whether the top-level boxes that hold a picture end inside the file (ISO/IEC 14496-12, 4.2)."""
    start = 0
    while len(data) - start >= 16:
        size, kind, large_size = struct.unpack_from(">I4sQ", data, start)
        start += max(8, large_size if size == 1 else size or len(data) - start)
        if start > len(data) and kind in (b"meta", b"mdat", b"moov"):
            return False
    return True
