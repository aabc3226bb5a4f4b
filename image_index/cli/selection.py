"""The options with which several commands choose pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

UnderOption = Annotated[
    list[Path] | None,
    typer.Option("--under", metavar="DIR", help="Only pictures inside DIR. May be repeated.", show_default=False),
]
ExcludeUnderOption = Annotated[
    list[Path] | None,
    typer.Option("--exclude-under", metavar="DIR", help="No pictures inside DIR. May be repeated.", show_default=False),
]
GlobOption = Annotated[
    list[str] | None,
    typer.Option(
        "--glob",
        "-g",
        metavar="GLOB",
        help="Only file names that fit ('*.jpg'), or with a slash ends of paths ('2024/**'); with ! in front, none "
        "that do. May be repeated.",
        show_default=False,
    ),
]
NewerOption = Annotated[
    str | None,
    typer.Option(
        "--newer",
        metavar="DATE|AGE",
        help="Only pictures taken (or, if unknown, modified) on that day or later, or not longer ago: 2024-05-31, 30d.",
        show_default=False,
    ),
]
OlderOption = Annotated[
    str | None,
    typer.Option("--older", metavar="DATE|AGE", help="Only pictures taken before that.", show_default=False),
]
CameraOption = Annotated[
    str | None,
    typer.Option("--camera", metavar="NAME", help="Only pictures of cameras with NAME in theirs.", show_default=False),
]
TypeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--type",
        "-t",
        metavar="KIND",
        help="Only files of this kind: jpeg, png, heic, raw, ... May be repeated.",
        show_default=False,
    ),
]
MinSizeOption = Annotated[
    str | None,
    typer.Option("--min-size", metavar="WxH", help="Only pictures of at least W x H pixels.", show_default=False),
]
OrientationOption = Annotated[
    str | None,
    typer.Option("--orientation", metavar="SHAPE", help="landscape, portrait or square.", show_default=False),
]
MissingOption = Annotated[bool, typer.Option("--missing", help="Also pictures whose file is gone.")]
