"""Dates and durations as people write them."""

from __future__ import annotations

import re
import time
from datetime import UTC, date, datetime

from image_index.errors import UsageError

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


def local_time(seconds: int) -> datetime:
    """Return seconds since 1970 in local time, or in UTC where local time leaves the calendar, as 9999-12-31 may."""
    try:
        return datetime.fromtimestamp(seconds)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def time_field(seconds: int | None) -> str | None:
    """Return seconds since 1970 as ISO 8601 in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
