"""`imgidx export`: pictures and vectors as files for other tools."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from image_index.cli.options import IndexOption, JsonOption, QuietOption, common, write
from image_index.cli.selection import choosing_pictures
from image_index.search.selection import FilterArguments

DONE, NOTHING_TO_EXPORT = 0, 1


class ExportFormat(StrEnum):
    """What the metadata is written as; vectors are .npy files in either."""

    NPY = "npy"
    PARQUET = "parquet"


FormatOption = Annotated[
    ExportFormat,
    typer.Option("--format", help="npy: metadata as JSON lines; parquet: as Parquet, needs the extra parquet."),
]


@choosing_pictures
def export(
    destination: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty directory.")],
    format: FormatOption = ExportFormat.NPY,  # noqa: A002  # the option's name
    json: JsonOption = False,
    index: IndexOption = None,
    quiet: QuietOption = False,
    *,
    chosen: FilterArguments,
) -> int:
    """Write vectors and metadata to DIR, in the layout of clip-retrieval, for other tools to read.

    DIR appears whole or not at all. Exporting while a train runs is fine.

    Example: imgidx export ~/embeddings --format parquet --under ~/Pictures

    Exit codes: 0 done, 1 nothing to export, 2 wrong use, 4 no index, 5 a newer index, 9 disk or catalog.
    """
    from image_index.index import Index
    from image_index.paths import printable
    from image_index.present.jsonl import record_line
    from image_index.upkeep.export import exported_record

    setup = common(index, quiet=quiet)
    with Index.open(setup.home.path) as opened:
        done = opened.export(destination, parquet=format is ExportFormat.PARQUET, **chosen)
    if done is None:
        if not quiet:
            setup.console.print("imgidx: nothing to export: the index holds no such picture", soft_wrap=True)
        return NOTHING_TO_EXPORT
    if json:
        write(record_line(exported_record(done)) + "\n")
    elif not quiet:
        size = f"{done.images} pictures in {done.parts} {'part' if done.parts == 1 else 'parts'}"
        write(f"exported {size} to {printable(str(done.path))}\n")
    return DONE
