"""Times as cameras, scanners and programs write them, each the first moment of what it states."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_index.pictures.timestamps import parse_timestamp


@pytest.fixture(autouse=True, params=["UTC", "Asia/Tokyo"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> object:
    """Be where local time is UTC, or another."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2011:10:17 08:49:42", "2011-10-17T08:49:42"),
        ("2011:10:17  8:49:42", "2011-10-17T08:49:42"),
        ("2011:1:7 8:9:2", "2011-01-07T08:09:02"),
        ("2011/10/17 08:49:42", "2011-10-17T08:49:42"),
        ("2011.10.17 08.49.42", "2011-10-17T08:49:42"),
        ("2011:10:17:08:49:42", "2011-10-17T08:49:42"),
        ("2011-10-17T08:49:42.125", "2011-10-17T08:49:42"),
        ("2011:10:17 08:49:42,9", "2011-10-17T08:49:42"),
        ("20111017", "2011-10-17T00:00:00"),
        ("20111017T084942", "2011-10-17T08:49:42"),
        ("20111017084942", "2011-10-17T08:49:42"),
        ("2011:10:17 08:49", "2011-10-17T08:49:00"),
        ("2011:10:17 08:  :  ", "2011-10-17T08:00:00"),
        ("2011:10:17", "2011-10-17T00:00:00"),
        ("2011-10", "2011-10-01T00:00:00"),
        ("1955", "1955-01-01T00:00:00"),
        ("1955:00:00 00:00:00", "1955-01-01T00:00:00"),
        ("1955:  :     :  :  ", "1955-01-01T00:00:00"),
        ("1955:06:     :  :  ", "1955-06-01T00:00:00"),
        ("1955:06:00 12:00:00", "1955-06-01T00:00:00"),
        ("2011:10:17 23:59:60", "2011-10-18T00:00:00"),
        ("2011:12:31 24:00:00", "2012-01-01T00:00:00"),
        ("2011:02:30 08:49:42", "2011-02-01T00:00:00"),
        ("2011:13:17 08:49:42", "2011-01-01T00:00:00"),
        ("2011:10:17 25:00:00", "2011-10-17T00:00:00"),
        ("2011:10:17 08:49:42 PM", "2011-10-17T20:49:42"),
        ("2011:10:17 8:49pm", "2011-10-17T20:49:00"),
        ("2011:10:17 12:05:00 a.m.", "2011-10-17T00:05:00"),
        ("2011:10:17 20:49:42 PM", "2011-10-17T20:49:42"),
        ("2011:10:17 PM 08:49:42", "2011-10-17T20:49:42"),
        ("2011,10,17;08:49:42", "2011-10-17T08:49:42"),
        ("2011\u5e7410\u670817\u65e5 08:49:42", "2011-10-17T08:49:42"),
        ('"2011:10:17 08:49:42"', "2011-10-17T08:49:42"),
        ("Mon Oct 17 08:49:42 2011", "2011-10-17T08:49:42"),
        ("Mon Oct 17 08:49:42 CEST 2011", "2011-10-17T08:49:42"),
        ("Mon, 17 Oct 2011 08:49:42", "2011-10-17T08:49:42"),
        ("Mon 17 Oct 2011 08:49:42 PM CEST", "2011-10-17T20:49:42"),
        ("October 17, 2011", "2011-10-17T00:00:00"),
        ("2011:10:17 08:49:42 somewhere", "2011-10-17T08:49:42"),
        ("\u0662\u0660\u0661\u0661:\u0661\u0660:\u0661\u0667", "2011-10-17T00:00:00"),
    ],
)
def test_a_time_is_the_first_moment_of_what_is_said(text: str, expected: str) -> None:
    """Whatever is blank, out of the calendar or spelled in another way; in local time."""
    assert parse_timestamp(text) == datetime.fromisoformat(expected).timestamp()


@pytest.mark.parametrize(
    "text",
    ["", "    :  :     :  :  ", "0000:00:00 00:00:00", "0001:01:01 00:00:00", "yesterday", "12345", "20115:1:1"],
)
def test_what_states_no_year_is_no_time(text: str) -> None:
    """Clocks that were never set, and numbers that are no dates."""
    assert parse_timestamp(text) is None


@pytest.mark.parametrize(
    ("offset", "minutes"),
    [
        ("+02:00", 120),
        ("+0200", 120),
        ("+02", 120),
        ("+2:00", 120),
        ("+2", 120),
        (" +02:00 ", 120),
        ("UTC+2", 120),
        ("-03:30", -210),
        ("\u22123:30", -210),
        ("+14:00", 840),
        ("Z", 0),
        ("utc", 0),
        ("+00:00", 0),
    ],
)
@pytest.mark.parametrize("text", ["2024:05:31 12:00:00{}", "2024-05-31T12:00:00.5 {}", "2024:05:31 12:00 PM {}"])
def test_an_offset_is_the_instant_that_it_states(text: str, offset: str, minutes: int) -> None:
    """In a tag of its own or behind the clock, where it counts before the tag."""
    expected = datetime(2024, 5, 31, 12, tzinfo=timezone(timedelta(minutes=minutes))).timestamp()
    assert parse_timestamp(text.format(""), offset) == expected
    assert parse_timestamp(text.format(offset.strip()), "+05:00") == expected


@pytest.mark.parametrize("offset", ["+24:00", "+99:99", "+02:60", "nonsense", "", "+", "02:00", "CEST", "+16:00"])
def test_a_nonsense_offset_leaves_local_time(offset: str) -> None:
    """It costs itself, and not the date."""
    local = datetime(2024, 5, 31, 12).timestamp()
    assert parse_timestamp("2024:05:31 12:00:00", offset) == local
    assert parse_timestamp(f"2024:05:31 12:00:00{offset}") == local


def test_the_last_second_of_the_calendar_is_read() -> None:
    """Local time may leave the calendar there."""
    found = parse_timestamp("9999:12:31 23:59:59")
    assert found is not None
    assert abs(found - datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()) <= 14 * 3600


@given(st.datetimes(datetime(1000, 1, 2), datetime(9999, 12, 30)), st.integers(-15 * 60, 15 * 60))
def test_every_iso_time_is_read_as_python_reads_it(moment: datetime, offset: int) -> None:
    """Python's own reader is the oracle."""
    moment = moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=offset)))
    assert parse_timestamp(moment.isoformat()) == moment.timestamp()


@pytest.mark.parametrize("text", ["1717180200", "202405", "17:10:2011 08:49:42", "9999:12:31 24:00:00"])
def test_other_numbers_are_no_time(text: str) -> None:
    """Seconds since 1970, a day in front, what lies behind the calendar."""
    assert parse_timestamp(text) is None


@given(st.text(alphabet="0123456789:/.-T +ZamPUTC", max_size=30) | st.text(max_size=30), st.text(max_size=10))
def test_any_text_is_a_time_of_its_year_or_none(text: str, offset: str) -> None:
    """Nothing is raised, and what is found lies in the year that the text begins with."""
    found = parse_timestamp(text, offset)
    if found is not None:
        year = re.match(r"[\s\"']*(\d{4})", text)
        assert year is not None
        assert abs(found - datetime(int(year[1]), 7, 1, tzinfo=UTC).timestamp()) < 187 * 86_400
