"""A cluster that a process has joined: its machines, and how it is lost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from image_index.cluster.messages import Machine
from image_index.errors import WorkersFailed

ray = pytest.importorskip("ray")
rays = pytest.importorskip("image_index.cluster.rays")

ABORTED = ConnectionAbortedError(
    """Initialization failure from server:
Traceback (most recent call last):
  File "proxier.py", line 768, in Datapath
RuntimeError: Starting Ray client server failed. See ray_client_server_23017.err for detailed logs.
"""
)
"""What a client is told whose server in the cluster has died at its start."""


def node(name: str, cpus: float, *, alive: bool = True) -> dict[str, Any]:
    """Return a machine as Ray tells of it."""
    return {"NodeID": name, "NodeManagerHostname": name, "Alive": alive, "Resources": {"CPU": cpus} if cpus else {}}


def joined(monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, Any]] | Exception, deaths: int = 0) -> Any:
    """Return a cluster that was joined on the machine `here`, after so many `deaths` of Ray's server for its client."""
    left = [ABORTED] * deaths

    def init(*_: object, **__: object) -> None:
        if left:
            raise left.pop()

    def listed() -> list[dict[str, Any]]:
        if isinstance(nodes, Exception):
            raise nodes
        return nodes

    monkeypatch.setattr(ray, "init", init)
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


def test_a_server_for_clients_that_dies_at_its_start_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is chance; the third time in a row the sentence that says most is passed on."""
    assert joined(monkeypatch, [node("here", 2)], deaths=2).machines()
    with pytest.raises(WorkersFailed, match="RuntimeError: Starting Ray client server failed") as raised:
        joined(monkeypatch, [], deaths=3)
    assert "logs; see that ray status" in str(raised.value)
