"""`imgidx dupes`: the same picture, several times."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from image_index.catalog.filters import Filters
from image_index.cli.options import IndexOption, JsonOption, QuietOption, common, given_path, screen, write
from image_index.cli.output import HtmlOption, NullOption, OpenOption, open_page
from image_index.cli.selection import choosing
from image_index.errors import UsageError

if TYPE_CHECKING:
    from image_index.search.duplicates import Group

FOUND, NOTHING_FOUND = 0, 1

SimilarityOption = Annotated[
    float | None,
    typer.Option(
        "--similarity",
        metavar="X",
        min=-1.0,
        max=1.0,
        help="Smallest cosine that copies must have too. Default: any, for the pixels tell.",
    ),
]
ExactOption = Annotated[bool, typer.Option("--exact", help="Only files of the same content, byte for byte.")]
PairsOption = Annotated[
    bool, typer.Option("--pairs", help="Also the RAW file and the JPEG or HEIC of one shot, which are no duplicates.")
]
PathsArgument = Annotated[
    list[Path] | None, typer.Argument(parser=given_path, metavar="[PATH]...", help="Pictures, for --keep alone.")
]
KeepOption = Annotated[
    bool | None,
    typer.Option(
        "--keep/--no-keep", help="Show no two of the pictures PATH... as duplicates any more, or show them again."
    ),
]
AllOption = Annotated[bool, typer.Option("--all", help="Also pictures that --keep was used for.")]
OmitFirstOption = Annotated[
    bool, typer.Option("--omit-first", "-f", help="Print all of each group but the first, the best copy.")
]


@choosing
def dupes(
    paths: PathsArgument = None,
    keep: KeepOption = None,
    similarity: SimilarityOption = None,
    exact: ExactOption = False,
    pairs: PairsOption = False,
    all: AllOption = False,  # noqa: A002  # the option's name
    omit_first: OmitFirstOption = False,
    *,
    filters: Filters,
    json: JsonOption = False,
    null: NullOption = False,
    html: HtmlOption = None,
    open: OpenOption = False,  # noqa: A002  # the option's name
    index: IndexOption = None,
    quiet: QuietOption = False,
) -> int:
    """Find groups of the same picture.

    The pictures of a group have equal content, or one was made of the other by encoding, scaling, cropping a little, or
    putting a text across. The best copy comes first: most pixels, then most bytes, then the oldest. A blank line (with
    -0 an empty entry) ends each group, unless the first are omitted. Nothing is ever deleted.

    With --keep nothing is searched: the pictures PATH... are remembered as they are now. If one of them changes, or
    another copy comes, that is shown.

    Example: imgidx dupes --under ~/Pictures --html dupes.html --open

    Exit codes: 0 found or kept, 1 none found, 2 wrong use, 4 no index, 5 a newer index, 9 disk or catalog.
    """
    from image_index.index import Index

    if json and null:
        raise UsageError("--json and --null cannot be had at once", "choose one")
    if open and html is None:
        raise UsageError("--open goes with --html FILE")
    if paths and keep is None:
        raise UsageError("imgidx dupes takes pictures with --keep alone", "to look into a directory: --under DIR")
    with Index.open(common(index, quiet=quiet).home.path) as opened:
        if keep is not None:
            opened.keep(paths or (), kept=keep)
            return FOUND
        found = opened.duplicates(filters, similarity=similarity, exact=exact, pairs=pairs, kept=all)
    if html is not None:
        from image_index.present.sheet import write_duplicates

        write_duplicates(html, found)
        if open:
            open_page(html)
    if html is None or json or null:
        write(_text(found, json=json, null=null, first=int(omit_first)))
    return FOUND if found else NOTHING_FOUND


def _text(found: list[Group], *, json: bool, null: bool, first: int) -> str:
    """Return what is printed of groups, each from its member `first` on."""
    from image_index.present import groups
    from image_index.present.jsonl import json_line

    shown_on = screen()
    if json:
        return "".join(json_line(groups.group_record(group[first:])) for group in found)
    if shown_on.terminal and not null:
        return groups.group_tables(found, first, shown_on)
    return groups.path_lines([group[first:] for group in found], null=null, apart=not first)
