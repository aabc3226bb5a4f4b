"""Progress on a terminal, in a log, and in silence."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from image_index.present import progress
from image_index.present.progress import progress_reporter
from image_index.records import Progress


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock that progress goes by."""
    made = Clock()
    monkeypatch.setattr(progress.time, "monotonic", made)  # type: ignore[attr-defined]
    return made


class Screen:
    """A console whose output is kept."""

    def __init__(self, *, is_terminal: bool) -> None:
        self.buffer = io.StringIO()
        self.console = Console(
            file=self.buffer, force_terminal=is_terminal, width=120, color_system=None, _environ={"TERM": "xterm"}
        )

    @property
    def text(self) -> str:
        """What was written, without the codes that move a cursor."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.buffer.getvalue())

    @property
    def lines(self) -> list[str]:
        """The lines that were written."""
        return self.buffer.getvalue().splitlines()


@pytest.mark.parametrize("is_terminal", [False, True])
def test_quiet_writes_nothing(clock: Clock, is_terminal: bool) -> None:
    """Neither bar nor line."""
    screen = Screen(is_terminal=is_terminal)
    with progress_reporter(screen.console, quiet=True) as report:
        clock.now += 1000
        report(Progress("embed", 5, 10, 1))
    assert screen.buffer.getvalue() == ""


def test_lines_come_every_so_often_where_there_is_no_terminal(clock: Clock) -> None:
    """A log gets a line in ten seconds, however often progress is reported."""
    screen = Screen(is_terminal=False)
    with progress_reporter(screen.console, quiet=False) as report:
        for done in range(101):
            report(Progress("embed", done, 100, pictures_per_second=2.0))
            clock.now += 0.5
    assert len(screen.lines) == 5
    assert screen.lines[-1] == "Embedding: 100 of 100, 2.0 pictures/s"


def test_short_runs_write_no_line(clock: Clock) -> None:
    """What is over in ten seconds has only its summary."""
    screen = Screen(is_terminal=False)
    with progress_reporter(screen.console, quiet=False) as report:
        for done in range(10):
            report(Progress("embed", done, 10))
            clock.now += 0.9
    assert screen.lines == []


@pytest.mark.parametrize(
    ("reported", "line"),
    [
        (Progress("scan", 12_000), "Scanning: 12000"),
        (Progress("embed", 7, 100, failed=3), "Embedding: 7 of 100, 3 failed"),
        (Progress("index", 0, 50), "Building the search index: 0 of 50"),
    ],
)
def test_a_line_says_what_is_done_and_how_far_it_is(clock: Clock, reported: Progress, line: str) -> None:
    """Each stage has its words; a total that is not known yet is left out."""
    screen = Screen(is_terminal=False)
    with progress_reporter(screen.console, quiet=False) as report:
        clock.now += 10
        report(reported)
    assert screen.lines == [line]


def test_a_terminal_gets_a_bar_with_counts_speed_and_failures() -> None:
    """Pictures, pictures/s and failures stand beside the bar, and what is being done before it."""
    screen = Screen(is_terminal=True)
    with progress_reporter(screen.console, quiet=False) as report:
        report(Progress("scan", 1000))
        report(Progress("embed", 32, 400))
        report(Progress("embed", 64, 400, 2, pictures_per_second=7.5))
    for expected in ("Embedding", "64/400", "7.5 pictures/s, 2 failed"):
        assert expected in screen.text


def test_nothing_of_the_bar_is_left_on_the_terminal() -> None:
    """The last thing done is to erase the bar's line."""
    screen = Screen(is_terminal=True)
    with progress_reporter(screen.console, quiet=False) as report:
        report(Progress("embed", 4, 4))
    assert screen.buffer.getvalue().rstrip("\r\n").endswith("\x1b[2K")


def test_the_bar_ends_with_an_error_too() -> None:
    """Whatever ends the run, the cursor is shown again."""
    screen = Screen(is_terminal=True)

    def fail(report: Callable[[Progress], None]) -> None:
        report(Progress("embed", 1, 4))
        raise RuntimeError

    with pytest.raises(RuntimeError), progress_reporter(screen.console, quiet=False) as report:
        fail(report)
    assert screen.buffer.getvalue().rfind("\x1b[?25h") > screen.buffer.getvalue().rfind("\x1b[?25l")
