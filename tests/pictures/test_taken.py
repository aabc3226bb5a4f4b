"""What a file says of when and with what it was taken, wherever it says so and however damaged it is."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, PngImagePlugin

from image_index.pictures.taken import CAMERA_LENGTH, Taken, read_taken
from image_index.records import DateSource

MAKE, MODEL, SOFTWARE = ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.Software
CHANGED = ExifTags.Base.DateTime
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


def picture(outer: dict[int, Any], inner: dict[int, Any], form: str = "JPEG", **options: Any) -> bytes:
    """Return a small picture with EXIF."""
    exif = Image.Exif()
    exif.update(outer)
    exif.get_ifd(ExifTags.IFD.Exif).update(inner)
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, form, exif=exif.tobytes(), **options)
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
    assert taken(data) == Taken(SUMMER_2024, DateSource.EXIF, "Canon EOS 5D")


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
        ({ORIGINAL: "1955:00:00 00:00:00"}, int(datetime(1955, 1, 1, tzinfo=UTC).timestamp())),
        ({ORIGINAL: b"2024:05:31 18:30:00\0"}, SUMMER_2024),
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


def test_a_raw_file_counts_before_its_preview() -> None:
    """The preview says what the file does not."""
    raw = picture({MAKE: "NIKON", MODEL: "Z 6"}, {ORIGINAL: "2024:05:31 18:30:00"}, "TIFF")
    preview = Image.open(io.BytesIO(picture({MODEL: "other"}, {ORIGINAL: "1999:01:01 00:00:00"})))
    nothing = Image.new("RGB", (2, 2))
    assert read_taken(preview, raw) == read_taken(nothing, raw) == Taken(SUMMER_2024, DateSource.EXIF, "NIKON Z 6")
    nameless = picture({}, {ORIGINAL: "2024:05:31 18:30:00"}, "TIFF")
    assert read_taken(preview, nameless) == Taken(SUMMER_2024, DateSource.EXIF, "other")
    assert read_taken(nothing, b"unknown" + raw) == Taken()


def test_what_libraw_wrote_into_a_preview_is_asked_last() -> None:
    """The camera has the name that it has in a JPEG, and a date that only LibRaw found says so."""
    written: dict[int, Any] = {MAKE: "Nikon", MODEL: "Z 6", SOFTWARE: "dcraw v9.26", CHANGED: "2024:05:31 18:30:00"}
    preview = Image.open(io.BytesIO(picture(written, {})))
    raw = picture({MAKE: "NIKON CORPORATION", MODEL: "NIKON Z 6"}, {ORIGINAL: "2024:05:31 18:30:00"}, "TIFF")
    assert read_taken(preview, raw) == Taken(SUMMER_2024, DateSource.EXIF, "NIKON Z 6")
    assert read_taken(preview, b"CIFF") == Taken(SUMMER_2024, DateSource.RAW, "Nikon Z 6")


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_times_in_the_first_directory_are_read(form: str) -> None:
    """Scanners and RAW files keep the time of the shot there."""
    assert taken(picture({ORIGINAL: "2024:05:31 18:30:00", OFFSET: "+02:00"}, {}, form)).at_s == SUMMER_2024 - 7200


def xmp(**facts: str) -> bytes:
    """Return an XMP packet; `_` stands for the colon of a name."""
    attributes = " ".join(f'{name.replace("_", ":")}="{value}"' for name, value in facts.items())
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description {attributes}/></x:xmpmeta>'.encode()


def at(year: int) -> int:
    """Return the first second of a year."""
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp())


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_xmp_is_read_where_exif_has_nothing(form: str) -> None:
    """Time and camera, in every format that carries it."""
    packet = xmp(photoshop_DateCreated="2024-05-31T18:30:00Z", tiff_Make="Acme", tiff_Model="X1")
    if form == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode())
        data = picture({}, {}, form, pnginfo=info)
    else:
        data = picture({}, {}, form, xmp=packet) if form != "TIFF" else picture({700: packet}, {}, form)
    assert taken(data) == Taken(SUMMER_2024, DateSource.XMP, "Acme X1")


def test_the_shot_counts_before_the_scan_and_both_before_the_last_change() -> None:
    """A print of 1955, scanned in 2001 and retouched in 2012, is of 1955."""
    outer: dict[Any, str] = {CHANGED: "2012"}
    inner: dict[Any, str] = {ORIGINAL: "1950", DIGITIZED: "2000"}
    facts: dict[Any, str] = {"exif_DateTimeOriginal": "1951", "photoshop_DateCreated": "1952", "xmp_CreateDate": "2001"}
    found = []
    for gone in (
        None,
        ORIGINAL,
        "exif_DateTimeOriginal",
        "photoshop_DateCreated",
        DIGITIZED,
        "xmp_CreateDate",
        CHANGED,
    ):
        for stated in (outer, inner, facts):
            stated.pop(gone, None)
        told = taken(picture(outer, inner, xmp=xmp(**facts)))
        found.append((told.at_s, told.source))
    expected = [(1950, "exif"), (1951, "xmp"), (1952, "xmp"), (2000, "exif"), (2001, "xmp"), (2012, "exif")]
    assert found == [*((at(year), source) for year, source in expected), (None, "file")]


def test_one_offset_counts_for_the_same_time_in_every_tag() -> None:
    """Phones write it once; it says nothing of another time."""
    inner: dict[int, Any] = {ORIGINAL: "2024:05:31 18:30:00", ExifTags.Base.OffsetTime: "+02:00"}
    assert taken(picture({CHANGED: "2024:05:31 18:30:00"}, inner)).at_s == SUMMER_2024 - 7200
    assert taken(picture({CHANGED: "2025:05:31 18:30:00"}, inner)).at_s == SUMMER_2024


def test_the_time_of_the_satellites_is_read() -> None:
    """Where nothing better is there, and in UTC."""
    exif = Image.Exif()
    gps: dict[int, Any] = {ExifTags.GPS.GPSDateStamp: "2024:05:31", ExifTags.GPS.GPSTimeStamp: (18.0, 30.0, 0.0)}
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(gps)
    exif[CHANGED] = "2030:01:01 00:00:00"
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "JPEG", exif=exif)
    assert taken(stream.getvalue()) == Taken(SUMMER_2024, DateSource.EXIF)


@pytest.mark.parametrize(("time", "seconds"), [(b"183000", 66600), (b"183000+0200", 59400), (b"", 0), (b"xx", 0)])
def test_iptc_is_read(time: bytes, seconds: int) -> None:
    """Agencies and scanners keep the day, and perhaps the time, in Photoshop's block of a JPEG."""
    records = b"\x1c\x02\x37\0\x0820240531" + b"\x1c\x02\x3c\0" + bytes([len(time)]) + time
    records += b"\0" * (len(records) % 2)
    block = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + len(records).to_bytes(4, "big") + records
    plain = picture({}, {})
    data = plain[:2] + b"\xff\xed" + (len(block) + 2).to_bytes(2, "big") + block + plain[2:]
    assert taken(data) == Taken(SUMMER_2024 - 66600 + seconds, DateSource.IPTC)


def test_iptc_of_a_tiff_is_read() -> None:
    """It has a tag of its own there."""
    data = picture({33723: b"\x1c\x02\x37\0\x0820240531"}, {}, "TIFF")
    assert taken(data) == Taken(SUMMER_2024 - 66600, DateSource.IPTC)


def test_names_in_utf_8_are_read() -> None:
    """Phones write them so, whatever the standard says."""
    assert taken(picture({MAKE: "Xiaomi", MODEL: "\u5c0f\u7c73 13".encode()}, {})).camera == "Xiaomi \u5c0f\u7c73 13"


@pytest.mark.parametrize("name", ["Creation Time", "create-date"])
@pytest.mark.parametrize("text", ["Fri 31 May 2024 06:30:00 PM UTC", "2024-05-31T20:30:00+02:00"])
def test_the_creation_time_of_a_png_is_read(name: str, text: str) -> None:
    """As screenshots have it."""
    info = PngImagePlugin.PngInfo()
    info.add_text(name, text)
    assert taken(picture({}, {}, "PNG", pnginfo=info)) == Taken(SUMMER_2024, DateSource.TEXT)


def test_a_png_may_say_it_in_text() -> None:
    """As ImageMagick writes it; what it says of the file's times is no date of the picture."""
    info = PngImagePlugin.PngInfo()
    info.add_text("date:create", "2001-01-01T00:00:00+00:00")
    assert taken(picture({}, {}, "PNG", pnginfo=info)) == Taken()
    info.add_text("exif:DateTimeOriginal", "2024:05:31 18:30:00")
    assert taken(picture({}, {}, "PNG", pnginfo=info)) == Taken(SUMMER_2024, DateSource.TEXT)


@given(st.integers(0, 400), st.binary(min_size=1, max_size=12))
def test_damage_costs_these_facts_and_no_more(position: int, garbage: bytes) -> None:
    """Whatever the bytes are, nothing is raised."""
    raw = picture({MAKE: "NIKON", MODEL: "Z 6"}, {ORIGINAL: "2024:05:31 18:30:00"}, "TIFF")
    damaged = raw[:position] + garbage + raw[position + len(garbage) :]
    found = read_taken(Image.new("RGB", (2, 2)), damaged[: max(8, 500 - position)])
    assert found.camera is None or (found.camera.isprintable() and len(found.camera) <= CAMERA_LENGTH)
