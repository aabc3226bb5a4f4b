"""Leave out of a JPEG the segments that Pillow stumbles over, though no pixel depends on them (ITU T.81, B.1.1.3)."""

from __future__ import annotations

import struct

START = b"\xff\xd8"

_NEEDED = {
    0xE1: (b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"),
    0xE2: (b"ICC_PROFILE\0",),
    0xED: (b"Photoshop 3.0\0",),
    0xEE: (b"Adobe",),  # how colours are stored
}
"""The application data that is read, by marker, with what it begins with."""

_LEAST_BYTES = {0xE1: 14, 0xE2: 14, 0xED: 14, 0xEE: 12}
"""What each of those has at least."""


def without_side_segments(data: bytes) -> bytes:
    """Return a JPEG without application data and comments, but for metadata that is read and how colours are stored."""
    kept, start = [START], 2
    while len(data) - start >= 4:
        mark, marker, size = struct.unpack_from(">BBH", data, start)
        if mark != 0xFF or marker in (0xD9, 0xDA, 0xFF):
            break
        segment, content = data[start : start + 2 + size], data[start + 4 : start + 2 + size]
        is_long = len(content) >= _LEAST_BYTES.get(marker, 0)
        if marker < 0xE0 or (is_long and content.startswith(_NEEDED.get(marker, ()))):
            kept.append(segment)
        start += 2 + size
    return b"".join([*kept, data[start:]])
