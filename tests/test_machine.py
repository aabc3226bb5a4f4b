"""What the machine gives a process, and its control groups leave of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from image_index import machine
from image_index.machine import core_count, memory_bytes

GIB = 1 << 30
LINUX_1 = "9223372036854771712"
"""What version 1 writes where memory has no limit."""

Groups = Callable[..., None]


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Groups:
    """Return a function that puts this process into made control groups, on a machine of 64 processors.

    It takes the lines of `/proc/self/cgroup`, the mounts (what is mounted, where, file system, options) and the files.
    """
    monkeypatch.setattr(machine, "OWN", tmp_path / "proc")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)

    def make(own: str, mounts: list[tuple[str, str, str, str]], files: dict[str, str]) -> None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/cgroup").write_text(own)
        lines = [f"31 23 0:28 {what} {tmp_path}{at} rw - {kind} {kind} rw,{extra}" for what, at, kind, extra in mounts]
        (tmp_path / "proc/mountinfo").write_text("\n".join(["22 1 254:0 / / rw - ext4 /dev/sda rw", *lines]))
        for name, content in files.items():
            path = tmp_path / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n")

    return make


def test_cores_are_those_we_may_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a container or under taskset that is fewer than the machine has; elsewhere all count."""
    monkeypatch.setattr(machine, "OWN", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5, 7}, raising=False)
    assert core_count() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert core_count() == os.cpu_count()


def test_the_own_group_of_version_2_limits_memory_and_processors(groups: Groups) -> None:
    """A service of systemd with MemoryMax=2G and CPUQuota=250% gets the memory, and three children for its share."""
    at = "/cgroup/system.slice/photos.service"
    files = {f"{at}/memory.max": str(2 * GIB), f"{at}/cpu.max": "250000 100000"}
    groups("0::/system.slice/photos.service\n", [("/", "/cgroup", "cgroup2", "")], files)
    assert (memory_bytes(), core_count()) == (2 * GIB, 3)


def test_a_group_around_it_limits_too(groups: Groups) -> None:
    """The least of all groups up to the mount counts, whichever of them says it."""
    files = {
        "/cgroup/memory.max": "max",
        "/cgroup/pod/memory.max": str(3 * GIB),
        "/cgroup/pod/one/memory.max": "max",
        "/cgroup/pod/cpu.max": "max 100000",
        "/cgroup/pod/one/cpu.max": "50000 100000",
        "/memory.max": str(GIB // 2),
    }
    groups("0::/pod/one\n", [("/", "/cgroup", "cgroup2", "")], files)
    assert (memory_bytes(), core_count()) == (3 * GIB, 1)


def test_version_1_has_a_hierarchy_for_each_controller(groups: Groups) -> None:
    """Several controllers may share one, and the files have other names."""
    own = "5:memory:/batch/job7\n3:cpu,cpuacct:/batch\n1:name=systemd:/\n0::/\n"
    mounts = [
        ("/", "/memory", "cgroup", "memory"),
        ("/", "/cpu", "cgroup", "cpu,cpuacct"),
        ("/", "/unified", "cgroup2", ""),
    ]
    files = {
        "/memory/memory.limit_in_bytes": LINUX_1,
        "/memory/batch/job7/memory.limit_in_bytes": str(GIB),
        "/cpu/cpu.cfs_quota_us": "-1",
        "/cpu/cpu.cfs_period_us": "100000",
        "/cpu/batch/cpu.cfs_quota_us": "400000",
        "/cpu/batch/cpu.cfs_period_us": "100000",
    }
    groups(own, mounts, files)
    assert (memory_bytes(), core_count()) == (GIB, 4)


@pytest.mark.parametrize("own", ["5:memory:/docker/1f3a\n", "5:memory:/docker/1f3a/inner\n", "5:memory:/elsewhere\n"])
def test_a_container_sees_its_own_group_mounted_as_the_outermost(groups: Groups, own: str) -> None:
    """Docker with version 1 names the group as the host does, and mounts it without the way to it."""
    files = {"/memory/memory.limit_in_bytes": str(2 * GIB), "/memory/inner/memory.limit_in_bytes": LINUX_1}
    groups(own, [("/docker/1f3a", "/memory", "cgroup", "memory")], files)
    assert memory_bytes() == 2 * GIB


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"/cgroup/memory.max": "max", "/cgroup/cpu.max": "max 100000"},
        {"/cgroup/memory.max": LINUX_1, "/cgroup/cpu.max": "6400000 100000"},
        {"/cgroup/memory.max": "", "/cgroup/cpu.max": "100000"},
        {"/cgroup/memory.max": "much", "/cgroup/cpu.max": "100000 0"},
    ],
    ids=["no files", "no limits", "limits beyond the machine", "half a file", "nonsense"],
)
def test_groups_without_a_limit_leave_the_machine_as_it_is(groups: Groups, files: dict[str, str]) -> None:
    """And whatever else stands there is no reason to fail."""
    groups("0::/\n", [("/", "/cgroup", "cgroup2", "")], files)
    assert core_count() == 64
    assert memory_bytes() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_a_mount_with_a_blank_in_its_name_is_found(groups: Groups) -> None:
    """Linux writes the blank as \\040."""
    groups("0::/a b\n", [("/", "/my\\040groups", "cgroup2", "")], {"/my groups/a b/memory.max": str(GIB)})
    assert memory_bytes() == GIB


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has control groups")
def test_the_groups_of_this_very_process_are_readable() -> None:
    """Whatever machine this is, it leaves us one processor and some memory."""
    assert 1 <= core_count() <= len(os.sched_getaffinity(0))
    assert 0 < memory_bytes() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
