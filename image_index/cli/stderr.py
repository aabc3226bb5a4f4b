"""The console on which a command says what is not a result: progress, warnings, problems."""

from __future__ import annotations

import sys

from rich.console import Console

from image_index.cli.options import discard


class Stderr(Console):
    """A console on stderr. If its reader is gone, the work goes on."""

    def __init__(self) -> None:
        super().__init__(stderr=True, markup=False, highlight=False, emoji=False)

    def on_broken_pipe(self) -> None:
        """Say nothing from now on; rich itself would exit here."""
        self.quiet = True
        discard(sys.stderr)
