"""Turn a time as cameras, scanners and programs write it into seconds since 1970."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo

_DATE = re.compile(
    r"""[\s"']*(?P<year>\d{4})
    (?: (?P<month2>\d\d)(?P<day2>\d\d)(?=\d{4}(?!\d)|\d{6}(?!\d)|\D|$)
      | \s*[:/.,\-\s\u5e74]\s*(?P<month>\d\d?)?(?!\d) (?: \s*[:/.,\-\s\u6708]\s*(?P<day>\d\d?)?(?!\d) )?
    )?(?(month2)|(?!\d))""",
    re.VERBOSE,
)
"""`2024:05:31`, and with what is left blank, one digit, another separator or none: `1955:  :  `, `20240531`."""

_CLOCK = re.compile(
    r"""[\sT:;,_\u65e5]+(?:(?P<half>[ap])\.?m\.?\s*)?(?P<hour>\d\d?)(?!\d)
    (?: \s*[:.]\s*(?P<minute>\d\d?)?(?!\d) (?: \s*[:.]\s*(?P<second>\d\d?)?(?!\d) (?:[.,]\d+)? )? )?
    | [\sT]*(?P<hour2>\d\d)(?P<minute2>\d\d)(?P<second2>\d\d)?(?!\d) (?:[.,]\d+)?""",
    re.VERBOSE | re.IGNORECASE,
)
"""What may follow a date: `18:30:00.25`, ` 8:30`, `T183000`."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMED_MONTH = re.compile(
    r"""\s*(?:[a-z]{3,9},?\s+)?
    (?: (?P<day>\d\d?)[\s-](?P<month>[a-z]{3,9})[\s-](?P<year>\d{4})
      | (?P<month2>[a-z]{3,9})\s+(?P<day2>\d\d?),?\s+(?P<clock>[\d:]+\s)?\s*(?:[a-z]{3,5}\s+)?(?P<year2>\d{4})
    )(?!\d)""",
    re.VERBOSE | re.IGNORECASE,
)
"""A date as in e-mail (RFC 5322), as PNG suggests for its text, and as C's `asctime` writes it."""

_HALF = re.compile(r"\s*([ap])\.?m\b\.?", re.IGNORECASE)
_ZONE = re.compile(
    r"""\s*(?: (?:UTC|GMT)?\s*(?P<sign>[+\-\u2212])\s*(?P<hours>\d{1,2})(?::?(?P<minutes>\d\d)(?::?\d\d)?)?
      | (?:Z|UTC|GMT)\b )(?!\d)\s*""",
    re.VERBOSE | re.IGNORECASE,
)
"""`Z`, `+02:00`, `+0200`, `+02`, `+2:00`, `UTC+2`."""

MOST_HOURS = 16
"""No place was ever further from UTC: Manila had -15:56 until 1844."""


def parse_timestamp(text: str, offset: str = "") -> int | None:
    """Return the first moment of the time that `text` states, in seconds since 1970; None where it states none.

    `2024:05:31` is its midnight and `1955` the first of January. What is no month, day or clock costs itself and what
    stands behind it: `1955:00:00 00:00:00` is 1955. Second 60 and hour 24 are the next minute and day. An offset from
    UTC in `text` counts before `offset`; without a sound one the time is local where this runs.
    """
    if not (date := _DATE.match(text)):
        text = _year_first(text)
        date = _DATE.match(text)
    if date is None or int(date["year"]) < 1000:  # 0000 and 0001 are clocks that were never set
        return None
    rest = text[date.end() :]
    zone = _zone_in(rest) or _zone(_ZONE.fullmatch(offset))
    try:
        day = _first_day(date)
        clock = None if day is None else _CLOCK.match(rest)
        start = day or datetime(int(date["year"]), _month(date) or 1, 1)
        return _seconds(start + (_time_of_day(clock, rest) if clock else timedelta()), zone)
    except OverflowError:  # hour 24 of the last day of 9999
        return None


def _year_first(text: str) -> str:
    """Return a time that names its month with the year in front: `Fri 31 May 2024 18:30`, `Fri May 31 18:30 2024`."""
    named = _NAMED_MONTH.match(text)
    if named is None:
        return text
    name = (named["month"] or named["month2"])[:3].lower()
    if name not in _MONTHS:
        return text
    date = f"{named['year'] or named['year2']}:{_MONTHS.index(name) + 1}:{named['day'] or named['day2']}"
    return f"{date} {named['clock'] or ''}{text[named.end() :]}"


def _month(date: re.Match[str]) -> int | None:
    """Return the month that a date states, None for one that is blank or none."""
    month = int(date["month"] or date["month2"] or 0)
    return month if 1 <= month <= 12 else None


def _first_day(date: re.Match[str]) -> datetime | None:
    """Return the start of the day that a date states, None where it is blank or not in the calendar."""
    try:
        return datetime(int(date["year"]), _month(date) or 0, int(date["day"] or date["day2"] or 0))
    except ValueError:
        return None


def _time_of_day(clock: re.Match[str], rest: str) -> timedelta:
    """Return the time since midnight, zero for a clock that cannot be; `rest` may say `PM` behind it."""
    hour, minute, second = (int(clock[name] or clock[f"{name}2"] or 0) for name in ("hour", "minute", "second"))
    behind = _HALF.match(rest, clock.end())
    half = clock["half"] or (behind[1] if behind else "")
    if half and 1 <= hour <= 12:
        hour = hour % 12 + 12 * (half.lower() == "p")
    if hour > 24 or minute > 59 or second > 60:
        return timedelta()
    return timedelta(hours=hour, minutes=minute, seconds=second)


def _zone_in(rest: str) -> tzinfo | None:
    """Return the offset from UTC that stands behind a clock, None where there is none."""
    clock = _CLOCK.match(rest)
    if clock is None:
        return None
    half = _HALF.match(rest, clock.end())
    return _zone(_ZONE.match(rest, half.end() if half else clock.end()))


def _zone(found: re.Match[str] | None) -> tzinfo | None:
    """Return an offset from UTC, None for one that no place has."""
    if found is None or found["sign"] is None:
        return UTC if found else None
    hours, minutes = int(found["hours"]), int(found["minutes"] or 0)
    if hours >= MOST_HOURS or minutes > 59:
        return None
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(offset if found["sign"] == "+" else -offset)


def _seconds(moment: datetime, zone: tzinfo | None) -> int:
    """Return a moment in seconds since 1970, read as UTC where local time runs out of the calendar."""
    try:
        return int(moment.replace(tzinfo=zone).timestamp())
    except (ValueError, OverflowError, OSError):
        return int(moment.replace(tzinfo=UTC).timestamp())
