"""Where a picture was taken: what the GPS directory of its EXIF says (CIPA DC-008, section 4.6.6), or its XMP.

A position that cannot be, or that may lie in two halves of the earth, is none: it would be told as if it were known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from PIL import ExifTags, Image

LOWEST_M, HIGHEST_M = -12_000.0, 100_000.0
"""Altitudes in metres, from below the deepest sea to the edge of space; others are clutter."""

_DIGITS = 7
"""How many decimals of a degree are kept: one centimetre."""

_LATITUDE, _LONGITUDE = "NS", "EW"
_MOST_DEGREES = {_LATITUDE: 90, _LONGITUDE: 180}
_NUMBER = r"(\d{1,9}(?:\.\d{0,15})?)"
_XMP_DEGREES = re.compile(rf"\s*([+-]?){_NUMBER}(?:\s*,\s*{_NUMBER})?(?:\s*,\s*{_NUMBER})?\s*([NSEWnsew]?)\s*")
"""`51,30.44N` and `51,30,26N` (XMP Specification Part 2, "GPSCoordinate"), or signed degrees: `-33.86`."""


class Position(NamedTuple):
    """A position in degrees (WGS 84), north and east being positive; `altitude_m` is negative below the sea."""

    latitude: float
    longitude: float
    altitude_m: float | None = None


def exif_position(exif: Image.Exif) -> Position | None:
    """Return the position that EXIF states; None where it states none, or damage has hit it."""
    for read_tags in (lambda: exif.get_ifd(ExifTags.IFD.GPSInfo), lambda: exif):  # a CR3 has GPS in the first directory
        try:
            tags: Mapping[int, Any] = read_tags()
            if ExifTags.GPS.GPSLatitude in tags:
                return _of_tags(tags)
        except Exception:  # damaged EXIF, in as many types as `decode` expects
            continue
    return None


def xmp_position(facts: Mapping[str, str]) -> Position | None:
    """Return the position that the facts of an XMP packet state, None where they state none."""
    latitude = _xmp_degrees(facts.get("exif:GPSLatitude", ""), _LATITUDE)
    longitude = _xmp_degrees(facts.get("exif:GPSLongitude", ""), _LONGITUDE)
    height = _fraction(facts.get("exif:GPSAltitude", ""))
    return _position(latitude, longitude, _altitude(height, facts.get("exif:GPSAltitudeRef")))


def _of_tags(tags: Mapping[int, Any]) -> Position | None:
    """Return the position that the tags of a GPS directory state."""
    gps = ExifTags.GPS
    latitude = _exif_degrees(tags[gps.GPSLatitude], tags.get(gps.GPSLatitudeRef), _LATITUDE)
    longitude = _exif_degrees(tags[gps.GPSLongitude], tags.get(gps.GPSLongitudeRef), _LONGITUDE)
    height = tags.get(gps.GPSAltitude)
    return _position(latitude, longitude, _altitude(height, tags.get(gps.GPSAltitudeRef)))


def _position(latitude: float | None, longitude: float | None, altitude_m: float | None) -> Position | None:
    """Return a position whose parts are known. 0,0 is what a receiver without a signal says, not a place at sea."""
    if latitude is None or longitude is None or latitude == longitude == 0:
        return None
    return Position(latitude, longitude, altitude_m)


def _exif_degrees(value: Any, half: Any, halves: str) -> float | None:
    """Return degrees, minutes and seconds, or the first of them, as degrees."""
    parts = [float(part) for part in (value if isinstance(value, tuple) else (value,))]
    letter = half.decode("ascii", "replace") if isinstance(half, bytes) else str(half or "")
    letter = letter.strip("\0 ")[:1].upper()
    if letter not in halves or not letter:
        if not parts[0] < 0:  # without its half, only what has a sign is one position
            return None
        letter = halves[1]
    return _degrees(parts, letter, halves)


def _xmp_degrees(text: str, halves: str) -> float | None:
    """Return the degrees that a text states."""
    match = _XMP_DEGREES.fullmatch(text)
    if match is None:
        return None
    sign, *numbers, letter = match.groups()
    parts = [float(number) for number in numbers if number is not None]
    if not letter:
        if len(parts) > 1:
            return None
        letter = halves[sign == "-"]
    return _degrees(parts, letter.upper(), halves) if letter.upper() in halves else None


def _degrees(parts: list[float], letter: str, halves: str) -> float | None:
    """Return degrees that may have minutes and seconds with their sign; None for what no place has.

    A rational with zero below the line, which Pillow reads as NaN, is no number: all of it is then unknown.
    """
    degrees, *rest = parts
    if len(rest) > 2 or not all(0 <= part <= 60 for part in rest):
        return None
    value = abs(degrees) + sum(part / 60**power for power, part in enumerate(rest, 1))
    if not value <= _MOST_DEGREES[halves]:
        return None
    return round(-value if letter == halves[1] or degrees < 0 else value, _DIGITS) or 0.0  # no -0.0


def _altitude(height: Any, reference: Any) -> float | None:
    """Return metres above the sea; the reference is 1 below it, and 3 below the ellipsoid (Exif 3.0)."""
    first = reference[:1] if isinstance(reference, bytes | str | tuple) else reference
    is_below = first in (1, 3, (1,), (3,), b"\x01", b"\x03", "\x01", b"1", b"3", "1", "3")
    try:
        metres = float(height)
    except Exception:  # absent, or damage as above
        return None
    metres = round(-abs(metres) if is_below else metres, 2) or 0.0
    return metres if LOWEST_M <= metres <= HIGHEST_M else None


def _fraction(text: str) -> float | None:
    """Return a number or a fraction as XMP writes it: `1234/10`."""
    above, _, below = text.strip().partition("/")
    try:
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        return None
