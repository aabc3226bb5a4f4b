"""Which pictures are meant, as people say it: the words of the command line and of Python, made into `Filters`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import date
from os import PathLike
from typing import TypedDict, TypeVar, Unpack

from image_index.catalog.filters import Filters, Orientation, glob_matcher
from image_index.dates import date_s
from image_index.errors import UsageError
from image_index.formats import format_names
from image_index.paths import resolve

AnyPath = str | bytes | PathLike[str]
Word = TypeVar("Word", bound=AnyPath)


class FilterArguments(TypedDict, total=False):
    """What may be said of the pictures that are meant; where several are given, one of them has to fit."""

    under: AnyPath | Sequence[AnyPath] | None
    """Inside these directories."""
    exclude_under: AnyPath | Sequence[AnyPath] | None
    """Not inside these."""
    glob: str | Sequence[str] | None
    """The name, or with a slash the end of the path, fits; a glob that begins with `!` leaves out."""
    newer: str | date | None
    """Taken, or else modified, at this date or age, or later."""
    older: str | date | None
    """Before it."""
    camera: str | None
    """Part of make and model, in any case."""
    format: str | Sequence[str] | None
    """Such as jpeg, png, heic, raw."""
    min_size: str | tuple[int, int] | None
    """Width and height at least, in pixels as displayed: 1920x1080."""
    orientation: str | None
    """landscape, portrait or square."""
    missing: bool
    """Also pictures whose file is gone."""


def make_filters(**words: Unpack[FilterArguments]) -> Filters:
    """Return the filters that `words` mean; raise `UsageError` for what cannot be meant."""
    newer, older, camera, globs = words.get("newer"), words.get("older"), words.get("camera"), _many(words.get("glob"))
    if camera is not None and not camera.strip():
        raise UsageError("--camera takes part of a camera's name, for example: --camera canon")
    _check_globs(globs)
    return Filters(
        under=tuple(map(resolve, _many(words.get("under")))),
        exclude_under=tuple(map(resolve, _many(words.get("exclude_under")))),
        globs=globs,
        newer_s=None if newer is None else date_s(newer, "--newer"),
        older_s=None if older is None else date_s(older, "--older"),
        camera=camera.strip() if camera is not None else None,
        formats=tuple(name for word in _many(words.get("format")) for name in _format(word)),
        min_size=_size(words.get("min_size")),
        orientation=_orientation(words.get("orientation")),
        missing=words.get("missing", False),
    )


def _many(words: Word | Sequence[Word] | None) -> tuple[Word, ...]:
    """Return one word or several as a tuple."""
    if words is None:
        return ()
    return (words,) if isinstance(words, str | bytes | os.PathLike) else tuple(words)


def _check_globs(globs: tuple[str, ...]) -> None:
    """Raise `UsageError` for a glob that is none."""
    for glob in globs:
        try:
            if not glob.strip("!"):
                raise ValueError("it is empty")
            glob_matcher((glob,))
        except ValueError as error:
            raise UsageError(f"--glob takes a pattern such as '*.jpg' or '2024/**', not {glob!r}: {error}") from error


def _format(word: str) -> tuple[str, ...]:
    """Return the catalog's names of a format."""
    try:
        return format_names(word)
    except ValueError as error:
        raise UsageError(f"no picture format is called {word!r}", f"there are: {error}") from error


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
