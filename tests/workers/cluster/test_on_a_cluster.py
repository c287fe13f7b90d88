"""From a change in a real cluster to what the engine plans with: watch, inventory, sync, store; how long it takes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import Engine

from nordan_api.workers.sync import store_nodes
from nordan_core.clock import SystemClock
from nordan_core.domain.ids import RegionCode
from nordan_core.domain.queueing import NodeFree
from nordan_core.wire import SyncDown, SyncUp
from nordan_workers.cluster import watching
from nordan_workers.cluster.inventory import Scope
from nordan_workers.cluster.watching import NodeWatch
from nordan_workers.executors.kubernetes import names
from nordan_workers.executors.kubernetes.client import Cluster as Client
from nordan_workers.executors.kubernetes.config import from_kubeconfig
from nordan_workers.executors.kubernetes.watch import Watch
from nordan_workers.supervisor.sync import Line, Syncer
from nordan_workers.trust import Trust
from support.cell import Cell
from support.kube.cluster import Cluster, Object

REGION, POOL, NAMESPACE = "fr-k8s-1", "k8s-h100", "nordan-jobs-inventory"
LABELS = {names.NODE_REGION: REGION, names.NODE_TERRITORY: "FR", names.NODE_POOL: POOL}
TAINT = {"key": names.TAINT_POOL, "value": POOL, "effect": "NoSchedule"}
TOLERATIONS = [{"operator": "Exists"}]
#: The promise is 60 s, the aim 5 s; the machine may be busy.
SOON_S = 20.0


class Direct:
    """Stands for the way to the worker API: stores what it would."""

    def __init__(self, cell: Cell) -> None:
        self._context = cast("Any", SimpleNamespace(store=cell.store, clock=cell.clock))
        self.reports = 0

    async def sync(self, up: SyncUp) -> SyncDown:
        if up.nodes is not None:
            self.reports += 1
            await asyncio.to_thread(store_nodes, self._context, RegionCode(REGION), up.nodes)
        return SyncDown(renewal="")


class NoAttempts:
    """A fleet that holds nothing."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()

    def __iter__(self) -> Iterator[Any]:
        return iter(())


class Region:
    """A region whose supervisor syncs what its cluster says, and the engine's view of it."""

    def __init__(self, kube: Cluster, cell: Cell, nodes: NodeWatch, api: Direct) -> None:
        self.kube = kube
        self.cell = cell
        self.nodes = nodes
        self.api = api

    def free(self) -> dict[str, NodeFree]:
        """Return the nodes that the engine may use, by name."""
        with self.cell.store.begin() as work:
            answers = {pool.name: pool.is_answering for pool in work.scheduling.pools()}
            return {str(one.name): one for one in work.scheduling.nodes() if answers[one.pool]}

    def gpus(self) -> dict[str, int]:
        """Return how many GPUs the engine may give of each node."""
        return {name: one.free_mask.bit_count() for name, one in self.free().items()}

    def knows(self, what: str, is_so: Callable[[], bool]) -> float:
        """Wait until the engine knows; returns how long it took."""
        began = time.monotonic()
        self.kube.wait_for(lambda: f"{what}: {self.gpus()}", is_so, timeout_s=SOON_S)
        took_s = time.monotonic() - began
        print(f"{what}: {took_s:.2f} s")
        return took_s


@contextmanager
def _syncing(kube: Cluster, cell: Cell) -> Iterator[Region]:
    client = Client(from_kubeconfig(kube.kubeconfig))
    nodes = NodeWatch(client, Scope(REGION, "FR", NAMESPACE), SystemClock())
    watches = [
        Watch(client, "/api/v1/nodes", nodes.audience.nodes[0]),
        Watch(client, f"/api/v1/namespaces/{NAMESPACE}/pods", nodes.audience.pods[0]),
    ]
    for watch in watches:
        watch.start()
    api = Direct(cell)
    loop, fleet = asyncio.new_event_loop(), NoAttempts()
    parts: Any = {"executor": None, "joined": None, "trust": Trust({}, SystemClock()), "faults": None, "api": api}
    board = SimpleNamespace(fences=lambda _: None, successions=lambda _: None)
    line = Line(supervisor_id="sup", clock=SystemClock(), nodes=nodes, noticeboard=cast("Any", board), **parts)
    task = loop.create_task(Syncer(line, cast("Any", fleet)).run())
    thread = threading.Thread(target=_run, args=(loop, task))
    thread.start()
    nodes.start(lambda: _set(loop, fleet.changed))
    try:
        yield Region(kube, cell, nodes, api)
    finally:
        nodes.close()
        for watch in watches:
            watch.stop()
        client.close()
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)
        loop.close()


def _run(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    with suppress(asyncio.CancelledError):
        loop.run_until_complete(task)


def _set(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(event.set)


@pytest.fixture
def region(kube_control: Cluster, engine: Engine) -> Iterator[Region]:
    """Yield a region with three nodes that the engine knows; KWOK plays them."""
    cell = Cell.create(engine, with_pools=False)
    cell.add_cluster(REGION, POOL)
    found = kube_control.add_fake_nodes(3, prefix="inventory", labels=LABELS, taints=[TAINT])
    with _syncing(kube_control, cell) as syncing:
        syncing.knows("three nodes", lambda: syncing.gpus() == dict.fromkeys(found, 8))
        yield syncing
    kube_control.remove_nodes(found)


def _pod(name: str, node: str, *, gpus: int = 0, cpu: str = "1") -> Object:
    asks = {"cpu": cpu, "memory": "1Gi", **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    container = {"name": "c", "image": "i", "resources": {"requests": asks, "limits": asks}}
    spec = {"nodeName": node, "tolerations": TOLERATIONS, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def test_a_cordoned_node_is_planned_with_no_more_and_comes_back(region: Region) -> None:
    node = "inventory-1"
    region.kube.kubectl("cordon", node)
    region.knows("a cordon", lambda: node not in region.gpus())
    region.kube.kubectl("uncordon", node)
    region.knows("its end", lambda: region.gpus().get(node) == 8)


def test_what_foreign_pods_ask_for_is_subtracted_while_they_are_there(region: Region) -> None:
    """A pod, and those of a daemon set, whatever their namespace."""
    with region.kube.namespace() as namespace:
        region.kube.post(f"/api/v1/namespaces/{namespace}/pods", _pod("greedy", "inventory-0", gpus=3))
        region.knows("a foreign pod", lambda: region.gpus()["inventory-0"] == 5)
        template = {"metadata": {"labels": {"app": "d"}}, "spec": _pod("d", "")["spec"]}
        del template["spec"]["nodeName"]
        spec = {"selector": {"matchLabels": {"app": "d"}}, "template": template}
        daemon_set = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d"}, "spec": spec}
        region.kube.post(f"/apis/apps/v1/namespaces/{namespace}/daemonsets", daemon_set)
        region.knows("a daemon set", lambda: {one.free_cpus for one in region.free().values()} == {62, 63})
        region.kube.delete(f"/apis/apps/v1/namespaces/{namespace}/daemonsets/d")
        region.kube.delete(f"/api/v1/namespaces/{namespace}/pods/greedy", grace_s=0)
        region.knows("their end", lambda: region.gpus()["inventory-0"] == 8)


def test_a_node_that_is_not_ready_or_gone_is_planned_with_no_more(region: Region) -> None:
    path = "/api/v1/nodes/inventory-2"
    region.kube.patch(path, {"metadata": {"annotations": {"kwok.x-k8s.io/node": None}}})
    conditions = [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]
    region.kube.patch(f"{path}/status", {"status": {"conditions": conditions}})
    region.knows("a node that is not ready", lambda: "inventory-2" not in region.gpus())
    region.kube.delete("/api/v1/nodes/inventory-1")
    region.knows("a node that is gone", lambda: list(region.gpus()) == ["inventory-0"])
    with region.cell.store.begin() as work:
        reasons = {str(node.name): (node.state.value, node.reason()) for node in work.nodes.all()}
    assert reasons["inventory-2"] == ("down", "not ready: NodeStatusUnknown")
    assert reasons["inventory-1"] == ("down", "not among its cluster's nodes of the pool")


def test_a_node_that_changes_its_labels_leaves_the_pool(region: Region) -> None:
    """Or is in doubt, when it says that it stands elsewhere."""
    path = "/api/v1/nodes/inventory-0"
    region.kube.patch(path, {"metadata": {"labels": {names.NODE_TERRITORY: "US"}}})
    region.knows("a wrong territory", lambda: "inventory-0" not in region.gpus())
    with region.cell.store.begin() as work:
        [node] = [node for node in work.nodes.all() if node.name == "inventory-0"]
    assert (node.state.value, node.reason()) == ("cordoned", "its territory label says US")
    region.kube.patch(path, {"metadata": {"labels": {names.NODE_TERRITORY: "FR", names.NODE_POOL: None}}})
    region.knows("no pool", lambda: sorted(region.gpus()) == ["inventory-1", "inventory-2"])


def test_an_api_server_that_is_away_stops_placement_and_a_restart_loses_nothing(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changed meanwhile is known soon after it is back."""
    monkeypatch.setattr(watching, "AWAY_S", 1.0)
    monkeypatch.setattr(watching, "PROBE_S", 0.3)
    # The probe that waits already does so for the longer time.
    threading.Thread(target=region.nodes._probe_for_ever, daemon=True).start()
    region.kube.plane.restart_api_server()
    region.knows("all nodes again", lambda: len(region.gpus()) == 3)
    with region.kube.plane.api_server.paused():
        region.knows("that nothing is known", lambda: region.gpus() == {})
    region.knows("all nodes again", lambda: len(region.gpus()) == 3)
    region.kube.kubectl("cordon", "inventory-1")
    region.knows("a cordon afterwards", lambda: len(region.gpus()) == 2)
