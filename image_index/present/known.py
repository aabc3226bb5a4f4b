"""All that is known of a picture, as JSON and as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from image_index.dates import FIRST_DATE_S, LAST_DATE_S, time_field
from image_index.paths import optional_path_field, path_field, printable
from image_index.present.hits import position_record
from image_index.present.status import NO_VECTOR, reason_record, reason_text
from image_index.records import ImageFacts, PictureFacts
from image_index.upkeep.known import KnownPicture, PictureState

_STATES = {
    PictureState.UNCHANGED: "there, unchanged since it was read",
    PictureState.CHANGED: "changed since it was read; imgidx train reads it again",
    PictureState.GONE: "gone",
    PictureState.UNREADABLE: "cannot be reached",
}


def known_record(known: KnownPicture) -> dict[str, Any]:
    """Return one picture. The keys are always the same; null means not known."""
    image, model = known.image, known.model
    picture = image.picture if image else None
    return {
        **path_field(known.path),
        "names": [path_field(name) for name in known.names],
        "file": str(known.state),
        "bytes": known.file.size,
        "modified": _time(known.file.mtime_ns // 10**9),
        "taken": _time(picture.taken_at_s) if picture else None,
        "date_source": picture.date_source if picture else None,
        "camera": picture.camera if picture else None,
        **position_record(picture),
        "format": picture.format if picture else None,
        "width": picture.width if picture else None,
        "height": picture.height if picture else None,
        "megapixels": _megapixels(image) if image else None,
        "sha256": image.sha256.hex() if image else None,
        "phash": picture.phash.hex() if picture and picture.phash else None,
        "id": image.id if image else None,
        "read_at": None if known.read_at_ns is None else _time(known.read_at_ns // 10**9),
        "missing_since": _time(known.missing_since_s),
        **optional_path_field(known.pair, "pair"),
        **optional_path_field(known.root, "root"),
        "failure": reason_record(known.failure) if known.failure else None,
        "model": model.name if model else None,
        "dim": model.dim if model else None,
        "has_vector": known.has_vector,
    }


def known_text(known: KnownPicture) -> str:
    """Return a line for each thing that is known of a picture."""
    return "".join(f"{name:<14} {printable(value)}\n" for name, value in _lines(known) if value)


def _lines(known: KnownPicture) -> Iterator[tuple[str, bytes | str | None]]:
    """Yield the name and value of each line; the value is empty if it is not known."""
    yield "path", known.path
    for name in known.names:
        yield "also at", name
    yield "file", _STATES[known.state]
    yield "bytes", str(known.file.size)
    yield "modified", _time(known.file.mtime_ns // 10**9)
    if known.image is not None:
        yield from _image_lines(known.image)
    yield "read at", None if known.read_at_ns is None else _time(known.read_at_ns // 10**9)
    yield "missing since", _time(known.missing_since_s)
    yield "pair", known.pair
    yield "root", known.root
    yield "model", f"{known.model.name}, {known.model.dim} dimensions" if known.model else None
    yield "vector", f"none: {NO_VECTOR}" if known.has_vector is False else None
    yield "failure", reason_text(known.failure) if known.failure else None


def _image_lines(image: ImageFacts) -> Iterator[tuple[str, str | None]]:
    """Yield what is known of the content."""
    picture = image.picture
    yield "taken", _time(picture.taken_at_s)
    yield "date source", picture.date_source
    yield "camera", picture.camera
    yield "position", _position(picture)
    yield "format", picture.format
    yield "pixels", f"{picture.width} x {picture.height}, {_megapixels(image)} megapixels"
    yield "sha256", image.sha256.hex()
    yield "phash", picture.phash.hex() if picture.phash else None
    yield "id", str(image.id)


def _position(picture: PictureFacts) -> str | None:
    """Return degrees, and metres above the sea where they are known."""
    if picture.latitude is None:
        return None
    altitude = "" if picture.altitude_m is None else f", {picture.altitude_m:g} m"
    return f"{picture.latitude}, {picture.longitude}{altitude}"


def _megapixels(image: ImageFacts) -> float:
    return round(image.picture.width * image.picture.height / 1e6, 2)


def _time(seconds: int | None) -> str | None:
    """Return seconds since 1970 as ISO 8601, or the nearest time that Python's calendar has."""
    return None if seconds is None else time_field(min(max(seconds, FIRST_DATE_S), LAST_DATE_S))
