"""When and with what a picture was taken: what its EXIF says (CIPA DC-008, Exif 2.32), else its XMP, else its text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import ExifTags, Image

from image_index.pictures.containers import raw_exifs
from image_index.pictures.timestamps import parse_timestamp
from image_index.pictures.xmp import read_xmp
from image_index.records import DateSource

CAMERA_LENGTH = 100
"""A camera's name is cut here: the longest real ones have half of it."""

_LIBRAW_SOFTWARE = "dcraw"
"""What LibRaw calls itself in the EXIF that it writes."""


@dataclass(frozen=True, slots=True)
class Taken:
    """When a picture was taken, in seconds since 1970, what says so, and the camera; None where nothing does."""

    at_s: int | None = None
    source: DateSource = DateSource.FILE
    camera: str | None = None

    def __or__(self, other: Taken) -> Taken:
        """Return what either says; where both say something, `self` counts."""
        dated = other if self.at_s is None else self
        return Taken(dated.at_s, dated.source, self.camera or other.camera)


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
    if preview.source == DateSource.EXIF and _tag(exif, ExifTags.Base.Software).startswith(_LIBRAW_SOFTWARE):
        preview = Taken(preview.at_s, DateSource.RAW, preview.camera)
    return own | preview


def _taken(exif: Image.Exif, info: Mapping[Any, Any]) -> Taken:
    """Return what EXIF and the rest of a picture's `info` say.

    The time of the shot counts before that of a scan, and both before that of the last change.
    """
    original = _exif_time(exif, ExifTags.Base.DateTimeOriginal, ExifTags.Base.OffsetTimeOriginal)
    camera = _camera(_tag(exif, ExifTags.Base.Make), _tag(exif, ExifTags.Base.Model))
    if original is not None and camera is not None:
        return Taken(original, DateSource.EXIF, camera)
    xmp = read_xmp(info.get("xmp") or info.get("XML:com.adobe.xmp") or "")
    digitized = _exif_time(exif, ExifTags.Base.DateTimeDigitized, ExifTags.Base.OffsetTimeDigitized)
    changed = _exif_time(exif, ExifTags.Base.DateTime, ExifTags.Base.OffsetTime)
    times = (
        (original, DateSource.EXIF),
        (_first_time(xmp, "exif:DateTimeOriginal", "photoshop:DateCreated"), DateSource.XMP),
        (digitized, DateSource.EXIF),
        (_first_time(xmp, "xmp:CreateDate", "exif:DateTimeDigitized"), DateSource.XMP),
        (changed, DateSource.EXIF),
        (_first_time(info, "exif:DateTimeOriginal", "exif:DateTimeDigitized", "exif:DateTime"), DateSource.TEXT),
    )
    at_s, source = next(((at_s, source) for at_s, source in times if at_s is not None), (None, DateSource.FILE))
    return Taken(at_s, source, camera or _camera(_text(xmp.get("tiff:Make")), _text(xmp.get("tiff:Model"))))


def _exif_time(exif: Image.Exif, time: int, offset: int) -> int | None:
    """Return a time of EXIF, which has its offset from UTC in another tag, in seconds since 1970."""
    text = _tag(exif, time)
    return parse_timestamp(text, _tag(exif, offset)) if text else None


def _first_time(texts: Mapping[Any, Any], *names: str) -> int | None:
    """Return the first time that stands under one of `names`, in seconds since 1970."""
    times = (parse_timestamp(_text(texts.get(name))) for name in names)
    return next((time for time in times if time is not None), None)


def _tag(exif: Image.Exif, tag: int) -> str:
    """Return a tag as text, from the directory for it or, where old scanners and RAW files have it, the first one."""
    for directory in (lambda: exif.get_ifd(ExifTags.IFD.Exif), lambda: exif):
        try:
            if text := _text(directory().get(tag)):
                return text
        except Exception:  # as above
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
    return " ".join("".join(c if c.isprintable() else " " for c in text.partition("\0")[0]).split())
