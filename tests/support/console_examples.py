"""Refresh the examples in `docs/search.md` from what the commands print.

    python -m tests.support.console_examples PHOTOS [--check]

PHOTOS is a directory of a directory for each of the 101 categories of Caltech-101, ten photos each; the document calls
it `/photos`. A console block is an example: a line that begins with `$ ` is run by bash, and what follows is what it
prints, or that it prints nothing. With `--check` nothing is written, and the exit code is 1 where a block is no longer
true: numbers may differ by a few hundredths, as processors do, and dates are not compared.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = REPOSITORY / "docs/search.md"
SHOWN = "/photos"
BLOCK = re.compile(r"(?<=```console\n)(.*?)(?=```\n)", re.DOTALL)
DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\dZ)?")
NUMBER = re.compile(r"-?\d+\.\d+")
TOLERANCE = 0.15
"""By how much a number with a fraction may differ: a sigma is the coarsest of them."""


class Examples:
    """A shell in which the examples are run, with an index of the photos."""

    def __init__(self, photos: Path, scratch: Path) -> None:
        self._photos = str(photos.resolve())
        self.scratch = scratch
        (scratch / "bin").mkdir()
        program = scratch / "bin/imgidx"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m image_index "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        self.output(f"imgidx train {SHOWN} --model starter --device cpu --precision fp32 -q")

    def output(self, command: str) -> str:
        """Return what a command prints, stderr too."""
        environment = {
            **os.environ,
            "PATH": f"{self.scratch / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
            "IMGIDX_INDEX": str(self.scratch / "index"),
            "IMGIDX_CONFIG": os.devnull,
            "HOME": str(self.scratch),
            "HF_HUB_OFFLINE": "1",
            "COLUMNS": "100",
        }
        done = subprocess.run(
            ["bash", "-c", command.replace(SHOWN, self._photos)],
            cwd=self.scratch,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        return done.stdout.replace(self._photos, SHOWN)

    def refreshed(self, block: str) -> str:
        """Return a block with what its commands print now."""
        return "".join(f"$ {command}\n{self.output(command)}" for command, _ in commands(block))


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a block and the output shown for it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def alike(shown: str, printed: str) -> bool:
    """Tell whether two outputs are the same but for dates and a little in their numbers."""
    pair = [DATE.sub("DATE", text) for text in (shown, printed)]
    first, second = (NUMBER.sub("N", re.sub(r" +", " ", text)) for text in pair)
    numbers = [[float(number) for number in NUMBER.findall(text)] for text in pair]
    near = (abs(a - b) <= TOLERANCE for a, b in zip(*numbers, strict=False))
    return first == second and all(near)


def in_scratch(photos: Path, act: Callable[[Examples], None]) -> None:
    """Do something with a shell that is gone afterwards."""
    with tempfile.TemporaryDirectory() as scratch:
        act(Examples(photos, Path(scratch)))


def check(examples: Examples, document: Path = DOCUMENT) -> list[str]:
    """Return what is no longer true, each with what is shown and what is printed."""
    blocks = BLOCK.findall(document.read_text(encoding="utf-8"))
    pairs = [pair for block in blocks for pair in commands(block)]
    printed = [examples.output(command) for command, _ in pairs]
    return [
        f"$ {command}\n--- shown\n{shown}--- printed\n{now}"
        for (command, shown), now in zip(pairs, printed, strict=True)
        if not alike(shown, now)
    ]


def refresh(examples: Examples) -> None:
    """Write the document anew."""
    old = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(BLOCK.sub(lambda block: examples.refreshed(block[0]), old), encoding="utf-8")


def complain(examples: Examples) -> None:
    """Leave with what is no longer true."""
    problems = check(examples)
    sys.exit("\n".join(problems) or None)


def main() -> None:
    """Refresh the document, or check it."""
    in_scratch(Path(sys.argv[1]), complain if "--check" in sys.argv[2:] else refresh)


if __name__ == "__main__":
    main()
