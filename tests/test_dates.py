"""Dates and durations as people write them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest

from image_index.dates import date_s, duration_s
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
