"""The only module that imports Ray: start a node on a machine, call it, learn that it died. Nothing else of Ray's.

No restarts and no retries: Ray does not know which file is to blame, and would carry it from machine to machine.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.exceptions import AuthenticationError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from image_index.cluster.messages import RUN_AGAIN, Examine, Machine, MachineReport, NodeAnswer, StartNode
from image_index.cluster.node import Node, examine
from image_index.errors import WorkersFailed

CALLS_AT_ONCE = 4
"""One `take` waits in a node; `give` and `finish` must not wait for it."""

JOIN_TRIES = 3
"""Behind ray:// Ray's server forks amid threads of gRPC, and may die of that: of 20 joins on a busy machine 3 did."""

RayNode = Any
"""Ray's handle on a node."""


class NodeGone(Exception):
    """A node has died, or cannot be reached; the text says why."""


class RayCluster:
    """A cluster that this process has joined."""

    def __init__(self, address: str) -> None:
        """Join it; raise `WorkersFailed` where that cannot be done."""
        try:
            _join(address)
        except AuthenticationError as error:
            problem = f"the Ray cluster at {address} does not accept the token of this machine, or the lack of one"
            step = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the cluster's token, here and on every machine"
            raise WorkersFailed(problem, step) from error
        except (RayError, ConnectionError, RuntimeError, ValueError) as error:
            problem = f"the Ray cluster at {address} cannot be joined: {_sentence(error)}"
            # Ray says no more than this where the token is another one, or RAY_AUTH_MODE is not set here
            step = "see that ray status answers here, with the RAY_AUTH_MODE and RAY_AUTH_TOKEN of the cluster"
            raise WorkersFailed(problem, step) from error
        self._gate = ray.get_runtime_context().get_node_id()

    def machines(self) -> tuple[Machine, ...]:
        """Return the machines that are there now and have cores to work with.

        Raises `WorkersFailed` where the cluster cannot be reached any more. So it is once Ray has ended on the machine
        by which this process has joined: what it asks for then is neither done nor refused.
        """
        try:
            nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        except (RayError, ConnectionError) as error:
            problem = f"the cluster is gone ({_sentence(error)}); what is stored is kept"
            raise WorkersFailed(problem, RUN_AGAIN) from error
        if self._gate not in {node["NodeID"] for node in nodes}:
            problem = "Ray has ended on the machine by which this run is in the cluster; what is stored is kept"
            raise WorkersFailed(problem, RUN_AGAIN)
        found = []
        for node in nodes:
            if cores := node["Resources"].get("CPU"):
                gpus = node["Resources"].get("GPU", 0)
                found.append(Machine(node["NodeID"], node["NodeManagerHostname"], cores, gpus))
        return tuple(found)

    def start(self, order: StartNode) -> RayNode:
        """Start a node, which takes all cores and GPUs of its machine; that is waited for by its first `take`."""
        # Without its GPUs being asked for, Ray would hide them from the node.
        options = {"max_restarts": 0, "max_task_retries": 0, "max_concurrency": CALLS_AT_ONCE}
        has = {"num_cpus": order.machine.cores, "num_gpus": order.machine.gpus}
        actor = ray.remote(Node).options(**options, **has, scheduling_strategy=_on(order.machine))
        return actor.remote(order.version, order.setup, collects_logs=True)

    def take(self, node: RayNode, wait_s: float) -> NodeAnswer:
        """Wait for what a node says; raise `NodeGone` once it says nothing more."""
        try:
            answer: NodeAnswer = ray.get(node.take.remote(wait_s))
        except (RayError, ConnectionError) as error:  # the second one comes from behind ray://
            raise NodeGone(_sentence(error)) from error
        return answer

    def examine(self, order: Examine) -> MachineReport:
        """Return what a machine says of itself; raise `NodeGone` where it cannot."""
        task = ray.remote(examine).options(num_cpus=0, max_retries=0, scheduling_strategy=_on(order.machine))
        try:
            report: MachineReport = ray.get(task.remote(order.roots, order.path_map))
        except (RayError, ConnectionError) as error:
            raise NodeGone(_sentence(error)) from error
        return report

    def end(self, node: RayNode) -> None:
        """End a node now; its children end with it."""
        ray.kill(node)

    def leave(self) -> None:
        """Leave the cluster, which ends what this process has started there."""
        ray.shutdown()


def _join(address: str) -> None:
    """Join a cluster, and try again where the server that Ray starts for a client has died at once."""
    for tries_left in reversed(range(JOIN_TRIES)):
        try:
            ray.init(address, configure_logging=False, log_to_driver=False)
            return
        except ConnectionAbortedError:
            if not tries_left:
                raise


def _on(machine: Machine) -> NodeAffinitySchedulingStrategy:
    """Return the strategy that starts something on this machine or not at all."""
    return NodeAffinitySchedulingStrategy(machine.machine_id, soft=False)


def _sentence(error: Exception) -> str:
    """Return what an error says first, without the advice and tracebacks behind it; the last line of a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if "Traceback" in str(error) else lines[0]).rstrip(".")
