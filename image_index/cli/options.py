"""The options that several commands share, and what those options set up."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from image_index.errors import StorageError, UsageError
from image_index.paths import message_line, printable
from image_index.settings import IndexHome, index_home
from image_index.workers.devices import EncoderKind

if TYPE_CHECKING:
    from rich.console import Console

    from image_index.cluster.paths import PathMap
    from image_index.present.screen import Screen


def given_path(text: str) -> Path:
    """Return a path as it was typed; raise for an empty one, as a script's unset variable leaves it behind.

    `Path("")` is the current directory: `imgidx forget "$UNSET"` would forget everything below it.
    """
    if not text:
        raise UsageError("an argument that names a file or a directory is empty", "look for a variable that is not set")
    return Path(text)


IndexOption = Annotated[
    Path | None,
    typer.Option(
        "--index",
        parser=given_path,
        metavar="DIR",
        help="The index to use. Default: $IMGIDX_INDEX, else the user's data directory.",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but results and errors.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Also print what the child processes do.")]
LogFileOption = Annotated[
    Path | None,
    typer.Option("--log-file", parser=given_path, metavar="FILE", help="Append a log to FILE, whatever --quiet says."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
EncoderOption = Annotated[
    EncoderKind,
    typer.Option("--encoder", help="What runs the model; auto: on a CPU ONNX Runtime where it is the faster one."),
]
DeviceOption = Annotated[str, typer.Option("--device", metavar="DEVICE", help="auto, mps, cuda, cuda:N or cpu.")]

ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Embed on every machine of a Ray cluster: auto, HOST:PORT or ray://HOST:PORT. Needs the extra cluster.",
    ),
]
MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="HERE=THERE",
        help="With --cluster: what lies below HERE on this machine lies below THERE on others. May be repeated.",
    ),
]

FILE_WIDTH = 160
"""How wide a table is in a file or pipe, unless COLUMNS says otherwise."""

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@dataclass(frozen=True)
class Common:
    """What every command knows after its options are read."""

    home: IndexHome
    quiet: bool

    @cached_property
    def console(self) -> Console:
        """Writes to stderr."""
        from image_index.cli.stderr import Stderr  # rich takes 20 ms, and most searches have nothing to say there

        return Stderr()


class _ConsoleHandler(logging.Handler):
    """Writes log records above the progress bar."""

    def __init__(self, setup: Common, level: int) -> None:
        super().__init__(level)
        self._setup = setup

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record on a line of its own, and below it the traceback of an unforeseen error."""
        # soft_wrap: a line that rich has wrapped cannot be searched for, nor a path in it be copied.
        text = message_line(record.getMessage().rstrip())
        self._setup.console.print(text if record.levelno < logging.WARNING else f"imgidx: {text}", soft_wrap=True)
        if record.exc_info and isinstance(
            record.exc_info[1], Exception
        ):  # not an answer that the end of a server cut off
            for line in logging.Formatter().formatException(record.exc_info).splitlines():
                self._setup.console.print(printable(line), soft_wrap=True)


def common(index: Path | None, *, quiet: bool = False, verbose: bool = False, log_file: Path | None = None) -> Common:
    """Set up logging, and return what all commands need."""
    setup = Common(index_home(index), quiet)
    level = logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING
    handlers: list[logging.Handler] = [_ConsoleHandler(setup, level)]
    if log_file is not None:
        try:
            handlers.append(logging.FileHandler(log_file, encoding="utf-8", errors="backslashreplace"))
        except OSError as error:
            raise typer.BadParameter(f"cannot write to {log_file}: {error.strerror}") from error
        handlers[-1].setFormatter(logging.Formatter(LOG_FORMAT))
    # Other libraries' warnings are shown too, but nothing less: at INFO some of them log every request.
    logging.basicConfig(handlers=handlers, level=logging.WARNING, force=True)
    logging.getLogger("image_index").setLevel(logging.INFO if log_file else level)
    return setup


def path_map(cluster: str | None, pairs: list[str] | None) -> PathMap:
    """Return what `--map` says; raise `UsageError` where there is no `--cluster` that it could be for."""
    from image_index.cluster.paths import PathMap, parse_map

    if pairs and cluster is None:
        raise UsageError("--map says where files lie on the machines of a cluster", "name one with --cluster ADDRESS")
    return PathMap(tuple(map(parse_map, pairs or ())))


@contextmanager
def extra_packages(what: str, extra: str, packages: Collection[str]) -> Iterator[None]:
    """Import in a block what the packages of an extra are needed for; say in one line how to get it where they lack."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in packages:
            raise
        raise UsageError(f"{what} needs more packages", f"pip install 'imgidx[{extra}]'") from error


def screen() -> Screen:
    """Describe what stdout is connected to. NO_COLOR turns colours off unless it is empty (https://no-color.org)."""
    from image_index.present.screen import Screen

    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size((FILE_WIDTH, 24)).columns
    return Screen(terminal, width, terminal and not os.environ.get("NO_COLOR"))


def write(text: str) -> bool:
    """Print results to stdout, as UTF-8 whatever the locale, undecodable bytes of file names as they are.

    Tell whether they have left this process; they have not where the reader has seen enough and is gone. Raises
    `StorageError` where they go to a file that cannot take them.
    """
    # Straight to the buffer: Python's own text layer would encode by the locale, and fail for a file name that is not
    # text there. surrogateescape brings back the very bytes that the name has.
    try:
        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
        sys.stdout.buffer.flush()  # now, while an error can be told; at exit Python would print a traceback
    except BrokenPipeError:  # what is still buffered goes nowhere
        discard(sys.stdout)
        return False
    except OSError as error:
        discard(sys.stdout)
        raise StorageError(
            f"cannot write the results: {error.strerror}", "free some disk space and run again"
        ) from error
    return True


def discard(stream: TextIO) -> None:
    """Throw away what is still buffered; otherwise Python reports the broken pipe again when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
