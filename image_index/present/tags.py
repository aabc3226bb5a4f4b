"""Labels of pictures: as JSON, as a table, as tab-separated lines, as CSV."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from typing import Any

from rich.text import Text

from image_index.paths import path_field, printable
from image_index.present.screen import Screen
from image_index.present.tables import path_text, plain_table, render
from image_index.search.labels import TaggedImage

CSV_HEADER = "path,label,probability\n"


def tagged_record(tagged: TaggedImage) -> dict[str, Any]:
    """Return one picture: `path` or `path_bytes`, and `labels`, each with `label` and `probability`."""
    labels = [{"label": label, "probability": round(probability, 6)} for label, probability in tagged.labels]
    return {**path_field(tagged.image.path), "labels": labels}


def tags_table(pictures: Iterable[TaggedImage], screen: Screen) -> str:
    """Return a table of probability, label and path; a picture's path stands beside its first label only."""
    table = plain_table()
    for tagged in pictures:
        for place, (label, probability) in enumerate(tagged.labels):
            path = Text("") if place else path_text(tagged.image.path)
            table.add_row(f"{probability:.2f}", Text(printable(label)), path)
    return render(table, screen)


def tab_lines(pictures: Iterable[TaggedImage]) -> str:
    """Return a line of path, label and probability for each label."""
    return "".join(f"{path}\t{label}\t{probability}\n" for path, label, probability in _rows(pictures))


def csv_lines(pictures: Iterable[TaggedImage]) -> str:
    """Return the same as CSV, without a header."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(_rows(pictures))
    return buffer.getvalue()


def _rows(pictures: Iterable[TaggedImage]) -> Iterable[tuple[str, str, str]]:
    """Yield path, label and probability."""
    for tagged in pictures:
        for label, probability in tagged.labels:
            yield os.fsdecode(tagged.image.path), label, f"{probability:.6f}"
