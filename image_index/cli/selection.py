"""The options with which several commands choose pictures."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from image_index.search.selection import FilterArguments

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
MinSizeOption = Annotated[
    str | None,
    typer.Option("--min-size", metavar="WxH", help="Only pictures of at least W x H pixels.", show_default=False),
]
OrientationOption = Annotated[
    str | None,
    typer.Option("--orientation", metavar="SHAPE", help="landscape, portrait or square.", show_default=False),
]
MissingOption = Annotated[bool, typer.Option("--missing", help="Also pictures whose file is gone.")]


def _options(
    under: UnderOption = None,
    exclude_under: ExcludeUnderOption = None,
    glob: GlobOption = None,
    newer: NewerOption = None,
    older: OlderOption = None,
    camera: CameraOption = None,
    min_size: MinSizeOption = None,
    orientation: OrientationOption = None,
    missing: MissingOption = False,
) -> None:
    """Be the signature of the options that choose pictures."""


def choosing_pictures(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command, before its option `--json`, the options that choose pictures: it takes them as `chosen`."""
    own, options = (dict(inspect.signature(it, eval_str=True).parameters) for it in (command, _options))
    del own["chosen"]
    first = list(own)[: list(own).index("json")]
    merged = {name: own[name] for name in first} | options | own

    @wraps(command)
    def run(**values: Any) -> int:
        chosen: FilterArguments = {name: values.pop(name) for name in options}  # type: ignore[assignment]
        return command(**values, chosen=chosen)

    run.__signature__ = inspect.Signature(list(merged.values()), return_annotation=int)  # type: ignore[attr-defined]
    run.__annotations__ = {name: parameter.annotation for name, parameter in merged.items()}
    return run
