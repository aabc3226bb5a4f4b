"""Dates and durations as people write them."""

from __future__ import annotations

import re
import time
from datetime import UTC, date, datetime, timedelta

from image_index.errors import UsageError

FIRST_DATE_S, LAST_DATE_S = -62_135_596_800, 253_402_300_799
"""The first and the last second of Python's calendar, in UTC."""

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}


def duration_s(text: str, option: str) -> float:
    """Return the seconds of a duration as `90`, `90s`, `5m`, `2h`, `30d`, `2w` or `1y`; `option` is named in errors.

    Raises `UsageError` for anything else.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)([smhdwy]?)", text.strip(), re.ASCII)
    if match is None:
        raise UsageError(f"{option} takes a duration such as 90s, 5m, 2h or 30d, not {text!r}")
    return float(match[1]) * _UNITS_S[match[2]]


def date_s(when: str | date, option: str) -> float:
    """Return the first moment of a date in seconds since 1970, in local time unless the date has an offset.

    A text is a year, a month, a day or a time in ISO 8601 (`2024`, `2024-05`, `2024-05-31`, `2024-05-31T18:00`), or an
    age before now as a duration with its unit (`30d`). Raises `UsageError`, naming `option`, for anything else.
    """
    if isinstance(when, datetime):
        return when.timestamp()
    if isinstance(when, date):
        return datetime(when.year, when.month, when.day).timestamp()
    text = when.strip()
    if re.fullmatch(r"[\d.]+[smhdwy]", text, re.ASCII):
        return time.time() - duration_s(text, option)
    if re.fullmatch(r"\d{4}(-\d{2})?", text, re.ASCII):
        text += "-01-01" if len(text) == 4 else "-01"
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"{option} takes a date such as 2024, 2024-05-31 or 2024-05-31T18:00, or an age such as 30d, not {when!r}"
        ) from None


def days_s(when: str | date, option: str) -> tuple[float, float]:
    """Return the first moment of a day, a month or a year, and the first behind it, in local time.

    A text is `2024-05-31`, `2024-05` or `2024`. Raises `UsageError`, naming `option`, for anything else.
    """
    text = when.isoformat()[:10] if isinstance(when, date) else when.strip()
    try:
        if not re.fullmatch(r"\d{4}(-\d\d){0,2}", text, re.ASCII):
            raise ValueError(text)
        first = _first_moment(text)
        inside_next = first + timedelta(days={4: 366, 7: 31, 10: 1}[len(text)])
        return first.timestamp(), _first_moment(inside_next.isoformat()[: len(text)]).timestamp()
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"{option} takes a day, a month or a year such as 2024-05-31, 2024-05 or 2024, not {when!r}"
        ) from None


def _first_moment(text: str) -> datetime:
    """Return the start of a year, a month or a day."""
    return datetime.fromisoformat(f"{text}-01-01"[:10])


def day_of_year(text: str) -> str | None:
    """Return the day that a text such as `05-31` says, which may be of any year; None where it says none."""
    day = text.strip()
    if not re.fullmatch(r"\d\d-\d\d", day, re.ASCII):
        return None
    try:
        return date.fromisoformat(f"2000-{day}").isoformat()[5:]  # a leap year
    except ValueError:
        return None


def local_time(seconds: int) -> datetime:
    """Return seconds since 1970 in local time, or in UTC where local time leaves the calendar, as 9999-12-31 may."""
    try:
        return datetime.fromtimestamp(seconds)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def time_field(seconds: int | None) -> str | None:
    """Return seconds since 1970 as ISO 8601 in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
