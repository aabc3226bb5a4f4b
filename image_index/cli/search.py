"""`imgidx search`: find pictures by what they show."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from image_index.cli.options import DeviceOption, IndexOption, JsonOption, QuietOption, VerboseOption, common, write
from image_index.errors import UsageError

if TYPE_CHECKING:
    from image_index.catalog import Catalog
    from image_index.engine import Engine
    from image_index.records import Hit, Vectors
    from image_index.settings import IndexHome

FOUND, NOTHING_FOUND = 0, 1


QueryArgument = Annotated[str | None, typer.Argument(metavar="QUERY", help="What the pictures show.")]
ImageOption = Annotated[
    Path | None, typer.Option("--image", "-i", metavar="FILE", help="Search by a picture.", show_default=False)
]
NumberOption = Annotated[int, typer.Option("-n", "--number", metavar="N", min=1, help="How many hits at most.")]
UnderOption = Annotated[
    Path | None, typer.Option("--under", metavar="DIR", help="Only pictures inside DIR.", show_default=False)
]
MinScoreOption = Annotated[
    float, typer.Option("--min-score", metavar="X", min=-1.0, max=1.0, help="Only hits of at least this cosine.")
]
ExactOption = Annotated[bool, typer.Option("--exact", help="Compare with every picture, however many there are.")]
PathsOption = Annotated[bool, typer.Option("--paths", help="Print paths alone, one a line.")]
NullOption = Annotated[bool, typer.Option("-0", "--null", help="Print paths, each ended by a zero byte.")]


def search(
    query: QueryArgument = None,
    image: ImageOption = None,
    number: NumberOption = 10,
    under: UnderOption = None,
    min_score: MinScoreOption = -1.0,
    exact: ExactOption = False,
    json: JsonOption = False,
    paths: PathsOption = False,
    null: NullOption = False,
    device: DeviceOption = "auto",
    index: IndexOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Find pictures by meaning: by a text, or by a picture.

    On a terminal this prints a table, elsewhere one path a line. Searching while a train runs is fine.

    Example: imgidx search "a dog on the beach" -n 20

    The index's model is fetched where it is not on this machine.

    Exit codes: 0 found, 1 nothing found, 2 wrong use, 4 no index, 5 another model or a newer index, 6 no model,
    8 children keep dying, 9 disk or catalog.
    """
    from image_index.catalog import Catalog
    from image_index.paths import resolve
    from image_index.present import jsonl
    from image_index.query import check_text
    from image_index.search import SearchOptions
    from image_index.search import search as find

    if (query is None) == (image is None):
        raise UsageError('search takes a text or --image FILE, one of them: imgidx search "a red car"')
    if query is not None:
        check_text(query)
    setup = common(index, quiet=quiet, verbose=verbose)
    options = SearchOptions(number, resolve(under) if under else None, min_score, exact)
    with Catalog(setup.home.catalog) as catalog:
        if not catalog.holds_pictures():
            return NOTHING_FOUND
        vector = _vector(catalog, setup.home, query, image, device)
        hits = find(catalog, setup.home, vector, options)
    if json:
        write("".join(jsonl.hit_line(hit) + "\n" for hit in hits))
    else:
        write(_as_text(hits, paths=paths, null=null))
    return FOUND if hits else NOTHING_FOUND


def _as_text(hits: list[Hit], *, paths: bool, null: bool) -> str:
    """Return a table for a terminal, else one path a line."""
    from image_index.present import text

    on_terminal = sys.stdout.isatty()
    if paths or null or not on_terminal:
        return text.path_lines(hits, end="\0" if null else "\n", escaped=on_terminal and not null)
    if not hits:
        return ""
    return text.hits_table(hits, width=shutil.get_terminal_size().columns, colour="NO_COLOR" not in os.environ)


def _vector(catalog: Catalog, home: IndexHome, query: str | None, image: Path | None, device: str) -> Vectors:
    from image_index.paths import resolve
    from image_index.query import picture_vector, text_vector

    engine = None if device == "auto" else _engine(device)
    if image is not None:
        return picture_vector(catalog, home, resolve(image), engine)
    return text_vector(catalog, home, query or "", engine)


def _engine(device: str) -> Engine:
    from image_index.engine import Engine

    return Engine(device)
