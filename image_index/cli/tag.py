"""`imgidx tag`: which of some labels fits each picture."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from image_index.catalog.filters import Filters
from image_index.cli.options import (
    DeviceOption,
    IndexOption,
    JsonOption,
    QuietOption,
    VerboseOption,
    common,
    screen,
    write,
)
from image_index.cli.selection import choosing
from image_index.errors import UsageError

if TYPE_CHECKING:
    from image_index.search.labels import TaggedImage

FOUND, NOTHING_FOUND = 0, 1

AT_A_TIME = 1000
"""So many pictures are printed together: few enough to see the first at once, enough to make one table of them."""

LabelsOption = Annotated[
    str,
    typer.Option(
        "--labels", "-l", metavar="FILE|A,B,C", help="The labels: a comma list, or a file (- is stdin), one a line."
    ),
]
PromptOption = Annotated[
    list[str] | None,
    typer.Option(
        "--prompt",
        metavar="TEXT",
        help='A sentence with {} for the label, instead of "a photo of a {}." and others. May be repeated.',
    ),
]
TopOption = Annotated[int, typer.Option("--top", "-n", metavar="N", min=1, help="How many labels a picture gets.")]
MinProbOption = Annotated[
    float, typer.Option("--min-prob", metavar="P", min=0.0, max=1.0, help="Only labels of at least this probability.")
]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV: path,label,probability.")]


@choosing
def tag(
    labels: LabelsOption,
    top: TopOption = 1,
    min_prob: MinProbOption = 0.0,
    prompt: PromptOption = None,
    *,
    filters: Filters,
    json: JsonOption = False,
    csv: CsvOption = False,
    device: DeviceOption = "auto",
    index: IndexOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Tell which of your labels fits each picture best.

    A probability compares the labels with each other: they add up to 1 over all of them, so name one for the rest too.

    Example: imgidx tag --labels "dog,cat,something else" --min-prob 0.5 --under ~/Pictures

    Exit codes: 0 done, 1 no picture has a label, 2 wrong use, 4 no index, 5 another model or a newer index, 6 no model,
    8 children keep dying, 9 disk or catalog.
    """
    from image_index.index import Index
    from image_index.search.labels import PROMPTS, TagOptions, read_labels

    if json and csv:
        raise UsageError("--json and --csv cannot be had at once", "choose one")
    options = TagOptions(top, min_prob, tuple(prompt or PROMPTS))
    setup = common(index, quiet=quiet, verbose=verbose)
    with Index.open(setup.home.path, device=device) as opened:
        # After the index is open: where there is none, that is said before anybody has typed labels to stdin.
        words = read_labels(labels, sys.stdin.buffer)
        found = _print(opened.tag(words, options, filters), json=json, csv=csv)
    return FOUND if found else NOTHING_FOUND


def _print(pictures: Iterator[TaggedImage], *, json: bool, csv: bool) -> bool:
    """Print pictures as they come, until the reader closes the pipe. Return whether there was any."""
    from image_index.present.tags import CSV_HEADER

    found, delivered = False, not csv or write(CSV_HEADER)
    while delivered and (some := list(islice(pictures, AT_A_TIME))):
        found = True
        delivered = write(_text(some, json=json, csv=csv))
    return found


def _text(pictures: list[TaggedImage], *, json: bool, csv: bool) -> str:
    """Return what is printed of some pictures."""
    from image_index.present import tags
    from image_index.present.jsonl import json_line

    shown_on = screen()
    if json:
        return "".join(json_line(tags.tagged_record(tagged)) for tagged in pictures)
    if csv:
        return tags.csv_lines(pictures)
    return tags.tags_table(pictures, shown_on) if shown_on.terminal else tags.tab_lines(pictures)
