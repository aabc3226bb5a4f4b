"""When, where and with what a picture was taken: what its EXIF says (CIPA DC-008, Exif 2.32), else its XMP or text."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from PIL import ExifTags, Image

from image_index.pictures.containers import raw_exifs
from image_index.pictures.gps import Position, exif_position, xmp_position
from image_index.pictures.timestamps import parse_timestamp
from image_index.pictures.xmp import read_xmp
from image_index.records import DateSource

CAMERA_LENGTH = 100
"""A camera's name is cut here: the longest real ones have half of it."""

_LIBRAW_SOFTWARE = "dcraw"
"""What LibRaw calls itself in the EXIF that it writes."""

_TEXTS = ("exif:DateTimeOriginal", "exif:DateTimeDigitized", "Creation Time", "create-date", "exif:DateTime")
"""The names under which a PNG has a date in text: those of ImageMagick, of the standard and of GIMP's exporters."""

_Directories = tuple[MutableMapping[int, Any], ...]
"""Where tags of EXIF are looked up, in this order."""

_IPTC, _IPTC_IN_TIFF = 0x0404, 33723
_IPTC_DATE = re.compile(rb"\x1c\x02\x37\0\x08(\d{8})")
_IPTC_TIME = re.compile(rb"\x1c\x02\x3c\0[\x06\x0b](\d{6}(?:[+-]\d{4})?)")
"""DateCreated and TimeCreated, with their record, number and length (IPTC IIM 4.2)."""


@dataclass(frozen=True, slots=True)
class Taken:
    """When a picture was taken, in seconds since 1970, what says so, the camera and where; None where nothing does."""

    at_s: int | None = None
    source: DateSource = DateSource.FILE
    camera: str | None = None
    position: Position | None = None

    def __or__(self, other: Taken) -> Taken:
        """Return what either says; where both say something, `self` counts."""
        dated = other if self.at_s is None else self
        return Taken(dated.at_s, dated.source, self.camera or other.camera, self.position or other.position)


def read_taken(image: Image.Image, raw: bytes = b"") -> Taken:
    """Return what a loaded picture says, and before it the RAW file `raw` whose preview it is.

    Damage of any kind costs what it hit alone. A time without an offset from UTC is one of the place where this runs.
    LibRaw writes EXIF of its own into a preview that has none, with the maker's name as LibRaw spells it: the file's
    own counts before, so that a camera has one name whether it writes RAW or JPEG.
    """
    own = Taken()
    for block in raw_exifs(raw):
        own |= _taken(block, {})
    try:
        exif = image.getexif()
    except Exception:  # damaged EXIF, in as many types as `decode` expects, costs these facts and not the picture
        exif = Image.Exif()
    preview = _taken(exif, image.info)
    if raw and preview.source == DateSource.EXIF and _tag((exif,), ExifTags.Base.Software).startswith(_LIBRAW_SOFTWARE):
        preview = replace(preview, source=DateSource.RAW)
    return own | preview


def _taken(exif: Image.Exif, info: Mapping[Any, Any]) -> Taken:
    """Return what EXIF and the rest of a picture's `info` say.

    The time of the shot counts before that of a scan, and both before that of the last change.
    """
    tags = _directories(exif)
    original = _exif_time(tags, ExifTags.Base.DateTimeOriginal, ExifTags.Base.OffsetTimeOriginal)
    camera = _camera(_tag(tags, ExifTags.Base.Make), _tag(tags, ExifTags.Base.Model))
    position = exif_position(exif)
    if original is not None and camera is not None and position is not None:
        return Taken(original, DateSource.EXIF, camera, position)
    xmp = read_xmp(info.get("xmp") or info.get("XML:com.adobe.xmp") or "")
    digitized = _exif_time(tags, ExifTags.Base.DateTimeDigitized, ExifTags.Base.OffsetTimeDigitized)
    changed = _exif_time(tags, ExifTags.Base.DateTime, ExifTags.Base.OffsetTime)
    times = (
        (original, DateSource.EXIF),
        (_first_time(xmp, "exif:DateTimeOriginal", "photoshop:DateCreated"), DateSource.XMP),
        (_iptc_time(exif, info), DateSource.IPTC),
        (digitized, DateSource.EXIF),
        (_first_time(xmp, "xmp:CreateDate", "exif:DateTimeDigitized"), DateSource.XMP),
        (_gps_time(exif), DateSource.EXIF),
        (_first_time(info, *_TEXTS), DateSource.TEXT),
        (changed, DateSource.EXIF),
    )
    at_s, source = next(((at_s, source) for at_s, source in times if at_s is not None), (None, DateSource.FILE))
    camera = camera or _camera(_text(xmp.get("tiff:Make")), _text(xmp.get("tiff:Model")))
    return Taken(at_s, source, camera, position or xmp_position(xmp))


def _exif_time(tags: _Directories, time: int, offset: int) -> int | None:
    """Return a time of EXIF, which has its offset from UTC in another tag, in seconds since 1970."""
    text = _tag(tags, time)
    if not text:
        return None
    stated = _tag(tags, offset)
    if not stated and (general := _tag(tags, ExifTags.Base.OffsetTime)) and _tag(tags, ExifTags.Base.DateTime) == text:
        stated = general  # phones that write one offset mean it for the same time in all three tags
    return parse_timestamp(text, stated)


def _gps_time(exif: Image.Exif) -> int | None:
    """Return the time of the satellites, which is UTC, in seconds since 1970."""
    try:
        gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
        clock = ":".join(f"{int(part):02}" for part in gps[ExifTags.GPS.GPSTimeStamp])
        return parse_timestamp(f"{_text(gps[ExifTags.GPS.GPSDateStamp])} {clock}", "Z")
    except Exception:  # absent, or damaged as above
        return None


def _iptc_time(exif: Image.Exif, info: Mapping[Any, Any]) -> int | None:
    """Return the time of IPTC, in seconds since 1970; a JPEG has it in Photoshop's block, a TIFF in a tag."""
    block = info.get("photoshop")
    records = block.get(_IPTC, b"") if isinstance(block, dict) else exif.get(_IPTC_IN_TIFF, b"")
    if not isinstance(records, bytes):
        return None
    date, time = _IPTC_DATE.search(records), _IPTC_TIME.search(records)
    return parse_timestamp(f"{_text(date[1])} {_text(time[1]) if time else ''}") if date else None


def _first_time(texts: Mapping[Any, Any], *names: str) -> int | None:
    """Return the first time that stands under one of `names`, in seconds since 1970."""
    times = (parse_timestamp(_text(texts.get(name))) for name in names)
    return next((time for time in times if time is not None), None)


def _directories(exif: Image.Exif) -> _Directories:
    """Return the directory for times, and the first one, where old scanners and RAW files have them."""
    try:
        return exif.get_ifd(ExifTags.IFD.Exif), exif
    except Exception:  # damage, as above
        return (exif,)


def _tag(tags: _Directories, tag: int) -> str:
    """Return a tag as text; empty where no directory has it."""
    for directory in tags:
        try:
            if tag in directory and (text := _text(directory[tag])):
                return text
        except Exception:  # damage, as above
            continue
    return ""


def _camera(make: str, model: str) -> str | None:
    """Return make and model as one name, the make not said twice."""
    known = model.lower().startswith(make.lower().partition(" ")[0])
    return (model if known else f"{make} {model}".strip())[:CAMERA_LENGTH] or make[:CAMERA_LENGTH] or None


def _text(value: object) -> str:
    """Return what a tag has as text, up to the first NUL, in printable characters and single spaces."""
    if isinstance(value, tuple):
        value = value[0] if value else ""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
    text = text.partition("\0")[0]
    if not text.isascii():
        with suppress(UnicodeError):  # Pillow takes what phones write in UTF-8 for Latin-1
            text = text.encode("latin-1").decode("utf-8")
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())
