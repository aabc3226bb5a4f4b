"""Real Ray nodes on this machine, small ones, in processes of their own that are ended by their ids.

`python -m tests.support.ray_cluster` holds them; it ends them all when its standard input ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

from tests.support.far_network import FarNetwork
from tests.support.photos import REPOSITORY

OBJECT_STORE_BYTES = 80 << 20
"""The least that Ray takes; nothing of ours is put there but answers under way."""

PATIENCE_S = 90.0

NODE_PROCESS = "ray::Node"
"""What Ray calls the process of our actor."""


@dataclass
class RayNodes:
    """A head and further nodes, each of one core."""

    address: str
    gcs: int
    raylets: list[int]
    holder: subprocess.Popen[str]
    directory: str
    environment: dict[str, str]

    def add_inside(self, network: FarNetwork) -> None:
        """Let one more node join from a second network, and wait until it has."""
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={self.address}"]
        small = ["--num-cpus=1", f"--object-store-memory={OBJECT_STORE_BYTES}"]
        command = [*network.inside, *ray, f"--node-ip-address={network.there}", *small]
        subprocess.run(command, check=True, capture_output=True, env=self.environment, cwd=REPOSITORY)

    def add(self) -> None:
        """Let one more node join, and wait until it has."""
        self._ask("add")

    def node_processes(self) -> list[int]:
        """Return the processes in which our nodes run."""
        started = (pid for pid in processes() if parent_of(pid) in self.raylets)
        return [pid for pid in started if command_of(pid).startswith(NODE_PROCESS)]

    def children(self) -> list[int]:
        """Return the children of our nodes, which hold the model."""
        mine = (pid for pid in processes() if self.directory in environment_of(pid))
        return [pid for pid in mine if "image_index.workers.child_main" in command_of(pid)]

    def _ask(self, what: str) -> None:
        assert self.holder.stdin
        assert self.holder.stdout
        self.holder.stdin.write(f"{what}\n")
        self.holder.stdin.flush()
        told = json.loads(self.holder.stdout.readline())
        self.address, self.gcs, self.raylets = told["address"], told["gcs"], told["raylets"]


@contextmanager
def ray_nodes(count: int = 2, host: str = "", **variables: str) -> Iterator[RayNodes]:
    """Give so many nodes, whose processes have these environment variables; nothing of them is left behind.

    With `host`, an address of this machine, they are reached there.
    """
    with TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as directory:  # sockets: short paths
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "PYTHONPATH": str(REPOSITORY),
            "HOME": directory,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": directory,
            **variables,
        }
        command = [sys.executable, "-m", "tests.support.ray_cluster", directory, str(count), host]
        pipe = subprocess.PIPE
        (Path(directory) / "ray").mkdir()  # as Ray has it below RAY_TMPDIR
        before = set(processes())
        with subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=None if "RAY_DEBUG" in os.environ else subprocess.DEVNULL,
            text=True,
            env=environment,
            cwd=REPOSITORY,
            start_new_session=True,
        ) as holder:
            nodes = RayNodes("", 0, [], holder, directory, environment)
            try:
                nodes._ask("tell")
                yield nodes
            finally:
                assert holder.stdin
                with suppress(BrokenPipeError):
                    holder.stdin.close()
                with suppress(subprocess.TimeoutExpired):
                    holder.wait(30)
                _end(directory, before)


def _end(directory: str, before: set[int]) -> None:
    """End what is left of the nodes: processes that came after `before` and name the directory."""
    for pid in set(processes()) - before:
        if directory in command_of(pid) or directory in environment_of(pid):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def processes() -> list[int]:
    """Return the ids of all processes."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def parent_of(pid: int) -> int:
    """Return the parent of a process; 0 if it is gone."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def command_of(pid: int) -> str:
    """Return the command line of a process; empty if it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def environment_of(pid: int) -> str:
    """Return the environment that a process was started with; empty if it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    return ""


def main(directory: str, count: int, host: str) -> None:
    """Hold a cluster until standard input ends; answer each line with where it is."""
    from ray.cluster_utils import Cluster

    small: dict[str, Any] = {"num_cpus": 1, "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
    if host:
        small["node_ip_address"] = host
    cluster = Cluster(initialize_head=True, connect=False, head_node_args={**small, "temp_dir": f"{directory}/ray"})
    head: Any = cluster.head_node
    nodes: list[Any] = [head, *(cluster.add_node(**small) for _ in range(count - 1))]
    Thread(target=_reap, args=(nodes,), daemon=True).start()
    answers, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
    for line in sys.stdin:
        if line.strip() == "add":
            nodes.append(cluster.add_node(**small))
        raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
        gcs = head.all_processes["gcs_server"][0].process.pid
        print(json.dumps({"address": cluster.address, "gcs": gcs, "raylets": raylets}), file=answers, flush=True)
    cluster.shutdown()  # type: ignore[no-untyped-call]


def _reap(nodes: list[Any]) -> None:
    """Take note of raylets that were killed: to its workers, which look once a second, a zombie is alive."""
    while True:
        for node in list(nodes):
            node.all_processes["raylet"][0].process.poll()
        time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
