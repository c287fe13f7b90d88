"""A Kubernetes executor on a test cluster whose nodes KWOK plays, and programs that such nodes can pretend to run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from nordan_core.clock import SystemClock
from nordan_core.domain.ids import AttemptId
from nordan_core.wire import LaunchOrder
from nordan_workers.executors.kubernetes import manifests
from nordan_workers.executors.kubernetes.client import Cluster as Client
from nordan_workers.executors.kubernetes.config import from_kubeconfig
from nordan_workers.executors.kubernetes.executor import KubernetesExecutor, Tuning
from nordan_workers.executors.kubernetes.manifests import Object, PodSettings
from nordan_workers.executors.kubernetes.names import pod_name
from nordan_workers.executors.kubernetes.status import Patience
from support.attempts import until
from support.kube import kwok_stages
from support.kube.cluster import Cluster

#: What `launch_order` places ranks on.
NODES = tuple(f"node-{number}" for number in range(3))
REGION = "fr-bru-1"
QUICK = Tuning(patience=Patience(start_s=4.0, node_away_s=1.0), sweep_s=0.5)


@dataclass
class PodLab:
    """One namespace of a cluster, a region's folder, and executors on both, one after another."""

    cluster: Cluster
    namespace: str
    region_dir: Path
    tuning: Tuning = QUICK
    registry: str = "localhost"
    """Where the images are said to come from."""
    made: list[KubernetesExecutor] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)

    @property
    def settings(self) -> PodSettings:
        """What every pod has."""
        return PodSettings(
            namespace=self.namespace,
            region=REGION,
            territory="FR",
            agent_image=f"{self.registry}/nordan:test",
            gateway_url="http://gateway",
            job_image=f"{self.registry}/job:test",
        )

    def executor(self, tuning: Tuning | None = None, kubeconfig: Path | None = None) -> KubernetesExecutor:
        """Make an executor, as a supervisor that starts does."""
        client = Client(from_kubeconfig(kubeconfig or self.cluster.kubeconfig))
        self.clients.append(client)
        made = KubernetesExecutor(
            self.region_dir, SystemClock(), cluster=client, settings=self.settings, tuning=tuning or self.tuning
        )
        self.made.append(made)
        return made

    @property
    def pods_path(self) -> str:
        """The collection of pods."""
        return f"/api/v1/namespaces/{self.namespace}/pods"

    def pods(self) -> list[Object]:
        """Return every pod of the namespace."""
        items: list[Object] = self.cluster.get(self.pods_path)["items"]
        return items

    def pod(self, order: LaunchOrder, rank: int = 0) -> Object:
        """Return one rank's pod."""
        return self.cluster.pod(self.namespace, name_of(order, rank))

    def until_pods(self, count: int, limit_s: float = 30.0) -> None:
        """Wait until the namespace has so many pods."""
        until(lambda: len(self.pods()) == count, f"{count} pods in the namespace", limit_s)

    def close(self) -> None:
        """Close every executor, and remove what they left."""
        for one in self.made:
            one.close()
        self.cluster.delete(self.pods_path, grace_s=0)


def name_of(order: LaunchOrder, rank: int = 0) -> str:
    """Return the name of one rank's pod."""
    return pod_name(AttemptId(order.attempt_id), rank)


@contextmanager
def pod_lab(cluster: Cluster, region_dir: Path) -> Iterator[PodLab]:
    """Yield a lab in a fresh namespace, and leave nothing."""
    with cluster.namespace(prefix="jobs") as namespace:
        lab = PodLab(cluster, namespace, region_dir)
        try:
            yield lab
        finally:
            lab.close()


def play_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have KWOK end pods as their programs would: it understands what the contract's tests run."""
    real: Callable[..., Object] = manifests.pod

    def played(order: LaunchOrder, *rest: object) -> Object:
        pod = real(order, *rest)
        pod["metadata"]["annotations"] |= _played(order.command)
        return pod

    monkeypatch.setattr(manifests, "pod", played)


def patient(tuning: Tuning = QUICK) -> Tuning:
    """Return a tuning that gives nothing up: for tests that end pods by hand."""
    return replace(tuning, patience=Patience(), sweep_s=3600.0)


def _played(command: tuple[str, ...]) -> dict[str, str]:
    match command:
        case ("true",):
            return {kwok_stages.ENDS_AFTER: "0s"}
        case ("false",):
            return {kwok_stages.ENDS_AFTER: "0s", kwok_stages.EXIT_CODE: "1"}
        case ("sleep", seconds):
            return {kwok_stages.ENDS_AFTER: f"{seconds}s"}
    return {}
