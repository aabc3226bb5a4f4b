"""What this machine, or the container around it, gives a process: processors and memory.

A container, a service of systemd or a batch system limits a process through its control group, and every group around
that one may limit it further. Linux has two versions of them: https://docs.kernel.org/admin-guide/cgroup-v2.html and
https://docs.kernel.org/admin-guide/cgroup-v1/.
"""

from __future__ import annotations

import math
import os
import platform
import re
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

CPU_FACTS = Path("/proc/cpuinfo")

OWN = Path("/proc/self")
"""What Linux says of this process."""


def core_count() -> int:
    """Return how many processors this process may use: those it may run on, or its share of their time, rounded up."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(math.ceil(share) for share in _limits("cpu", _processors))]))


def cpu_name() -> str:
    """Return what the processor is called, as well as the system says."""
    named = re.search(r"^(?:model name|CPU part)\s*:\s*(.+)$", _cpu_facts(), re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def has_native_bf16() -> bool:
    """Tell whether the processor multiplies bfloat16 by itself; elsewhere oneDNN emulates it, slower than float32."""
    return bool(re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", _cpu_facts()))


def _cpu_facts() -> str:
    try:
        return CPU_FACTS.read_text(encoding="utf-8", errors="replace")
    except OSError:  # no such file outside Linux
        return ""


def peak_memory_bytes() -> int:
    """Return the most memory that this process has had."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def memory_bytes() -> int:
    """Return the memory this process may use: the machine's, or less where its control groups say so."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(min([physical, *_limits("memory", _memory)]))


def _memory(group: Path) -> float:
    """Return the bytes that a group may use; raises `OSError` or `ValueError` where it names no limit."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        with suppress(FileNotFoundError):
            return int((group / name).read_text(encoding="ascii"))
    raise ValueError


def _processors(group: Path) -> float:
    """Return how many processors' time a group may use; raises as `_memory`. Version 1 writes -1 for no limit."""
    try:
        quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
    except FileNotFoundError:
        quota, period = ((group / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period"))
    if int(quota) < 0:
        raise ValueError
    return int(quota) / int(period)


def _limits(controller: str, read: Callable[[Path], float]) -> Iterator[float]:
    """Yield what each group that this process is in allows it; nothing where there are none, as outside Linux."""
    with suppress(OSError, ValueError):
        for group in _groups(controller):
            with suppress(OSError, ValueError, ZeroDivisionError):
                yield read(group)


def _groups(controller: str) -> Iterator[Path]:
    """Yield the directories of this process's groups of a controller, from its own to the outermost it can see."""
    for line in (OWN / "cgroup").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        _, controllers, path = line.split(":", 2)  # version 2 has one line for all controllers, and names none
        if controller not in controllers.split(",") and controllers:
            continue
        for root, mount in _mounts(controller if controllers else None):
            # A container may see its own group mounted as if it were the outermost one: /docker/1f3a at .../memory.
            inside = PurePosixPath(path)
            is_seen = inside.is_relative_to(root) and ".." not in inside.parts
            group = mount / inside.relative_to(root) if is_seen else mount
            yield from (place for place in (group, *group.parents) if place.is_relative_to(mount))


def _mounts(controller: str | None) -> Iterator[tuple[str, Path]]:
    """Yield which groups are mounted, and where: those of a controller of version 1, or of version 2 for None."""
    for line in (OWN / "mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields, _, system = line.partition(" - ")
        kind, _, options = system.split(" ", 2)
        if kind == "cgroup2" if controller is None else kind == "cgroup" and controller in options.split(","):
            root, mount = (_unescaped(field) for field in fields.split(" ")[3:5])
            yield root, Path(mount)


def _unescaped(field: str) -> str:
    """Return a path of `mountinfo`, where a blank is written as \\040."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
