"""Conditions on pictures, as SQL over the catalog's rows; they are applied before anything is ranked."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from image_index.dates import FIRST_DATE_S, LAST_DATE_S, local_time
from image_index.paths import below, composed, path_range
from image_index.positions import Circle
from image_index.words import word_matcher

GLOB_FUNCTION = "path_fits"
"""The name of the SQL function that `where_path` uses for globs; the reader registers `glob_matcher` under it."""

WORD_FUNCTION = "path_has_words"
"""The name of the SQL function that `where_path` uses for words; the reader registers `word_matcher` under it."""

LISTED = "temp.listed"
"""The table of the paths of `Filters.files`, which the reader makes: `path`, `number` (of the file in the list)."""

LETTERS = 3
"""How many letters an entry of the index of words has."""
DISTANCE_FUNCTION, MONTH_DAY_FUNCTION = "distance_m", "month_day"
"""The names of the SQL functions that `where` uses: `distance_m`, and `month_day` below."""

_LITERAL = re.compile(r"[A-JL-Za-z0-9_./-]+")
"""What a glob and the paths that match it have in common, byte for byte.

Unicode's composed form makes a K of the Kelvin sign; no other of these characters comes of anything else.
"""

DATE = "coalesce(taken_at_s, mtime_ns / 1000000000)"
"""The date of a picture in SQL, in seconds since 1970: taken, or else modified; see `ImageFacts.date_s`."""

DAY_S = 86_400
FAR_S = 1 << 62
"""No date is beyond."""

# A library has some dozen cameras, and each is found by one step in the index, as SQLite has no SELECT DISTINCT that
# leaps: a million names need not be lowered and looked through.
CAMERA = """camera IN (
    WITH RECURSIVE cameras (name) AS (
        SELECT min(camera) FROM images
        UNION ALL SELECT (SELECT min(camera) FROM images WHERE camera > name) FROM cameras WHERE name IS NOT NULL)
    SELECT name FROM cameras WHERE instr(lower(name), lower(?)))"""
"""The SQL condition that a camera's name has a part, in any case."""


def month_day(seconds: int) -> str:
    """Return the day of the year of a date, in local time: `05-31`.

    SQLite's own `localtime` takes years before 1970 and after 2037 for others, which had another offset from UTC.
    """
    return f"{local_time(seconds):%m-%d}"


def spans_of_day(day: str, first_s: int, last_s: int) -> list[tuple[int, int]]:
    """Return spans of dates, [first second, second behind), that hold a day of any year, from one date to another.

    They hold a day before and one behind too, whatever the time zone, and all that lies outside of the calendar.
    """
    spans = [(-FAR_S, FIRST_DATE_S + 2 * DAY_S), (LAST_DATE_S - 2 * DAY_S, FAR_S)]
    month, number = map(int, day.split("-"))
    years = [datetime.fromtimestamp(min(max(one, FIRST_DATE_S), LAST_DATE_S), UTC).year for one in (first_s, last_s)]
    for year in range(years[0] - 1, years[1] + 2):
        with suppress(ValueError):  # 02-29
            start_s = (date(year, month, number) - date(1970, 1, 1)).days * DAY_S
            spans.append((start_s - DAY_S, start_s + 2 * DAY_S))
    return spans


# Everything inside /a lies between `/a/` and `/a0`, for 0 is the byte after the slash. So an index on paths finds a
# directory as it finds a file; LIKE would compare text, and paths are bytes.
INSIDE = "path = ? OR path >= ? AND path < ?"
"""The SQL condition that a path is a certain one or inside it; `inside` gives its parameters."""


def inside(path: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the parameters of `INSIDE`."""
    return path, *path_range(path)


class Orientation(StrEnum):
    """The shape of a picture as displayed."""

    LANDSCAPE = "landscape"
    PORTRAIT = "portrait"
    SQUARE = "square"


_SHAPES = {
    Orientation.LANDSCAPE: "width > height",
    Orientation.PORTRAIT: "width < height",
    Orientation.SQUARE: "width = height",
}


@dataclass(frozen=True, slots=True)
class Filters:
    """Conditions on pictures, joined by AND; a field left at its default does not restrict.

    Directories are absolute paths. A path has all of `words`, which are folded (see `image_index.words`). `files` has
    the absolute paths of the files that may be found, each with the number of its file: one may have several. Dates are
    seconds since 1970: newer_s <= date < older_s; `month_day` is a day of any year in local time, `05-31`. `near` is
    where it was taken, and `has_gps` that this is known. `camera` is any part of the camera's name, in any case;
    `formats` are values of the column `format`; `min_size` is (width, height) in pixels as displayed. Ids: after_id <
    id <= up_to_id. Pictures whose file is gone are left out unless `missing`.
    """

    under: tuple[bytes, ...] = ()
    exclude_under: tuple[bytes, ...] = ()
    globs: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    files: Mapping[bytes, int] | None = None
    newer_s: float | None = None
    older_s: float | None = None
    month_day: str | None = None
    near: Circle | None = None
    has_gps: bool = False
    camera: str | None = None
    formats: tuple[str, ...] = ()
    min_size: tuple[int, int] | None = None
    orientation: Orientation | None = None
    after_id: int | None = None
    up_to_id: int | None = None
    missing: bool = False

    @property
    def chooses(self) -> bool:
        """Whether any condition is set; `missing` is none."""
        return self != Filters(missing=self.missing)

    def count_files(self) -> int:
        """Return how many files there are in `files`, of which each may have several paths."""
        return len(set((self.files or {}).values()))

    def where(self) -> tuple[str, list[object]]:
        """Return the condition on a row of `images` but for its path, and the parameters."""
        conditions: list[tuple[str, tuple[object, ...]]] = []
        for value, condition in (
            (self.newer_s, f"{DATE} >= ?"),
            (self.older_s, f"{DATE} < ?"),
            (self.camera, CAMERA),
            (self.after_id, "id > ?"),
            (self.up_to_id, "id <= ?"),
        ):
            if value is not None:
                conditions.append((condition, (value,)))
        if self.month_day is not None:
            conditions.append(_on_day(self.month_day))
        if self.near is not None:
            conditions.append(_within(self.near))
        if self.has_gps:
            conditions.append(("latitude IS NOT NULL", ()))
        if self.formats:
            conditions.append((f"format IN ({', '.join('?' * len(self.formats))})", self.formats))
        if self.min_size is not None:
            conditions.append(("width >= ? AND height >= ?", self.min_size))
        if self.orientation is not None:
            conditions.append((_SHAPES[self.orientation], ()))
        if not self.missing:
            conditions.append(("missing_since_s IS NULL", ()))
        return _joined(conditions)

    def where_path(self) -> tuple[str, list[object]]:
        """Return the condition on `path`, the column of any table, and its parameters."""
        conditions: list[tuple[str, tuple[object, ...]]] = []
        if self.under:
            conditions.append(inside_any(self.under))
        if self.exclude_under:
            condition, parameters = inside_any(self.exclude_under)
            conditions.append((f"NOT {condition}", parameters))
        if self.globs:
            literals = _literals(self.globs)
            if literals:  # a call into Python takes ten times as long as this
                conditions.append((f"({' OR '.join(['instr(path, ?)'] * len(literals))})", literals))
            conditions.append((f"{GLOB_FUNCTION}(path)", ()))
        if self.words:
            conditions.append((f"{WORD_FUNCTION}(path)", ()))
        if self.files is not None:
            conditions.append((f"path IN (SELECT path FROM {LISTED})", ()))
        return _joined(conditions)

    def where_indexed(self) -> tuple[str, list[object]] | None:
        """Return a query, by the index of words, for the ids of all images whose path has all `words` and fits `globs`.

        It may find others too. A word of one or two letters is looked for only where there is no longer one. None where
        the index is of no use.
        """
        longest = max(self.words, key=len, default="")
        literals = [part.decode().lower() for part in _literals(self.globs)]
        if len(longest) >= LETTERS:
            parts = dict.fromkeys(part for word in self.words for part in _parts(word))
            match = " AND ".join(map(_quoted, parts))
        elif literals and min(map(len, literals)) >= LETTERS:
            each = [dict.fromkeys(_parts(one, step=LETTERS - 1)) for one in literals]
            match = " OR ".join(f"({' AND '.join(map(_quoted, parts))})" for parts in each)
        elif len(longest.encode()) > 1:  # most paths have any one letter of ASCII
            beginning = "SELECT doc AS id FROM image_trigrams WHERE term >= ? AND term < ?"
            return beginning, [longest, longest + chr(sys.maxunicode)]
        else:
            return None
        return "SELECT rowid AS id FROM image_words WHERE image_words MATCH ?", [match]

    def apart(self) -> list[Filters]:
        """Return these conditions one by one, as far as an index of SQLite may answer them; `missing` is none."""
        parts = [
            Filters(newer_s=self.newer_s, older_s=self.older_s),
            Filters(month_day=self.month_day),
            Filters(near=self.near),
            Filters(has_gps=self.has_gps),
            Filters(camera=self.camera),
            Filters(formats=self.formats),
            Filters(min_size=self.min_size),
            Filters(after_id=self.after_id, up_to_id=self.up_to_id),
            Filters(under=self.under),
            Filters(files=self.files),
            Filters(words=self.words),
            Filters(globs=self.globs),
        ]
        return [replace(part, missing=True) for part in parts if part.chooses]

    def without(self, part: Filters) -> Filters:
        """Return these conditions without those of `part`, which is one of `apart`."""
        names = [field.name for field in fields(part) if field.name != "missing"]
        unset = {name: getattr(ALL, name) for name in names if getattr(part, name) != getattr(ALL, name)}
        return replace(self, **unset)

    def path_matcher(self) -> Callable[[bytes], bool]:
        """Return a function: does an absolute path meet the conditions on paths? It does what `where_path` does."""
        under, exclude = (tuple(map(below, side)) for side in (self.under, self.exclude_under))
        fits_globs = glob_matcher(self.globs) if self.globs else lambda _: True
        has_words = word_matcher(self.words)

        def fits(path: bytes) -> bool:
            place = below(path)
            inside = (not under or place.startswith(under)) and not place.startswith(exclude)
            return inside and fits_globs(path) and has_words(path) and (self.files is None or path in self.files)

        return fits


ALL = Filters()
"""No condition but that the file exists."""


def _joined(conditions: list[tuple[str, tuple[object, ...]]]) -> tuple[str, list[object]]:
    """Join conditions and their parameters by AND."""
    parameters = [parameter for _, parameters in conditions for parameter in parameters]
    return " AND ".join(condition for condition, _ in conditions) or "1", parameters


def _parts(word: str, step: int = LETTERS) -> Iterator[str]:
    """Yield groups of letters that together are a word, `step` letters apart; none of a word shorter than a group.

    Of numbered names such as IMG_00012 groups that overlap leave a tenth, and all groups take twice as long.
    """
    last = len(word) - LETTERS
    return (word[start : start + LETTERS] for start in sorted({*range(0, last, step), last}) if last >= 0)


def _quoted(part: str) -> str:
    """Return a group of letters as FTS5 takes it."""
    return '"{}"'.format(part.replace('"', '""'))


def _on_day(day: str) -> tuple[str, tuple[object, ...]]:
    """Return the condition that a date is on a day of any year: near it in UTC, and on it in local time.

    SQLite tells the former of a million dates in a second; asked for all of them, `month_day` would take ten.
    """
    around = [date.fromisoformat(f"2000-{day}") + timedelta(days) for days in range(-2, 3)]  # a leap year
    in_calendar = f"min(max({DATE}, {FIRST_DATE_S}), {LAST_DATE_S})"
    in_utc = f"strftime('%m-%d', {in_calendar}, 'unixepoch') IN (?, ?, ?, ?, ?)"
    return f"{in_utc} AND {MONTH_DAY_FUNCTION}({in_calendar}) = ?", (*(one.isoformat()[5:] for one in around), day)


def _within(circle: Circle) -> tuple[str, tuple[object, ...]]:
    """Return the condition that a picture was taken in a circle: in the box around it, by an index, and in it."""
    ranges = circle.longitudes()
    box = f"latitude BETWEEN ? AND ? AND ({' OR '.join(['longitude BETWEEN ? AND ?'] * len(ranges))})"
    edges = (*circle.latitudes(), *(edge for one in ranges for edge in one))
    middle = (circle.latitude, circle.longitude, circle.radius_m)
    return f"{box} AND {DISTANCE_FUNCTION}(latitude, longitude, ?, ?) <= ?", (*edges, *middle)


def inside_any(directories: tuple[bytes, ...]) -> tuple[str, tuple[object, ...]]:
    """Return the condition that a path is one of `directories` or inside one, and its parameters."""
    parts = " OR ".join([INSIDE] * len(directories))
    return f"({parts})", tuple(value for directory in directories for value in inside(directory))


def _literals(globs: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return bytes of which every path that matches one of `globs` has at least one; none where that is not sure."""
    wanted = [composed(glob).partition("[")[0] for glob in globs if not glob.startswith("!")]
    runs = [max(_LITERAL.findall(glob), key=len, default="") for glob in wanted]
    return tuple(run.encode() for run in runs) if all(runs) and not any("//" in glob for glob in wanted) else ()


def glob_matcher(globs: tuple[str, ...]) -> Callable[[bytes], bool]:
    """Return a function: does an absolute path match one of `globs`, and none of those that begin with `!`?

    A glob without a slash is about the file's name, one with a slash about the end of the path; one that begins with a
    slash is about all of it. `*` stops at a slash, `**` does not. Raises ValueError for a glob that is none.
    """
    import os

    from image_index.files.globs import any_matches, compile_pattern

    wanted = [glob for glob in globs if not glob.startswith("!")]
    unwanted = [glob[1:] for glob in globs if glob.startswith("!")]
    takes, refuses = ([compile_pattern(_anywhere(glob)) for glob in side] for side in (wanted, unwanted))

    def fits(path: bytes) -> bool:
        relative = composed(os.fsdecode(path)).lstrip("/")
        return (not wanted or any_matches(takes, relative)) and not any_matches(refuses, relative)

    return fits


def _anywhere(glob: str) -> str:
    """Return a glob as gitignore understands it when the root is `/`."""
    return glob if glob.startswith("/") else f"**/{glob}"
