"""The guard on a real API server, with no more rights than an installation gives it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from nordan_core.domain.ids import AttemptId
from nordan_core.identifiers import new_id
from nordan_workers.cluster.breaches import Place, Seat, Seats
from nordan_workers.cluster.guard import Guard
from nordan_workers.cluster.hands import ClusterHands
from nordan_workers.cluster.nodes import node_labels
from nordan_workers.executors.kubernetes import names
from nordan_workers.executors.kubernetes.client import Cluster as Client
from nordan_workers.executors.kubernetes.config import from_kubeconfig
from nordan_workers.executors.kubernetes.watch import Watch
from support import border_objects
from support.border_objects import FACTS
from support.kube.cluster import Cluster
from support.rules import make_namespaces, rules

JOBS, REGION = "guarded-jobs", "guarded-region"
NODE, OTHER = "guarded-1", "guarded-2"
ATTEMPT, BESIDE = AttemptId(new_id("att")), AttemptId(new_id("att"))


class Court:
    """Two live attempts, one on each node."""

    def __init__(self) -> None:
        self.fenced: set[AttemptId] = set()

    def seats(self) -> Seats:
        return {ATTEMPT: (Seat("fr-h100", NODE),), BESIDE: (Seat("fr-h100", OTHER),)}

    def fence(self, attempts: Collection[AttemptId]) -> None:
        self.fenced |= set(attempts)


@dataclass(frozen=True)
class Scene:
    """A cluster with the rules, and a way in with the region's own rights."""

    cluster: Cluster
    region: Client


@pytest.fixture
def scene(kube_api: Cluster) -> Iterator[Scene]:
    """Two verified nodes, an attempt's pod on each, and a stranger that came before the rules."""
    facts = replace(FACTS, jobs_namespace=JOBS, region_namespace=REGION)
    make_namespaces(kube_api, facts)
    for name in (NODE, OTHER):
        taint = {"key": names.TAINT_POOL, "value": "fr-h100", "effect": "NoSchedule"}
        metadata = {"name": name, "labels": node_labels(FACTS.region, FACTS.territory, "fr-h100")}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {"taints": [taint]}}
        kube_api.ensure("/api/v1/nodes", node)
    pods = f"/api/v1/namespaces/{JOBS}/pods"
    for attempt, node_name in ((ATTEMPT, NODE), (BESIDE, OTHER)):
        kube_api.ensure(pods, _pod(attempt, node_name))
    stranger = border_objects.pod(nodeName=OTHER)
    stranger["metadata"]["name"] = "stranger"
    kube_api.ensure(pods, stranger)
    client = Client(from_kubeconfig(kube_api.service_account_kubeconfig(REGION, "nordan-region")))
    try:
        with rules(kube_api, facts):
            yield Scene(kube_api, client)
    finally:
        client.close()
        for line in tuple(client._open):
            line.close()  # of threads that have ended; a process that ends does not care
        kube_api.remove_nodes([NODE, OTHER])


def test_a_stranger_goes_and_a_moved_node_loses_its_attempts(scene: Scene) -> None:
    court = Court()

    async def play() -> None:
        place = Place(FACTS.region, FACTS.territory, JOBS)
        guard = Guard(place, ClusterHands(scene.region, JOBS), gpu_resource="nvidia.com/gpu")
        watches = (
            Watch(scene.region, "/api/v1/nodes", guard.nodes),
            Watch(scene.region, f"/api/v1/namespaces/{JOBS}/pods", guard.jobs),
        )
        for watch in watches:
            watch.start()
        running = asyncio.create_task(guard.run(court))
        await _until(lambda: _gone(scene, "stranger") and _is_marked(scene, OTHER))
        assert court.fenced == {BESIDE}
        assert not _is_marked(scene, NODE)
        moved = {"metadata": {"labels": {names.NODE_TERRITORY: "SE"}}}
        await asyncio.to_thread(scene.cluster.patch, f"/api/v1/nodes/{NODE}", moved)
        await _until(lambda: _is_marked(scene, NODE))
        assert court.fenced == {ATTEMPT, BESIDE}
        running.cancel()
        for watch in watches:
            watch.stop()
        scene.region.close()
        for watch in watches:
            watch.join(5.0)

    asyncio.run(play())


def _pod(attempt: AttemptId, node: str) -> dict[str, Any]:
    made = border_objects.job_pod(nodeName=node)
    made["metadata"]["name"] = names.pod_name(attempt, 0)
    made["metadata"]["labels"] |= {names.LABEL_ATTEMPT: attempt, names.LABEL_RANK: "0"}
    return made


async def _until(is_so: Any) -> None:
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(is_so):
            await asyncio.sleep(0.2)


def _gone(scene: Scene, name: str) -> bool:
    items = scene.cluster.get(f"/api/v1/namespaces/{JOBS}/pods")["items"]
    return name not in {one["metadata"]["name"] for one in items}


def _is_marked(scene: Scene, name: str) -> bool:
    taints = scene.cluster.get(f"/api/v1/nodes/{name}")["spec"].get("taints") or ()
    return any(one["key"] == names.TAINT_UNVERIFIED for one in taints)
