"""The few facts that are read of an XMP packet (Adobe, "XMP Specification Part 1", 2012)."""

from __future__ import annotations

import re
from html import unescape

MOST_BYTES = 1 << 20
"""What stands behind is not looked at: real packets of this size hold the steps of an edit, and those come last."""

_FACT = re.compile(
    r"\b(exif:DateTimeOriginal|photoshop:DateCreated|xmp:CreateDate|xap:CreateDate|exif:DateTimeDigitized"
    r"|exif:GPSLatitude|exif:GPSLongitude|exif:GPSAltitude|exif:GPSAltitudeRef"
    r"""|tiff:Make|tiff:Model)(?:\s*=\s*["']|\s*>\s*)([^"'<>]{1,100})"""
)


def read_xmp(packet: str | bytes) -> dict[str, str]:
    """Return the times, the position, the make and the model in a packet, by name; the first of each counts.

    No XML parser: a packet may be cut short or damaged, and entities could make it as large as they like.
    """
    text = packet if isinstance(packet, str) else packet[:MOST_BYTES].replace(b"\0", b"").decode("utf-8", "replace")
    found: dict[str, str] = {}
    for name, value in _FACT.findall(text[:MOST_BYTES]):
        found.setdefault(name.replace("xap:", "xmp:"), unescape(value))
    return found
