"""A cluster as the command line names it: the pool over it, and what its machines say of themselves."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import monotonic

from image_index.cluster.client import ClusterClient
from image_index.cluster.messages import Cluster, ClusterFailed, Examine, Examined, Machine, Members, NodeSetup
from image_index.cluster.paths import PathMap
from image_index.cluster.pool import ClusterPool
from image_index.errors import WorkersFailed
from image_index.models.names import ModelSpec, digest_weights, locate_weights
from image_index.records import ModelFacts
from image_index.stop import StopRequest
from image_index.workers.engine import Engine
from image_index.workers.pool import TICK_S

ANSWER_S = 60.0
"""How long the machines of a cluster may take to say what they are."""


def cluster_pool(  # noqa: PLR0913, PLR0917  # what chooses the cluster, and what `MakePool` is called with
    address: str, path_map: PathMap, engine: Engine, spec: ModelSpec, known: ModelFacts | None, stop: StopRequest
) -> ClusterPool:
    """Return the pool over the cluster at `address`, for an index of the model `known`, None for a new one."""
    level = logging.getLogger("image_index").getEffectiveLevel()
    setup = NodeSetup(engine, spec, (), path_map, level)
    return ClusterPool(ClusterClient(address), setup, lambda facts: _is_ours(facts, spec, known), stop)


def _is_ours(facts: ModelFacts, spec: ModelSpec, known: ModelFacts | None) -> bool:
    """Tell whether a model is that of the index or, for a new index, has the weights that the driver has."""
    if known:
        return facts.fingerprint == known.fingerprint
    weights = locate_weights(spec)
    return weights is None or digest_weights(weights) == facts.weights_sha256


def examine_cluster(cluster: Cluster, roots: Sequence[bytes], path_map: PathMap) -> tuple[Examined, ...]:
    """Return what each machine of a cluster says of itself and of the roots, or why it says nothing.

    Raises `WorkersFailed` where the cluster cannot be joined.
    """
    asked: dict[str, Machine] = {}
    said: dict[str, Examined] = {}
    give_up = monotonic() + ANSWER_S
    try:
        cluster.open()
        while (not asked or len(said) < len(asked)) and monotonic() < give_up:
            for event in cluster.events(TICK_S):
                match event:
                    case ClusterFailed(error):
                        raise error
                    case Members(machines) if machines and not asked:
                        asked = {machine.machine_id: machine for machine in machines}
                        for machine in machines:
                            cluster.send(Examine(machine, tuple(roots), path_map))
                    case Examined(machine):
                        said[machine.machine_id] = event
    finally:
        cluster.close()
    if not asked:
        raise WorkersFailed("the cluster has no machine to work with", "see ray status")
    silent = f"it has said nothing for {ANSWER_S:g} s"
    return tuple(said.get(machine_id, Examined(machine, silent)) for machine_id, machine in asked.items())
