"""The options with which several commands choose pictures: those of `choose`, for each command that is `choosing`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from image_index.catalog.filters import Filters
from image_index.cli.options import given_path
from image_index.search.selection import make_filters

UnderOption = Annotated[
    list[Path] | None,
    typer.Option("--under", parser=given_path, metavar="DIR", help="Only pictures inside DIR. May be repeated."),
]
ExcludeUnderOption = Annotated[
    list[Path] | None,
    typer.Option("--exclude-under", parser=given_path, metavar="DIR", help="No pictures inside DIR. May be repeated."),
]
GlobOption = Annotated[
    list[str] | None,
    typer.Option(
        "--glob",
        "-g",
        metavar="GLOB",
        help="Only files whose name matches ('*.jpg'); with a slash, the end of the path ('2024/**'); with !, none of "
        "these. May be repeated.",
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="WORDS",
        help="Only files whose path has all these words, anywhere, in any case, with or without accents. Quotes keep"
        " words together: '\"new york\" 2019'.",
    ),
]
NewerOption = Annotated[
    str | None,
    typer.Option(
        "--newer",
        metavar="DATE|AGE",
        help="Only pictures taken (if unknown: modified) at this date or later, or within this age: 2024-05-31, 30d.",
    ),
]
OlderOption = Annotated[
    str | None, typer.Option("--older", metavar="DATE|AGE", help="Only pictures taken before this date or age.")
]
OnOption = Annotated[
    str | None,
    typer.Option(
        "--on", metavar="DAY", help="Only pictures of a day of any year (05-31), or of a day, month or year (2024-05)."
    ),
]
BetweenOption = Annotated[
    tuple[str, str] | None,
    typer.Option(
        "--between", metavar="DAY DAY", help="Only pictures from the first day, month or year to the end of the second."
    ),
]
NearOption = Annotated[
    str | None,
    typer.Option(
        "--near",
        metavar="LAT,LON[,KM]",
        help="Only pictures taken within KM kilometres (default: 1) of a position in degrees: 48.8584,2.2945,5.",
    ),
]
HasGpsOption = Annotated[bool, typer.Option("--has-gps", help="Only pictures that say where they were taken.")]
CameraOption = Annotated[
    str | None, typer.Option("--camera", metavar="NAME", help="Only pictures of cameras whose name contains NAME.")
]
TypeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--type", "-t", metavar="KIND", help="Only files of this kind: jpeg, png, heic, raw, ... May be repeated."
    ),
]
MinSizeOption = Annotated[
    str | None, typer.Option("--min-size", metavar="WxH", help="Only pictures at least W wide and H high.")
]
OrientationOption = Annotated[
    str | None, typer.Option("--orientation", metavar="SHAPE", help="landscape, portrait or square.")
]
MissingOption = Annotated[bool, typer.Option("--missing", help="Include pictures whose file is gone.")]


def choose(
    under: UnderOption = None,
    exclude_under: ExcludeUnderOption = None,
    glob: GlobOption = None,
    name: NameOption = None,
    type: TypeOption = None,  # noqa: A002  # the option's name
    newer: NewerOption = None,
    older: OlderOption = None,
    on: OnOption = None,
    between: BetweenOption = None,
    near: NearOption = None,
    has_gps: HasGpsOption = False,
    camera: CameraOption = None,
    min_size: MinSizeOption = None,
    orientation: OrientationOption = None,
    missing: MissingOption = False,
) -> Filters:
    """Return the conditions that the options say."""
    return make_filters(
        under=under, exclude_under=exclude_under, glob=glob, name=name, type=type, newer=newer, older=older, on=on,
        between=between, near=near, has_gps=has_gps, camera=camera, min_size=min_size, orientation=orientation,
        missing=missing,
    )  # fmt: skip


def choosing(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of `choose` in the place of its parameter `filters`, and call it with what they say.

    A new filter is then a parameter of `choose`, and no command knows of it.
    """
    options = inspect.signature(choose, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True)

    @wraps(command)
    def run(**given: Any) -> int:
        chosen = choose(**{name: given.pop(name) for name in options})
        return command(**given, filters=chosen)

    # typer reads the options off the signature, and gives all of them by name
    merged = [
        option.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in own.parameters.values()
        for option in (options.values() if parameter.name == "filters" else (parameter,))
    ]
    run.__signature__ = own.replace(parameters=merged)  # type: ignore[attr-defined]
    run.__annotations__ = {}
    return run
