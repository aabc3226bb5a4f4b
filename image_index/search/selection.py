"""`make_filters`: the words with which people choose pictures, in a shell and in Python, made into `Filters`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from datetime import date
from typing import TypeVar

from image_index.catalog.filters import Filters, Orientation, glob_matcher
from image_index.dates import date_s, day_of_year, days_s
from image_index.errors import UsageError
from image_index.formats import format_names
from image_index.paths import AnyPath, absolute, both_ways, resolve
from image_index.positions import Circle
from image_index.words import split_words

NEAR_KM = 1.0
"""How far from a place pictures may be if nothing else is said: about a walk of a quarter of an hour."""

MOST_KM = 20_100.0
"""More than half of the way around the earth."""

_NEAR = "latitude and longitude, and perhaps kilometres, such as 48.8584,2.2945 or -33.8569,151.2152,5"

Word = TypeVar("Word", bound=AnyPath)


def make_filters(  # noqa: PLR0913  # keywords alone, one for each option of the command line
    *,
    under: AnyPath | Sequence[AnyPath] | None = None,
    exclude_under: AnyPath | Sequence[AnyPath] | None = None,
    glob: str | Sequence[str] | None = None,
    name: str | None = None,
    files: Iterable[AnyPath] | None = None,
    newer: str | date | None = None,
    older: str | date | None = None,
    on: str | date | None = None,
    between: Sequence[str | date] | None = None,
    near: str | Sequence[float] | None = None,
    has_gps: bool = False,
    camera: str | None = None,
    type: str | Sequence[str] | None = None,  # noqa: A002  # the option's name
    min_size: str | tuple[int, int] | None = None,
    orientation: str | None = None,
    missing: bool = False,
    after_id: int | None = None,
    up_to_id: int | None = None,
) -> Filters:
    """Return conditions on pictures, joined by AND; where one has several values, a picture has to fit one of them.

    - `under`, `exclude_under`: inside these directories; not inside these.
    - `glob`: the file's name, or with a slash the end of its path: `"*.jpg"`, `"2024/**"`; with `!` in front, none.
    - `name`: words that the path has, all of them, anywhere, whatever their case and accents: `"beach 2024"`; in double
      quotes blanks belong to a word.
    - `files`: only these, each by its path; where there are none, nothing is found.
    - `newer`, `older`: taken (where that is unknown, modified) at this date or later; before it. A date is `"2024"`,
      `"2024-05-31"`, an age such as `"30d"`, or a `datetime`.
    - `on`: on a day of any year, `"05-31"`, or in a day, a month or a year: `"2024-05-31"`, `"2024-05"`, or a `date`.
    - `between`: from the beginning of one day, month or year to the end of another.
    - `near`: within some kilometres, if not said one, of a latitude and longitude in degrees: `"48.8584,2.2945,5"` or
      `(48.8584, 2.2945, 5)`.
    - `has_gps`: only pictures that say where they were taken.
    - `camera`: part of the camera's make and model, in any case.
    - `type`: the kind of file: `"jpeg"`, `"png"`, `"heic"`, `"raw"`, ...
    - `min_size`: at least this wide and high in pixels, as displayed: `"1920x1080"` or `(1920, 1080)`.
    - `orientation`: `"landscape"`, `"portrait"` or `"square"`.
    - `missing`: also pictures whose file is gone.
    - `after_id`, `up_to_id`: only images added after, and not after, these ids; see `Index.last_id`.

    Raises `UsageError`, naming the option, for a value that makes no sense.
    """
    globs = _many(glob)
    if camera is not None and not camera.strip():
        raise UsageError("--camera takes part of a camera's name, for example: --camera canon")
    _check_globs(globs)
    month_day = day_of_year(on) if isinstance(on, str) else None
    newer_s, older_s = _dates(newer, older, None if month_day else on, between)
    return Filters(
        under=_directories(_many(under)),
        exclude_under=_directories(_many(exclude_under)),
        globs=globs,
        words=_words(name),
        files=None if files is None else _listed(files),
        newer_s=newer_s,
        older_s=older_s,
        month_day=month_day,
        near=None if near is None else _circle(near),
        has_gps=has_gps,
        camera=camera.strip() if camera is not None else None,
        formats=tuple(name for word in _many(type) for name in _format(word)),
        min_size=_size(min_size),
        orientation=_orientation(orientation),
        after_id=after_id,
        up_to_id=up_to_id,
        missing=missing,
    )


def _many(words: Word | Sequence[Word] | None) -> tuple[Word, ...]:
    """Return one word or several as a tuple."""
    if words is None:
        return ()
    return (words,) if isinstance(words, str | bytes | os.PathLike) else tuple(words)


def _dates(
    newer: str | date | None, older: str | date | None, on: str | date | None, between: Sequence[str | date] | None
) -> tuple[float | None, float | None]:
    """Return the first moment that all of these allow, and the first behind; None where nothing limits it."""
    starts = [] if newer is None else [date_s(newer, "--newer")]
    ends = [] if older is None else [date_s(older, "--older")]
    for first, behind in [*([] if on is None else [_days(on)]), *([_between(between)] if between else [])]:
        starts.append(first)
        ends.append(behind)
    return max(starts, default=None), min(ends, default=None)


def _days(on: str | date) -> tuple[float, float]:
    """Return the first moment of what `--on` names, and the first behind."""
    try:
        return days_s(on, "--on")
    except UsageError:
        raise UsageError(
            f"--on takes a day of any year such as 05-31, or a day, a month or a year such as 2024-05-31, not {on!r}"
        ) from None


def _between(days: Sequence[str | date]) -> tuple[float, float]:
    """Return the first moment of the first of two days, and the first behind the second."""
    example = "such as --between 2024-05-01 2024-06-15"
    if isinstance(days, str) or len(days) != 2:
        raise UsageError(f"--between takes two days, {example}")
    (first, _), (_, behind) = (days_s(day, "--between") for day in days)
    if first >= behind:
        raise UsageError(f"--between takes the earlier day first, {example}")
    return first, behind


def _circle(near: str | Sequence[float]) -> Circle:
    """Return the circle around a place; raise `UsageError` for one that is not on the earth."""
    words = near.split(",") if isinstance(near, str) else near
    try:
        latitude, longitude, *more = map(float, words)
        (km,) = more or [NEAR_KM]
    except (ValueError, TypeError):
        raise UsageError(f"--near takes {_NEAR}, not {near!r}") from None
    if not (abs(latitude) <= 90 and abs(longitude) <= 180 and 0 < km <= MOST_KM):
        raise UsageError(f"--near takes {_NEAR}, not {near!r}", "degrees go to 90 and 180")
    return Circle(latitude, longitude, km * 1000)


def _directories(paths: tuple[AnyPath, ...]) -> tuple[bytes, ...]:
    """Return absolute paths: with links resolved, and as they are written too, for what was found through links."""
    return tuple(dict.fromkeys(way for path in paths for way in (resolve(path), absolute(path))))


def _check_globs(globs: tuple[str, ...]) -> None:
    """Raise `UsageError` for a glob that cannot be parsed."""
    # One by one, so that the message can name the wrong one.
    for glob in globs:
        try:
            if not glob.strip("!"):
                raise ValueError("it is empty")
            glob_matcher((glob,))
        except ValueError as error:
            raise UsageError(f"--glob takes a pattern such as '*.jpg' or '2024/**', not {glob!r}: {error}") from error


def _listed(files: Iterable[AnyPath]) -> dict[bytes, int]:
    """Return the absolute paths of files, with links resolved and as they are written, each with the file's number."""
    numbers: dict[bytes, int] = {}
    for resolved, written in both_ways(map(os.fsencode, files)):
        number = numbers.setdefault(resolved, len(numbers))
        numbers.setdefault(written, number)
    return numbers


def _words(text: str | None) -> tuple[str, ...]:
    """Return the words that a path must have; raise `UsageError` for a text that has none."""
    words = split_words(text or "")
    if text is not None and not words:
        raise UsageError("--name takes words of a path, for example: --name 'beach 2024'")
    return words


def _format(word: str) -> tuple[str, ...]:
    """Return the catalog's names of a kind of file."""
    try:
        return format_names(word)
    except ValueError as error:
        raise UsageError(f"--type knows no kind of picture {word!r}", f"there are: {error}") from error


def _size(size: str | tuple[int, int] | None) -> tuple[int, int] | None:
    """Return (width, height) in pixels of a size as `1920x1080`."""
    if size is None or isinstance(size, tuple):
        return size
    match = re.fullmatch(r"(\d{1,9})x(\d{1,9})", size.strip().lower(), re.ASCII)
    if match is None:
        raise UsageError(f"--min-size takes width x height in pixels such as 1920x1080, not {size!r}")
    return int(match[1]), int(match[2])


def _orientation(word: str | None) -> Orientation | None:
    """Return the orientation of that name."""
    try:
        return Orientation(word.lower()) if word is not None else None
    except ValueError as error:
        raise UsageError(f"--orientation is landscape, portrait or square, not {word!r}") from error
