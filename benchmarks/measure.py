"""What the benchmarks share: running a command with its time and peak memory, medians, and what the machine is."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from image_index.machine import core_count

Result = dict[str, Any]
"""What a benchmark prints as JSON."""

REPOSITORY = Path(__file__).parents[1]

_LAUNCHER = """
import json, os, subprocess, sys, time
start = time.perf_counter()
child = subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE)
output = child.stdout.read()
_, status, usage = os.wait4(child.pid, 0)
seconds = time.perf_counter() - start
with open(sys.argv[1], "w") as file:
    json.dump([seconds, usage.ru_maxrss, usage.ru_utime + usage.ru_stime, os.waitstatus_to_exitcode(status)], file)
sys.stdout.buffer.write(output)
"""
"""Starts a command from a small process: on Linux a child's `ru_maxrss` is never below that of who started it."""


@dataclass(frozen=True, slots=True)
class Run:
    """One finished command: wall and core seconds, peak resident memory in bytes, and what it printed."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    stdout: str


def run(command: Sequence[str], expected: Iterable[int] = (0,)) -> Run:
    """Run a command with this checkout's package on its path; raise `RuntimeError` for an exit code not `expected`."""
    environment = child_environment()
    reader, writer = os.pipe()
    with os.fdopen(reader) as report:
        launcher = [sys.executable, "-S", "-c", _LAUNCHER, f"/dev/fd/{writer}", *command]
        done = subprocess.run(launcher, stdout=subprocess.PIPE, env=environment, pass_fds=(writer,), check=True)
        os.close(writer)
        seconds, peak, cpu_seconds, code = json.load(report)
    if code not in expected:
        raise RuntimeError(f"{command} ended with exit code {code}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(seconds, cpu_seconds, peak * unit, done.stdout.decode(errors="surrogateescape"))


def child_environment() -> dict[str, str]:
    """Return an environment in which Python finds this checkout's package before any other, and no hub.

    Its bytecode is kept, as that of an installed package is: to compile it anew takes a search 0.3 s.
    """
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "HF_HUB_OFFLINE": "1", "PYTHONPATH": path}


def family(pid: int) -> Iterator[int]:
    """Yield a process and its descendants; Linux alone tells them."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # it has ended
            for child in children.read_text().split():
                yield from family(int(child))


def pss_bytes(pid: int) -> int:
    """Return the memory of a process as its proportional set size; 0 where it has ended, or this is no Linux."""
    with suppress(OSError):
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:")) << 10
    return 0


def python(*arguments: str) -> list[str]:
    """Return the command that runs this Python with `arguments`."""
    return [sys.executable, *arguments]


def imgidx(*arguments: str) -> list[str]:
    """Return the command that runs imgidx with `arguments`."""
    return python("-m", "image_index", *arguments)


def median_seconds(runs: Iterable[Run]) -> float:
    """Return the median wall time."""
    return median(run.seconds for run in runs)


def take_turns(commands: Sequence[Sequence[str]], repeat: int) -> list[list[Run]]:
    """Run each command `repeat` times, one after the other in turn, so that a slow minute hits all alike."""
    runs: list[list[Run]] = [[] for _ in commands]
    for _ in range(repeat):
        for place, command in enumerate(commands):
            runs[place].append(run(command))
    return runs


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def machine() -> str:
    """Return the machine in words, for the record."""
    return f"{platform.system()} {platform.machine()}, {core_count()} cores"


def processor() -> str:
    """Return what the system calls its processor."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python, of SQLite and of installed packages."""
    installed = {package: metadata.version(package) for package in packages}
    return {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version, **installed}


def load() -> float:
    """Return how many processes wanted a core in the last minute, on average."""
    return round(os.getloadavg()[0], 2)


def in_scratch(
    measure: Callable[[Namespace, Path], Result], table: Callable[[Result], str], arguments: Namespace
) -> None:
    """Measure in a directory that is removed at the end; print a table on stderr and JSON on stdout."""
    with tempfile.TemporaryDirectory() as scratch:
        record = measure(arguments, Path(scratch))
    print(table(record), file=sys.stderr)
    print(json.dumps(record, indent=1))
