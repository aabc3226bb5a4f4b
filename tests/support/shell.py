"""Where the tests run commands: in this process, which costs no start of Python, or in one of their own.

What can only be seen from outside a process is asked of one: signals, pipes, terminals, closed descriptors, locales,
exit status. All else runs in this process, with the streams, environment, working directory and logging of a new one.
"""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO
from unittest import mock

from image_index.cli.app import run
from image_index.settings import IndexHome
from tests.support.fake_hub import hub_settings
from tests.support.photos import REPOSITORY

COMMAND = (sys.executable, "-m", "image_index")
Argument = str | bytes | Path

PROGRESS = re.compile(r"(Scanning|Loading the model|Embedding|Building the search index): \d+")
COUNT_KEYS = [
    "embedded",
    "unchanged",
    "moved",
    "missing",
    "failed",
    "not_on_disk",
    "excluded",
    "seconds",
    "pictures_per_second",
    "machines",
]
SUMMARY_KEYS = [*COUNT_KEYS, "stage_seconds"]
"""The keys of what `imgidx train --json` prints at its end."""

TERMINAL = {"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "300"}
PATIENCE_S = 120


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    code: int
    out: bytes
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """The JSON lines on stdout."""
        return [json.loads(line) for line in self.out.decode().splitlines()]

    @property
    def complaint(self) -> str:
        """The one line on stderr that is not progress, of which a slow machine may print some."""
        lines = [line for line in self.err.splitlines(keepends=True) if not PROGRESS.match(line)]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("imgidx: ")
        return lines[0]


@dataclass
class Shell:
    """A home without models or network, and an index; whatever happens in it, no traceback is shown."""

    directory: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.write_config("")

    @property
    def index(self) -> Path:
        """The index home that the environment names."""
        return Path(self.environment["IMGIDX_INDEX"])

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a user who is offline and has fetched no model."""
        return {
            **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")},
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(REPOSITORY),
            "HOME": str(self.directory),
            "HF_HOME": str(self.directory / "hf"),
            "HF_HUB_OFFLINE": "1",
            "IMGIDX_CONFIG": str(self.directory / "config.toml"),
            "IMGIDX_INDEX": str(self.directory / "index"),
            **self.variables,
        }

    def write_config(self, text: str) -> None:
        """Write the configuration file."""
        Path(self.environment["IMGIDX_CONFIG"]).write_text(text, encoding="utf-8")

    def copy_index(self, home: IndexHome) -> None:
        """Begin with a copy of an index."""
        shutil.copytree(home.path, self.index)

    def run(self, *arguments: Argument) -> Done:
        """Run a command in this process; an exception that it lets through fails the test."""
        with ExitStack() as stack:
            stack.enter_context(mock.patch.dict(os.environ, self.environment, clear=True))
            stack.enter_context(hub_settings(self.directory / "hf/hub", offline=True))
            stack.enter_context(_working_directory(self.directory))
            stack.enter_context(fresh_logging())
            out, err = stack.enter_context(_captured_streams())
            try:
                code = run([os.fsdecode(argument) for argument in arguments])
            except SystemExit as leaving:
                code = int(leaving.code or 0)
            sys.stdout.flush()
            sys.stderr.flush()
            return _done(code, _content(out), _content(err))

    def start(self, *arguments: Argument, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command in a process of its own."""
        usual: dict[str, Any] = {
            "env": self.environment, "cwd": self.directory, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
        }  # fmt: skip
        return subprocess.Popen[bytes]((*COMMAND, *arguments), **usual | options)

    def spawn(self, *arguments: Argument, **options: Any) -> Done:
        """Run a command in a process of its own, to its end."""
        with self.start(*arguments, **options) as process:
            out, err = process.communicate(timeout=PATIENCE_S)
        return _done(process.returncode, out or b"", err or b"")

    def on_terminal(self, *arguments: Argument, **variables: str) -> tuple[int, str]:
        """Run a command on a terminal that answers nothing; return its exit code and all that it shows there."""
        ours, theirs = pty.openpty()
        environment = self.environment | TERMINAL | variables
        with self.start(*arguments, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            shown = _read_to_the_end(ours)
            code = process.wait(PATIENCE_S)
        os.close(ours)
        return code, shown.decode()


def _done(code: int, out: bytes, err: bytes) -> Done:
    done = Done(code, out, err.decode())
    assert "Traceback" not in done.err, done.err
    return done


def _read_to_the_end(terminal: int) -> bytes:
    """Return what is written to a terminal until its other end is closed."""
    shown, ends_at = b"", time.monotonic() + PATIENCE_S
    while select.select([terminal], [], [], max(0, ends_at - time.monotonic()))[0]:
        try:
            chunk = os.read(terminal, 1 << 16)
        except OSError:  # Linux says so where the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    return shown


@contextmanager
def _working_directory(directory: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def fresh_logging() -> Iterator[None]:
    """Give a command a logging system that nobody has configured."""
    root, package = logging.getLogger(), logging.getLogger("image_index")
    saved = root.handlers[:], root.level, package.level
    root.handlers[:] = []
    try:
        yield
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:] = saved[0]
        root.setLevel(saved[1])
        package.setLevel(saved[2])


@contextmanager
def _captured_streams() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Give the files to which descriptors 1 and 2 lead meanwhile, those of children and Python's own streams too."""
    with TemporaryFile() as out, TemporaryFile() as err:
        saved = [(descriptor, os.dup(descriptor)) for descriptor in (1, 2)]
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        try:
            with (
                open(1, "w", encoding="utf-8", closefd=False) as stdout,
                open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False) as stderr,
                mock.patch.multiple(sys, stdout=stdout, stderr=stderr),
            ):
                yield out, err
        finally:
            for descriptor, copy in saved:
                os.dup2(copy, descriptor)
                os.close(copy)


def _content(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()
