"""How often `imgidx tag` finds the category of a photo, and a search the photos of a category, by which sentences.

    python benchmarks/tagging.py --photos DIRECTORY [--model starter] [--count 1010]

DIRECTORY has a directory for each category; its name, with spaces for underscores, is the label. For each set of
sentences it prints how often the most probable label is the true one (top 1), how often one of the five most probable
is (top 5), what `--min-prob` 0.5 keeps, how many of those are right, and how sure the model is on average: where that
is above top 1, its probabilities are too high. Then each category is a query, put into the same sentences: how many of
the ten best hits are right (of 10), and how often the first one is. Prints a table on stderr and JSON on stdout.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import machine
from photos import pictures_in

from image_index import __version__
from image_index.index import Index
from image_index.models.names import parse_model
from image_index.paths import resolve
from image_index.search.labels import PROMPTS, TagOptions, average
from image_index.search.prompts import sentences
from image_index.search.ranking import SearchOptions
from image_index.settings import IndexHome
from image_index.training.pipeline import UpdateRequest, update_index
from image_index.training.survey import SurveyOptions
from image_index.workers.engine import Engine

KEPT = 0.5
"""The probability from which on a label is kept."""

TOP = 10
"""How many hits of a query are looked at."""

SENTENCES = {
    "the label alone": ("{}",),
    "a photo of a {}.": ("a photo of a {}.",),
    f"all {len(PROMPTS)} built in": PROMPTS,
}

Figures = dict[str, float]


def figures(index: Index, labels: tuple[str, ...], prompts: tuple[str, ...]) -> Figures:
    """Return how good the labels are that the pictures of an index get by some sentences."""
    start = time.perf_counter()
    tagged = list(index.tag(labels, TagOptions(top=5, prompts=prompts)))
    seconds = time.perf_counter() - start
    found = [(label_of(image.image.file), image.labels) for image in tagged]
    first = [label == best[0].label for label, best in found]
    kept = [is_right for is_right, (_, best) in zip(first, found, strict=True) if best[0].probability >= KEPT]
    return {
        "top_1": round(sum(first) / len(found), 4),
        "top_5": round(sum(label in {each.label for each in best} for label, best in found) / len(found), 4),
        "kept": len(kept),
        "right_of_the_kept": sum(kept),
        "mean_probability": round(sum(best[0].probability for _, best in found) / len(found), 4),
        "seconds": round(seconds, 2),
    }


def search_figures(index: Index, labels: tuple[str, ...], prompts: tuple[str, ...]) -> Figures:
    """Return how many hits are right where labels, put into some sentences, are the queries."""
    first, right = 0, 0
    for label in labels:
        vectors = np.stack([index.encode(sentence) for sentence in sentences([label], prompts)])
        hits = index.search(average(vectors, len(prompts))[0], SearchOptions(TOP))
        is_right = [label_of(hit.image.file) == label for hit in hits]
        first, right = first + is_right[0], right + sum(is_right)
    return {"first_hit_right": round(first / len(labels), 4), "right_of_ten": round(right / len(labels), 2)}


def label_of(path: Path) -> str:
    """Return the category of a photo."""
    return path.parent.name.replace("_", " ")


def measure(paths: list[Path], model: str) -> dict[str, Any]:
    """Index the photos and tag them by each set of sentences."""
    labels = tuple(sorted({label_of(path) for path in paths}))
    with tempfile.TemporaryDirectory() as scratch:
        home = IndexHome(Path(scratch) / "index")
        survey = SurveyOptions(tuple(map(resolve, paths)))
        update_index(UpdateRequest(home, survey, model, Engine("cpu"), quiet=True))
        with Index.open(home.path) as index:
            sets = {name: figures(index, labels, prompts) for name, prompts in SENTENCES.items()}
            searches = {name: search_figures(index, labels, prompts) for name, prompts in SENTENCES.items()}
            return {"pictures": len(index), "labels": len(labels), "sentences": sets, "searches": searches}


def table(record: dict[str, Any]) -> str:
    """Return the record for people."""
    lines = [f"{record['model']}, {record['pictures']} pictures, {record['labels']} labels"]
    lines.append(f"{'':20}{'top 1':>8}{'top 5':>8}{'kept':>8}{'right':>8}{'sure':>8}{'seconds':>9}")
    for name, values in record["sentences"].items():
        shares = f"{values['top_1']:8.3f}{values['top_5']:8.3f}{values['kept']:8}{values['right_of_the_kept']:8}"
        lines.append(f"{name:20}{shares}{values['mean_probability']:8.3f}{values['seconds']:9.2f}")
    lines.append(f"{'as queries':20}{'first':>8}{'of 10':>8}")
    for name, values in record["searches"].items():
        lines.append(f"{name:20}{values['first_hit_right']:8.3f}{values['right_of_ten']:8.2f}")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description="labels of photos against the directories that they lie in")
    parser.add_argument("--photos", type=Path, required=True, help="a directory of pictures, one directory a category")
    parser.add_argument("--model", default="starter", help="as for imgidx train (default: starter)")
    parser.add_argument("--count", type=int, default=1010, help="so many pictures at random (default: 1010)")
    arguments = parser.parse_args()
    found = pictures_in(arguments.photos)
    paths = random.Random(0).sample(found, min(arguments.count, len(found)))
    record = {
        "version": __version__,
        "model": parse_model(arguments.model).name,
        "machine": machine(),
        **measure(paths, arguments.model),
    }
    print(table(record), file=sys.stderr)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
