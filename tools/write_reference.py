"""Refresh the help blocks of `docs/reference.md` from what `--help` prints.

    python tools/write_reference.py [--check]

A block stands between `<!-- help: COMMAND -->` and `<!-- end of help -->`. With `--check` nothing is written, and the
exit code is 1 where a block is not up to date.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
REFERENCE = REPOSITORY / "docs/reference.md"
BLOCK = re.compile(r"(<!-- help:(?P<command>[a-z ]*)-->\n).*?(<!-- end of help -->\n)", re.DOTALL)


def help_of(command: str) -> str:
    """Return what a command prints for `--help` on a terminal of 80 columns, without a configuration file."""
    environment = {**os.environ, "COLUMNS": "80", "IMGIDX_CONFIG": os.devnull}
    line = [sys.executable, "-m", "image_index", *command.split(), "--help"]
    done = subprocess.run(line, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def refreshed(text: str) -> str:
    """Return `text` with every help block as it should be."""
    return BLOCK.sub(lambda block: f"{block[1]}```text\n{help_of(block['command'])}\n```\n{block[3]}", text)


def main() -> None:
    """Refresh the reference, or check it."""
    old = REFERENCE.read_text(encoding="utf-8")
    new = refreshed(old)
    if "--check" in sys.argv[1:]:
        sys.exit(None if old == new else f"{REFERENCE.name} is not up to date; run: make docs")
    REFERENCE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
