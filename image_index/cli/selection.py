"""The options with which several commands choose pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from image_index.cli.options import given_path

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
