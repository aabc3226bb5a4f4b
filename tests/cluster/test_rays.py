"""A cluster that a process has joined: its machines, and how it is lost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from image_index.cluster.messages import Machine
from image_index.errors import WorkersFailed

ray = pytest.importorskip("ray")
rays = pytest.importorskip("image_index.cluster.rays")


def node(name: str, cpus: float, *, alive: bool = True) -> dict[str, Any]:
    """Return a machine as Ray tells of it."""
    return {"NodeID": name, "NodeManagerHostname": name, "Alive": alive, "Resources": {"CPU": cpus} if cpus else {}}


def joined(monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, Any]] | Exception) -> Any:
    """Return a cluster that was joined on the machine `here` and has these machines."""

    def listed() -> list[dict[str, Any]]:
        if isinstance(nodes, Exception):
            raise nodes
        return nodes

    monkeypatch.setattr(ray, "init", lambda *_, **__: None)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "here"))
    monkeypatch.setattr(ray, "nodes", listed)
    return rays.RayCluster("auto")


def test_machines_that_live_and_have_cores_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's own may have none to give."""
    cluster = joined(monkeypatch, [node("here", 0), node("there", 2), node("gone", 2, alive=False)])
    assert cluster.machines() == (Machine("there", "there", 2, 0),)


def test_without_ray_on_the_own_machine_the_cluster_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for by way of it would never come to pass."""
    cluster = joined(monkeypatch, [node("here", 2, alive=False), node("there", 2)])
    with pytest.raises(WorkersFailed, match="Ray has ended on the machine"):
        cluster.machines()


def test_a_cluster_that_cannot_be_asked_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind ray:// its end is an error of the connection."""
    with pytest.raises(WorkersFailed, match="the cluster is gone"):
        joined(monkeypatch, ConnectionError("socket closed")).machines()
