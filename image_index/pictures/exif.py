"""Read from EXIF when and with which camera a picture was taken (CIPA DC-008, Exif 2.32)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from PIL import ExifTags, Image

CAMERA_LENGTH = 100
"""The longest name of a camera that is stored; the longest real ones have half of that."""

_TIMES = (
    (ExifTags.Base.DateTimeOriginal, ExifTags.Base.OffsetTimeOriginal),
    (ExifTags.Base.DateTimeDigitized, ExifTags.Base.OffsetTimeDigitized),
)
_TIFF_STARTS = (b"II*\0", b"MM\0*")
"""What a TIFF begins with, and so most RAW files."""


@dataclass(frozen=True, slots=True)
class Taken:
    """When a picture was taken, in seconds since 1970, and the camera; None where EXIF does not say."""

    at_s: int | None = None
    camera: str | None = None


def read_taken(image: Image.Image, raw: bytes = b"") -> Taken:
    """Return what the EXIF of a loaded picture says; if it says nothing and `raw` is a TIFF, what that file's says.

    `raw` is the RAW file that holds `image` as its preview. A time without an offset from UTC is taken as local time.
    Damaged EXIF raises nothing: what cannot be read is None.
    """
    taken = _taken(image.getexif) if image.format else Taken()
    if taken == Taken() and raw.startswith(_TIFF_STARTS):
        return _taken(lambda: _header(raw))
    return taken


def _header(raw: bytes) -> Image.Exif:
    """Return the EXIF of a TIFF without its pixels."""
    exif = Image.Exif()
    exif.load(raw)
    return exif


def _taken(read: Any) -> Taken:
    """Return the facts in the EXIF that `read` returns."""
    try:
        exif = read()
        inner = exif.get_ifd(ExifTags.IFD.Exif)
        times = (_seconds(inner.get(time), inner.get(offset)) for time, offset in _TIMES)
        at_s = next((time for time in times if time is not None), None)
        return Taken(at_s, _camera(exif.get(ExifTags.Base.Make), exif.get(ExifTags.Base.Model)))
    except Exception:  # Pillow raises as many types for damaged EXIF as `decode` expects: only these facts are lost
        return Taken()


def _seconds(time: object, offset: object) -> int | None:
    """Return `2024:05:31 18:30:00` with the offset `+02:00` in seconds since 1970; None for what is no time."""
    digits = re.match(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)", _text(time), re.ASCII)
    zone = re.fullmatch(r"[+-]\d\d:\d\d|Z", _text(offset), re.ASCII)
    if digits is None:
        return None
    try:
        year, month, day, *clock = digits.groups()
        text = f"{year}-{month}-{day}T{':'.join(clock)}{zone[0] if zone else ''}"
        return int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError, OSError):  # cameras whose clock was never set write 0000:00:00
        return None


def _camera(make: object, model: object) -> str | None:
    """Return make and model as one name: `Canon` and `Canon EOS 5D` are `Canon EOS 5D`."""
    first, second = _text(make), _text(model)
    known = second.lower().startswith(first.lower().partition(" ")[0])
    return (second if known else f"{first} {second}".strip())[:CAMERA_LENGTH] or first[:CAMERA_LENGTH] or None


def _text(value: object) -> str:
    """Return what EXIF has as text, up to the first NUL, in printable characters and single spaces."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
    return " ".join("".join(c if c.isprintable() else " " for c in text.partition("\0")[0]).split())
