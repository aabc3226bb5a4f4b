"""`imgidx export`: pictures and vectors as files for other tools."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from image_index.cli.options import IndexOption, JsonOption, QuietOption, common, given_path, write
from image_index.cli.selection import (
    CameraOption,
    ExcludeUnderOption,
    GlobOption,
    MinSizeOption,
    MissingOption,
    NewerOption,
    OlderOption,
    OrientationOption,
    TypeOption,
    UnderOption,
)
from image_index.search.selection import make_filters

DONE, NOTHING_TO_EXPORT = 0, 1


class Metadata(StrEnum):
    """What the metadata is written as; vectors are .npy files in either."""

    JSONL = "jsonl"
    PARQUET = "parquet"


MetadataOption = Annotated[
    Metadata, typer.Option("--metadata", help="How the metadata is written; parquet needs the extra parquet.")
]


def export(
    destination: Annotated[Path, typer.Argument(parser=given_path, metavar="DIR", help="A new or empty directory.")],
    metadata: MetadataOption = Metadata.JSONL,
    under: UnderOption = None,
    exclude_under: ExcludeUnderOption = None,
    glob: GlobOption = None,
    type: TypeOption = None,  # noqa: A002  # the option's name
    newer: NewerOption = None,
    older: OlderOption = None,
    camera: CameraOption = None,
    min_size: MinSizeOption = None,
    orientation: OrientationOption = None,
    missing: MissingOption = False,
    json: JsonOption = False,
    index: IndexOption = None,
    quiet: QuietOption = False,
) -> int:
    """Write vectors and metadata as files for other tools.

    They have the layout of clip-retrieval. DIR appears whole or not at all. Exporting while a train runs is fine.

    Example: imgidx export ~/embeddings --metadata parquet --under ~/Pictures

    Exit codes: 0 done, 1 nothing to export, 2 wrong use, 4 no index, 5 a newer index, 9 disk or catalog.
    """
    from image_index.index import Index
    from image_index.present.jsonl import json_line
    from image_index.present.summary import exported_record, exported_text

    filters = make_filters(
        under=under, exclude_under=exclude_under, glob=glob, type=type, newer=newer, older=older,
        camera=camera, min_size=min_size, orientation=orientation, missing=missing,
    )  # fmt: skip
    setup = common(index, quiet=quiet)
    with Index.open(setup.home.path) as opened:
        done = opened.export(destination, filters, parquet=metadata is Metadata.PARQUET)
    if done is None:
        if not quiet:
            setup.console.print(
                "imgidx: nothing to export: the index holds no vector of such a picture", soft_wrap=True
            )
        return NOTHING_TO_EXPORT
    if json or not quiet:
        write(json_line(exported_record(done)) if json else exported_text(done))
    return DONE
