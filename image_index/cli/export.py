"""`imgidx export`: pictures and vectors as files for other tools."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from image_index.catalog.filters import Filters
from image_index.cli.options import IndexOption, JsonOption, QuietOption, common, given_path, write
from image_index.cli.selection import choosing
from image_index.errors import UsageError

DONE, NOTHING_TO_EXPORT = 0, 1


class Format(StrEnum):
    """What the metadata is written as."""

    JSONL = "jsonl"
    PARQUET = "parquet"


FormatOption = Annotated[
    Format, typer.Option("--format", help="How the metadata is written; parquet needs the extra parquet.")
]
WithVectorsOption = Annotated[
    bool, typer.Option("--with-vectors", help="With --format parquet: the vectors in the rows, for --since.")
]
Float32Option = Annotated[
    bool, typer.Option("--float32", help="With --with-vectors: float32, for stores that do not know float16.")
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="MARK|DIR", help="With --with-vectors: only what has changed since that export, and is gone."
    ),
]


@choosing
def export(
    destination: Annotated[Path, typer.Argument(parser=given_path, metavar="DIR", help="A new or empty directory.")],
    format: FormatOption = Format.JSONL,  # noqa: A002  # the option's name
    with_vectors: WithVectorsOption = False,
    float32: Float32Option = False,
    since: SinceOption = None,
    *,
    filters: Filters,
    json: JsonOption = False,
    index: IndexOption = None,
    quiet: QuietOption = False,
) -> int:
    """Write vectors and metadata as files for other tools.

    They have the layout of clip-retrieval, or with --with-vectors one row a picture, by which another store can follow
    the index. DIR appears whole or not at all. Exporting while a train runs is fine.

    Example: imgidx export ~/embeddings --format parquet --under ~/Pictures

    Exit codes: 0 done, 1 nothing to export, 2 wrong use, 4 no index, 5 a newer index, 9 disk or catalog.
    """
    from image_index.index import Index
    from image_index.present.jsonl import json_line
    from image_index.present.summary import exported_record, exported_text

    _check(format, with_vectors=with_vectors, float32=float32, since=since)
    setup = common(index, quiet=quiet)
    with Index.open(setup.home.path) as opened:
        if with_vectors:
            done = opened.export_rows(destination, filters, float32=float32, since=since)
        else:
            done = opened.export(destination, filters, parquet=format is Format.PARQUET)
    if done is None:
        if not quiet:
            why = "nothing has changed" if since else "the index holds no vector of such a picture"
            setup.console.print(f"imgidx: nothing to export: {why}", soft_wrap=True)
        return NOTHING_TO_EXPORT
    if json or not quiet:
        write(json_line(exported_record(done)) if json else exported_text(done))
    return DONE


def _check(format: Format, *, with_vectors: bool, float32: bool, since: str | None) -> None:  # noqa: A002
    """Raise `UsageError` for options that need another one."""
    if with_vectors and format is not Format.PARQUET:
        raise UsageError("--with-vectors goes with --format parquet")
    for option, given in (("--float32", float32), ("--since", since is not None)):
        if given and not with_vectors:
            raise UsageError(f"{option} goes with --format parquet --with-vectors")
