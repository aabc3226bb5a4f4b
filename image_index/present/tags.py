"""Labels of pictures as tab-separated lines, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable

from image_index.paths import path_field
from image_index.search.labels import TaggedImage

CSV_HEADER = "path,label,probability\n"


def tagged_line(tagged: TaggedImage) -> str:
    """Return one picture: `path` or `path_bytes`, and `labels`, each with `label` and `probability`."""
    labels = [{"label": label, "probability": round(probability, 6)} for label, probability in tagged.labels]
    return json.dumps({**path_field(tagged.image.path), "labels": labels}, ensure_ascii=False)


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
