"""What EXIF says of a picture, in the formats that carry it and however damaged it is."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from image_index.pictures import exif as exif_module
from image_index.pictures.exif import Taken, read_taken

MAKE, MODEL = ExifTags.Base.Make, ExifTags.Base.Model
ORIGINAL, DIGITIZED = ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized
OFFSET = ExifTags.Base.OffsetTimeOriginal
SUMMER_2024 = int(datetime(2024, 5, 31, 18, 30, tzinfo=UTC).timestamp())


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be where local time is UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def picture(outer: dict[int, Any], inner: dict[int, Any], form: str = "JPEG") -> bytes:
    """Return a small picture with EXIF."""
    exif = Image.Exif()
    exif.update(outer)
    exif.get_ifd(ExifTags.IFD.Exif).update(inner)
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, form, exif=exif.tobytes())
    return stream.getvalue()


def taken(data: bytes) -> Taken:
    """Return what is read of a picture as the decoder reads it."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return read_taken(image)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_format_that_carries_exif_is_read(form: str) -> None:
    """Time and camera, wherever they are kept."""
    data = picture({MAKE: "Canon", MODEL: "Canon EOS 5D"}, {ORIGINAL: "2024:05:31 18:30:00"}, form)
    assert taken(data) == Taken(SUMMER_2024, "Canon EOS 5D")


def test_a_picture_without_exif_says_nothing() -> None:
    """Then the file's own time has to do."""
    assert taken(picture({}, {})) == Taken()
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    assert taken(stream.getvalue()) == Taken()


@pytest.mark.parametrize(
    ("inner", "seconds"),
    [
        ({ORIGINAL: "2024:05:31 18:30:00", OFFSET: "+02:00"}, SUMMER_2024 - 7200),
        ({ORIGINAL: "2024:05:31 18:30:00", OFFSET: "Z"}, SUMMER_2024),
        ({ORIGINAL: "2024:05:31 18:30:00", OFFSET: "nonsense"}, SUMMER_2024),
        ({ORIGINAL: "2024:05:31 18:30:00.25"}, SUMMER_2024),
        ({ORIGINAL: "2024-05-31 18:30:00"}, SUMMER_2024),
        ({DIGITIZED: "2024:05:31 18:30:00"}, SUMMER_2024),
        ({ORIGINAL: "0000:00:00 00:00:00", DIGITIZED: "2024:05:31 18:30:00"}, SUMMER_2024),
        ({ORIGINAL: "1912:06:23 00:00:00"}, int(datetime(1912, 6, 23, tzinfo=UTC).timestamp())),
        ({ORIGINAL: "0000:00:00 00:00:00"}, None),
        ({ORIGINAL: "    :  :     :  :  "}, None),
        ({ORIGINAL: "2024:02:30 00:00:00"}, None),
        ({ORIGINAL: "2024:05:31 25:00:00"}, None),
        ({ORIGINAL: "2024"}, None),
        ({ORIGINAL: ""}, None),
    ],
    ids=str,
)
def test_times_are_read_as_exif_means_them(inner: dict[int, Any], seconds: int | None) -> None:
    """With their offset where there is one; a clock that was never set says nothing."""
    assert taken(picture({}, inner)).at_s == seconds


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("NIKON CORPORATION", "NIKON D750", "NIKON D750"),
        ("Apple", "iPhone 12", "Apple iPhone 12"),
        ("SONY", "ILCE-7M3\0garbage", "SONY ILCE-7M3"),
        (" Canon ", "  Canon   EOS 5D ", "Canon EOS 5D"),
        ("", "X100V", "X100V"),
        ("FUJIFILM", "", "FUJIFILM"),
        ("", "", None),
        ("\0", " ", None),
        ("Evil\x1b[2J", "Model\n2", "Evil [2J Model 2"),
        ("m" * 300, "x", "m" * 100),
    ],
)
def test_a_camera_is_make_and_model(make: str, model: str, camera: str | None) -> None:
    """The make is not said twice, and nothing gets through that a terminal acts on."""
    assert taken(picture({MAKE: make, MODEL: model}, {})).camera == camera


def test_a_raw_file_is_read_as_the_tiff_that_it_is() -> None:
    """Where the preview in it says nothing."""
    raw = picture({MAKE: "NIKON", MODEL: "Z 6"}, {ORIGINAL: "2024:05:31 18:30:00"}, "TIFF")
    preview = Image.open(io.BytesIO(picture({}, {})))
    assert read_taken(preview, raw) == Taken(SUMMER_2024, "NIKON Z 6")
    assert read_taken(Image.new("RGB", (2, 2)), raw) == Taken(SUMMER_2024, "NIKON Z 6")
    assert read_taken(preview, b"FUJIFILMCCD-RAW" + raw) == Taken()


@given(st.integers(0, 400), st.binary(min_size=1, max_size=12))
def test_damage_costs_these_facts_and_no_more(position: int, garbage: bytes) -> None:
    """Whatever the bytes are, nothing is raised."""
    raw = picture({MAKE: "NIKON", MODEL: "Z 6"}, {ORIGINAL: "2024:05:31 18:30:00"}, "TIFF")
    damaged = raw[:position] + garbage + raw[position + len(garbage) :]
    found = read_taken(Image.new("RGB", (2, 2)), damaged[: max(8, 500 - position)])
    assert found.camera is None or (found.camera.isprintable() and len(found.camera) <= exif_module.CAMERA_LENGTH)
