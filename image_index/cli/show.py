"""`imgidx show`: everything known about a picture."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from image_index.cli.options import IndexOption, JsonOption, common, given_path, write

ALL_KNOWN, SOME_UNKNOWN = 0, 1


def show(
    paths: Annotated[list[Path], typer.Argument(parser=given_path, metavar="PATH...", help="Pictures, there or gone.")],
    json: JsonOption = False,
    index: IndexOption = None,
) -> int:
    """Show everything known about a picture.

    Its file, facts and hashes, when it was read, and why it failed if it did.

    Example: imgidx show ~/Pictures/chelsea.png

    Exit codes: 0 shown, 1 the index does not know some PATH, 2 wrong use, 4 no index, 5 a newer index, 9 disk or
    catalog.
    """
    from image_index.catalog.reader import CatalogReader
    from image_index.paths import printable
    from image_index.present.jsonl import json_line
    from image_index.present.known import known_record, known_text
    from image_index.upkeep.known import known_picture

    setup = common(index)
    with CatalogReader(setup.home.catalog) as catalog:
        found = {path: known_picture(catalog, catalog.known_path(path)) for path in paths}
    known = [picture for picture in found.values() if picture is not None]
    write("".join(json_line(known_record(one)) for one in known) if json else "\n".join(map(known_text, known)))
    for path, picture in found.items():
        if picture is None:
            setup.console.print(f"imgidx: {printable(os.fsencode(path))}: {_next_step(path)}", soft_wrap=True)
    return ALL_KNOWN if len(known) == len(found) else SOME_UNKNOWN


def _next_step(path: Path) -> str:
    """Return what to do about a path that the index does not know."""
    from image_index.paths import printable

    if path.is_dir():
        return "a directory; imgidx show takes pictures, imgidx status lists the roots"
    if os.path.lexists(path):
        return f"the index does not know it; to index it: imgidx train {shlex.quote(printable(os.fsencode(path)))}"
    return "no such file, and the index does not know it; imgidx status lists its roots"
