"""What a file says of where it was taken, wherever it says so and however damaged it is."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, PngImagePlugin
from PIL.TiffImagePlugin import IFDRational

from image_index.pictures.gps import HIGHEST_M, LOWEST_M, Position, exif_position, xmp_position
from image_index.pictures.taken import read_taken
from image_index.pictures.xmp import read_xmp

LATITUDE, LATITUDE_REF = ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLatitudeRef
LONGITUDE, LONGITUDE_REF = ExifTags.GPS.GPSLongitude, ExifTags.GPS.GPSLongitudeRef
ALTITUDE, ALTITUDE_REF = ExifTags.GPS.GPSAltitude, ExifTags.GPS.GPSAltitudeRef
SYDNEY: dict[int, Any] = {
    LATITUDE_REF: "S",
    LATITUDE: (33.0, 51.0, 24.84),
    LONGITUDE_REF: "E",
    LONGITUDE: (151.0, 12.0, 54.72),
}
IN_SYDNEY = Position(-33.8569, 151.2152)


def picture(gps: dict[int, Any], form: str = "JPEG", outer: Mapping[int, Any] = {}, **options: Any) -> bytes:
    """Return a small picture with the tags of a GPS directory, and those of the `outer` one."""
    exif = Image.Exif()
    exif.update(outer)
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(gps)
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, form, exif=exif.tobytes(), **options)
    return stream.getvalue()


def position(data: bytes) -> Position | None:
    """Return where a picture was taken, read as the decoder reads it."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return read_taken(image).position


def stated(**tags: Any) -> Position | None:
    """Return the position of tags that need no file: those of Sydney, but for some."""
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(SYDNEY | {ExifTags.GPS[name]: value for name, value in tags.items()})
    return exif_position(exif)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_format_that_carries_exif_is_read(form: str) -> None:
    """In degrees, south being negative."""
    assert position(picture(SYDNEY, form)) == IN_SYDNEY
    assert position(picture({}, form)) is None


@pytest.mark.parametrize(
    ("halves", "expected"),
    [
        (("N", "E"), (33.8569, 151.2152)),
        (("N", "W"), (33.8569, -151.2152)),
        (("s", "w"), (-33.8569, -151.2152)),
        (("South", " West"), (-33.8569, -151.2152)),
        ((b"S\0", b"E\0"), (-33.8569, 151.2152)),
    ],
)
def test_the_halves_of_the_earth_have_signs(halves: tuple[Any, Any], expected: tuple[float, float]) -> None:
    """North and east are positive, in whatever letters."""
    found = stated(GPSLatitudeRef=halves[0], GPSLongitudeRef=halves[1])
    assert found == (*expected, None)


@pytest.mark.parametrize("half", [None, "", "\0", "?", "E", 5])
def test_a_position_without_its_half_is_none(half: Any) -> None:
    """It may be in the other one; but what has a sign has its half."""
    assert stated(GPSLatitudeRef=half) is None
    assert stated(GPSLatitudeRef=half, GPSLatitude=(-33.0, 51.0, 24.84)) == IN_SYDNEY


@pytest.mark.parametrize(
    ("latitude", "degrees"),
    [
        ((33.0, 51.0, 24.84), 33.8569),
        ((33.0, 51.414, 0.0), 33.8569),
        ((33.8569, 0.0, 0.0), 33.8569),
        ((33.0, 51.414), 33.8569),
        ((33.8569,), 33.8569),
        (33.8569, 33.8569),
        (IFDRational(338569, 10000), 33.8569),
        ((33, 51, IFDRational(2484, 100)), 33.8569),
        ((33.0, 60.0, 0.0), 34.0),
        ((90.0, 0.0, 0.0), 90.0),
    ],
    ids=str,
)
def test_degrees_may_come_in_three_numbers_or_fewer(latitude: Any, degrees: float) -> None:
    """Whole degrees, minutes and seconds, or a fraction at any of them."""
    found = stated(GPSLatitude=latitude)
    assert found is not None
    assert found.latitude == pytest.approx(-degrees, abs=1e-7)


@pytest.mark.parametrize(
    "latitude",
    [
        (IFDRational(33, 0), 51.0, 24.84),
        (33.0, IFDRational(0, 0), 24.84),
        (33.0, 51.0, IFDRational(0, 0)),
        (math.inf, 0.0, 0.0),
        (90.1, 0.0, 0.0),
        (89.0, 59.0, 2484.0),
        (33.0, -5.0, 0.0),
        (1.0, 2.0, 3.0, 4.0),
        (),
        "here",
        b"\xff\xff\xff",
        None,
        2**70,
    ],
    ids=str,
)
def test_what_no_place_has_is_not_known(latitude: Any) -> None:
    """A zero below the line, more than 90 degrees, 2484 seconds: none of it is guessed at."""
    assert stated(GPSLatitude=latitude) is None


def test_a_longitude_beyond_the_date_line_is_not_known() -> None:
    """Up to 180 degrees it is."""
    assert stated(GPSLongitude=(180.0, 0.0, 0.0)) == (-33.8569, 180.0, None)
    assert stated(GPSLongitude=(180.0, 0.0, 0.1)) is None


def test_zero_degrees_both_ways_is_not_known() -> None:
    """It is what a receiver without a signal writes; on the equator, or on the meridian of Greenwich, one can be."""
    nothing = (0.0, 0.0, 0.0)
    assert stated(GPSLatitude=nothing, GPSLongitude=nothing) is None
    on_equator = stated(GPSLatitude=nothing)
    assert on_equator == (0.0, 151.2152, None)
    assert not str(on_equator).startswith("Position(latitude=-")
    assert stated(GPSLongitude=nothing) == (-33.8569, 0.0, None)


@pytest.mark.parametrize(
    ("height", "reference", "metres"),
    [
        (35.5, b"\0", 35.5),
        (35.5, b"\x01", -35.5),
        (35.5, 1, -35.5),
        (35.5, "1", -35.5),
        (35.5, (1, 0), -35.5),
        (35.5, b"\x02", 35.5),
        (35.5, b"\x03", -35.5),
        (35.5, None, 35.5),
        (-35.5, None, -35.5),
        (-35.5, b"\x01", -35.5),
        (0.0, b"\x01", 0.0),
        (IFDRational(5, 0), b"\0", None),
        (4294967295.0, b"\0", None),
        (-20_000.0, b"\0", None),
        ("high", b"\0", None),
        (None, b"\0", None),
    ],
    ids=str,
)
def test_an_altitude_has_a_sign(height: Any, reference: Any, metres: float | None) -> None:
    """The reference is a byte, which programs write in other ways too; without one it is above the sea."""
    assert stated(GPSAltitude=height, GPSAltitudeRef=reference) == (*IN_SYDNEY[:2], metres)


def test_an_altitude_comes_through_a_file() -> None:
    """The Dead Sea, its reference as the standard wants it."""
    assert position(picture(SYDNEY | {ALTITUDE: 430.5, ALTITUDE_REF: b"\x01"})) == (*IN_SYDNEY[:2], -430.5)


def packet(**facts: str) -> bytes:
    """Return an XMP packet with attributes in the namespace of EXIF."""
    attributes = " ".join(f'exif:{name}="{value}"' for name, value in facts.items())
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description {attributes}/></x:xmpmeta>'.encode()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_xmp_is_read_where_exif_has_nothing(form: str) -> None:
    """What EXIF says counts before it."""
    xmp = packet(GPSLatitude="52,30.9N", GPSLongitude="13,22.66E", GPSAltitude="345/10", GPSAltitudeRef="0")
    assert position(with_xmp({}, form, xmp)) == Position(52.515, 13.3776667, 34.5)
    assert position(with_xmp(SYDNEY, form, xmp)) == IN_SYDNEY


def with_xmp(gps: dict[int, Any], form: str, xmp: bytes) -> bytes:
    """Return a picture with EXIF and XMP; a TIFF has it in a tag, a PNG in text."""
    if form == "TIFF":
        return picture(gps, form, {700: xmp})
    if form == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        return picture(gps, form, pnginfo=info)
    return picture(gps, form, xmp=xmp)


@pytest.mark.parametrize(
    ("latitude", "longitude", "expected"),
    [
        ("51,30.440166S", "0,7.5W", (-51.5073361, -0.125)),
        ("51,30,26S", "0,7,30W", (-51.5072222, -0.125)),
        ("51,30,26.5n", "0,7,30e", (51.5073611, 0.125)),
        (" 51 , 30 N ", "0,7.5W", (51.5, -0.125)),
        ("51.5N", "0.125W", (51.5, -0.125)),
        ("-51.5", "+0.125", (-51.5, 0.125)),
        ("51.5", "0.125", (51.5, 0.125)),
        ("51,30", "0,7.5W", None),
        ("51,30E", "0,7.5W", None),
        ("91,0N", "0,7.5W", None),
        ("51,99N", "0,7.5W", None),
        ("51,30,26,7N", "0,7.5W", None),
        ("nan", "0,7.5W", None),
        ("", "0,7.5W", None),
        ("0,0N", "0,0E", None),
        ("9" * 60 + "N", "0,7.5W", None),
    ],
)
def test_xmp_writes_degrees_in_its_own_way(latitude: str, longitude: str, expected: tuple[float, float] | None) -> None:
    """`DD,MM.mmmmK` and `DD,MM,SSK`, and what programs write instead."""
    found = xmp_position(read_xmp(packet(GPSLatitude=latitude, GPSLongitude=longitude)))
    assert found == (None if expected is None else (*expected, None))


@pytest.mark.parametrize(
    ("height", "reference", "metres"),
    [("8848/1", "0", 8848.0), ("430.5", "1", -430.5), ("5/0", "0", None), ("x", "0", None), ("nan", "0", None)],
)
def test_xmp_writes_altitudes_as_fractions(height: str, reference: str, metres: float | None) -> None:
    """Or as numbers."""
    facts = {"GPSLatitude": "51.5N", "GPSLongitude": "1.5E", "GPSAltitude": height, "GPSAltitudeRef": reference}
    assert xmp_position(read_xmp(packet(**facts))) == (51.5, 1.5, metres)


def tiff(tags: list[bytes], tail: bytes = b"") -> bytes:
    """Return a little-endian TIFF of one directory, whose values may point behind it."""
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + b"".join(tags) + b"\0\0\0\0" + tail


def test_the_gps_directory_of_a_cr3_is_found() -> None:
    """It is a TIFF of its own, in a box named CMT4, and stands in its first directory."""
    values = struct.pack("<12I", 33, 1, 51, 1, 2484, 100, 151, 1, 12, 1, 5472, 100)
    begin = 8 + 2 + 4 * 12 + 4
    directory = tiff(
        [
            struct.pack("<HHI4s", LATITUDE_REF, 2, 2, b"S"),
            struct.pack("<HHII", LATITUDE, 5, 3, begin),
            struct.pack("<HHI4s", LONGITUDE_REF, 2, 2, b"E"),
            struct.pack("<HHII", LONGITUDE, 5, 3, begin + 24),
        ],
        values,
    )
    boxes = ((b"CMT1", tiff([])), (b"CMT2", tiff([])), (b"CMT4", directory))
    raw = b"\0\0\0\x18ftypcrx " + b"".join(struct.pack(">I4s", len(body) + 8, name) + body for name, body in boxes)
    assert read_taken(Image.new("RGB", (2, 2)), raw).position == IN_SYDNEY


def test_a_raw_file_counts_before_its_preview() -> None:
    """The preview says what the file does not."""
    preview = Image.open(io.BytesIO(picture(SYDNEY | {LATITUDE_REF: "N"})))
    assert read_taken(preview, picture(SYDNEY, "TIFF")).position == IN_SYDNEY
    assert read_taken(preview, picture({}, "TIFF")).position == (33.8569, 151.2152, None)


@given(st.integers(0, 400), st.binary(min_size=1, max_size=12))
def test_damage_costs_the_position_and_no_more(place: int, garbage: bytes) -> None:
    """Whatever the bytes are, nothing is raised, and what is read is on the earth."""
    whole = picture(SYDNEY | {ALTITUDE: 35.5, ALTITUDE_REF: b"\0"}, "TIFF")
    damaged = whole[:place] + garbage + whole[place + len(garbage) :]
    found = read_taken(Image.new("RGB", (2, 2)), damaged).position
    if found is not None:
        assert abs(found.latitude) <= 90
        assert abs(found.longitude) <= 180
        assert found.altitude_m is None or LOWEST_M <= found.altitude_m <= HIGHEST_M


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_of_xmp_is_a_position_or_none(latitude: str, longitude: str) -> None:
    """Nothing is raised."""
    found = xmp_position({"exif:GPSLatitude": latitude, "exif:GPSLongitude": longitude, "exif:GPSAltitude": longitude})
    assert found is None or abs(found.latitude) <= 90
