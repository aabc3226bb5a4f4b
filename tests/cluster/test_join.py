"""A cluster as the command line names it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from image_index.cluster.client import ClusterClient
from image_index.cluster.join import cluster_pool, examine_cluster
from image_index.cluster.messages import VERSION, Examine, Examined, MachineReport, Order
from image_index.cluster.node import examine
from image_index.cluster.paths import PathMap
from image_index.errors import UsageError, WorkersFailed
from image_index.models.names import parse_model
from image_index.records import Batch, ImageFile
from image_index.settings import IndexHome
from image_index.stop import StopRequest
from image_index.upkeep.doctor import Devices, Machine, ModelCache, Report
from image_index.upkeep.health import examine_index
from image_index.workers.engine import Engine
from tests.support.fake_cluster import FakeCluster, FakeMachine
from tests.support.shell import Shell

NOBODY = "127.0.0.1:1"
"""An address at which nothing listens."""


class Answering(FakeCluster):
    """A cluster whose machines say what they are, but for those that are `broken`."""

    def send(self, order: Order) -> None:
        """Answer an order to examine."""
        if isinstance(order, Examine):
            report = "no imgidx" if order.machine.name == "broken" else examine(order.roots, order.path_map)
            self.say(Examined(order.machine, report))
        else:
            super().send(order)


def test_every_machine_says_what_it_is_and_what_it_sees(tmp_path: Path) -> None:
    """One that cannot says why; the cluster is left again."""
    cluster = Answering(FakeMachine("one"), FakeMachine("broken"))
    one, broken = examine_cluster(cluster, [os.fsencode(tmp_path), b"/mnt/nothing"], PathMap())
    assert isinstance(one.report, MachineReport)
    assert one.report.sees == {str(tmp_path): True, "/mnt/nothing": False}
    assert broken.report == "no imgidx"
    assert cluster.closed


def test_the_problems_of_machines_are_named(tmp_path: Path) -> None:
    """Another version, a root that is not seen, no answer: each with its next step."""
    seen = MachineReport("0.0.1", "3", "Linux", 2, 10**9, 0, {"/mnt/photos": False})
    machines = [
        Examined(FakeMachine(name).as_seen(), report) for name, report in (("one", seen), ("two", "it is gone"))
    ]
    machine = Machine(VERSION, "3", "Linux", {}, {}, Devices(), 1, 1, {})
    report = Report(machine, ModelCache(tmp_path), examine_index(IndexHome(tmp_path)), tuple(machines))
    problems = [problem.problem for problem in report.problems() if problem.subject == "cluster"]
    assert problems == [
        f"one has imgidx 0.0.1, not {VERSION}",
        "one does not see /mnt/photos",
        "two: it is gone",
    ]


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_one_sentence() -> None:
    """Ray itself would try for a minute; its client is a process of its own, which is gone again."""
    files = (ImageFile(b"/photos/a.jpg", 1, 1),)
    with (
        cluster_pool(NOBODY, PathMap(), Engine("cpu"), parse_model("starter"), None, StopRequest()) as pool,
        pytest.raises(WorkersFailed, match=f"nothing answers at {NOBODY}: Connection refused"),
    ):
        list(pool.embed([Batch(files)]))


@pytest.mark.slow
def test_the_commands_say_that_a_cluster_is_not_there(tmp_path: Path) -> None:
    """`train` ends with exit code 8, `doctor` names the problem."""
    shell = Shell(tmp_path)
    done = shell.run("doctor", "--cluster", NOBODY, "--json")
    (record,) = done.records
    assert record["cluster"] is None
    assert [one["problem"] for one in record["problems"] if one["subject"] == "cluster"] == [
        f"nothing answers at {NOBODY}: Connection refused"
    ]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"no picture")
    done = shell.run("train", tmp_path / "photos", "--model", "starter", "--cluster", NOBODY)
    assert done.code == 8
    assert done.complaint.startswith(f"imgidx: nothing answers at {NOBODY}")


@pytest.mark.parametrize("address", ["local", "", "node7", "ray://node7", "http://node7:1/"])
def test_an_address_is_one_of_three_kinds(address: str) -> None:
    """Ray would start a cluster of its own for some of the others."""
    with pytest.raises(UsageError, match="HOST:PORT"):
        ClusterClient(address)


def test_a_map_is_for_a_cluster(tmp_path: Path) -> None:
    """At home every path is what it is."""
    done = Shell(tmp_path).run("train", tmp_path, "--map", "/a=/b")
    assert done.code == 2
    assert "--cluster" in done.complaint
