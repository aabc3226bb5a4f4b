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
