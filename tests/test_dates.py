"""Dates and durations as people write them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest

from image_index.dates import date_s, day_of_year, days_s, duration_s
from image_index.errors import UsageError


@pytest.fixture(autouse=True)
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be where local time is five hours before UTC, without summer time."""
    monkeypatch.setenv("TZ", "XYZ5")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        (" 5m ", 300),
        ("2h", 7200),
        ("0.5d", 43200),
        ("0", 0),
        ("2w", 1_209_600),
        ("1y", 31_536_000),
    ],
)
def test_durations_have_a_unit_or_are_seconds(text: str, seconds: float) -> None:
    """A bare number is seconds."""
    assert duration_s(text, "--wait") == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "m", "-1", "1e3", "5 m", "5M", "1h30m", "inf", "nan", "٣m", "1.m", "0x1", "1" * 400]
)
def test_anything_else_is_no_duration(text: str) -> None:
    """The message names the option and shows what is meant."""
    with pytest.raises(UsageError, match="--wait takes a duration such as"):
        duration_s(text, "--wait")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024", datetime(2024, 1, 1, 5, tzinfo=UTC)),
        ("2024-05", datetime(2024, 5, 1, 5, tzinfo=UTC)),
        ("2024-05-31", datetime(2024, 5, 31, 5, tzinfo=UTC)),
        (" 2024-02-29 ", datetime(2024, 2, 29, 5, tzinfo=UTC)),
        ("2024-05-31T18:30", datetime(2024, 5, 31, 23, 30, tzinfo=UTC)),
        ("2024-05-31 18:30:05", datetime(2024, 5, 31, 23, 30, 5, tzinfo=UTC)),
        ("2024-05-31T18:30Z", datetime(2024, 5, 31, 18, 30, tzinfo=UTC)),
        ("2024-05-31T18:30+02:00", datetime(2024, 5, 31, 16, 30, tzinfo=UTC)),
        (date(2024, 5, 31), datetime(2024, 5, 31, 5, tzinfo=UTC)),
        (datetime(2024, 5, 31, 18), datetime(2024, 5, 31, 23, tzinfo=UTC)),
        (datetime(2024, 5, 31, 18, tzinfo=UTC), datetime(2024, 5, 31, 18, tzinfo=UTC)),
        ("1912-06-23", datetime(1912, 6, 23, 5, tzinfo=UTC)),
    ],
)
def test_a_date_is_its_first_moment_in_local_time(text: str | date, expected: datetime) -> None:
    """A time zone of its own counts where there is one."""
    assert date_s(text, "--newer") == expected.timestamp()


@pytest.mark.parametrize(("text", "seconds"), [("30d", 30 * 86_400), ("2w", 14 * 86_400), ("90s", 90), ("1.5h", 5400)])
def test_an_age_counts_back_from_now(text: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `find` and `fd` have it."""
    monkeypatch.setattr(time, "time", lambda: 10**9)
    assert date_s(text, "--newer") == 10**9 - seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2024-13",
        "2024-02-30",
        "2023-02-29",
        "0000",
        "2024-5-1",
        "24",
        "31.05.2024",
        "1h30m",
        "-1d",
        "9d9",
        "10000",
        "2024-05-31T25:00",
        "٢٠٢٤",
        "1..5d",
    ],
)
def test_an_impossible_date_is_wrong_use(text: str) -> None:
    """The message names the option and shows what is meant."""
    with pytest.raises(UsageError, match="--older takes a d"):
        date_s(text, "--older")


@pytest.mark.parametrize(
    ("text", "first", "behind"),
    [
        ("2024-05-31", (2024, 5, 31), (2024, 6, 1)),
        (" 2024-12-31 ", (2024, 12, 31), (2025, 1, 1)),
        (date(2024, 2, 28), (2024, 2, 28), (2024, 2, 29)),
        (datetime(2024, 5, 31, 23, 59), (2024, 5, 31), (2024, 6, 1)),
        ("2023-02", (2023, 2, 1), (2023, 3, 1)),
        ("2024-12", (2024, 12, 1), (2025, 1, 1)),
        ("2023", (2023, 1, 1), (2024, 1, 1)),
        ("2024", (2024, 1, 1), (2025, 1, 1)),
    ],
    ids=str,
)
def test_days_months_and_years_are_all_of_them(
    text: str | date, first: tuple[int, int, int], behind: tuple[int, int, int]
) -> None:
    """From the first moment in local time to the first that is no longer in them."""
    expected = (datetime(*first, 5, tzinfo=UTC).timestamp(), datetime(*behind, 5, tzinfo=UTC).timestamp())
    assert days_s(text, "--on") == expected


@pytest.mark.parametrize(
    "text",
    ["", "24", "05-31", "2024-5-31", "2024-02-30", "2024-13", "2024-05-31T18:00", "30d", "0000", "9999", "\u0662024"],
)
def test_anything_else_is_no_day(text: str) -> None:
    """The message names the option and shows what is meant."""
    with pytest.raises(UsageError, match="--between takes a day, a month or a year such as 2024-05-31, 2024-05 or"):
        days_s(text, "--between")


def test_a_day_is_as_long_as_local_time_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """23 hours where summer time begins."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    first, behind = days_s("2024-03-31", "--on")
    assert behind - first == 23 * 3600


@pytest.mark.parametrize(
    ("text", "day"),
    [("05-31", "05-31"), (" 02-29 ", "02-29"), ("02-30", None), ("13-01", None), ("5-31", None), ("w01-1", None)],
)
def test_a_day_of_any_year_has_month_and_day(text: str, day: str | None) -> None:
    """The 29th of February is one."""
    assert day_of_year(text) == day
