"""Shows progress: as a bar on a terminal, elsewhere as a line every ten seconds, or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from image_index.records import Progress

LINE_EVERY_S = 10.0

_DOING = {
    "scan": "Scanning",
    "load": "Loading the model",
    "embed": "Embedding",
    "index": "Building the search index",
}


@contextmanager
def progress_reporter(console: Console, *, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Yield the function that shows progress on `console`: a bar if it is a terminal, otherwise lines."""
    if quiet:
        yield lambda _: None
    elif console.is_terminal:
        with _bar(console) as report:
            yield report
    else:
        yield _Lines(console)


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[Progress], None]]:
    """Yield a function that draws one bar with pictures, pictures/s, failures and the time left."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(_DOING["scan"], total=None, note="")

        def report(progress: Progress) -> None:
            note = _note(progress)
            doing = _DOING[progress.stage]
            bar.update(task, description=doing, completed=progress.done, total=progress.total, note=note)

        yield report


def _note(progress: Progress) -> str:
    """Return the rate and the failures so far, in words."""
    if progress.stage != "embed":
        return ""
    rate = f"{progress.pictures_per_second:.1f} pictures/s" if progress.pictures_per_second else ""
    machines = [
        f"{share.name} {share.pictures_per_second:.1f}/s" for share in progress.machines if share.pictures_per_second
    ]
    failed = f"{progress.failed} failed" if progress.failed else ""
    return ", ".join(part for part in (rate, *machines, failed) if part)


class _Lines:
    """A plain line every `LINE_EVERY_S` seconds, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        note = _note(progress)
        # By the clock, not by the count: the log of a slow disk is as long as that of a fast one.
        if time.monotonic() - self._last < LINE_EVERY_S:
            return
        self._last = time.monotonic()
        of = f" of {progress.total}" if progress.total else ""
        count = f"{_DOING[progress.stage]}: {progress.done}{of}"
        self._console.print(", ".join(part for part in (count, note) if part), soft_wrap=True)
