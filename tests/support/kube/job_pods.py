"""A region whose jobs are pods of a real node: its executor, its gateway, and the image that runs beside the jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nordan_core.clock import SystemClock
from nordan_core.domain.ids import AttemptId
from nordan_core.wire import LaunchOrder
from nordan_workers.executors.base import AttemptStatus, RankStatus
from nordan_workers.executors.kubernetes import names
from nordan_workers.executors.kubernetes.client import Cluster as ApiClient
from nordan_workers.executors.kubernetes.config import from_kubeconfig
from nordan_workers.executors.kubernetes.executor import KubernetesExecutor
from nordan_workers.executors.kubernetes.manifests import PodSettings
from support.attempts import launch_order
from support.gateways import GatewayUnderTest, gateway_under_test
from support.kube.built_images import image_archives
from support.kube.node_cluster import NodeCluster
from support.pods import laid

IMAGE = "localhost/nordan-agent:1"
POOL, REGION, TERRITORY = "pool-a", "fr-tst-1", "FR"


def agent_archive(folder: Path) -> Path:
    """Make the archive of the image for stage, agent and jobs. Raises: Unavailable."""
    return image_archives(["agent"], folder)[0]


@dataclass(slots=True)
class JobPods:
    """Runs attempts as pods and looks at what comes of them."""

    cluster: NodeCluster
    gateway: GatewayUnderTest
    executor: KubernetesExecutor
    namespace: str
    node: str

    def launch(
        self,
        script: str,
        *,
        ranks: int = 1,
        env: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        ttl_s: float = 600,
        memory_mib: int = 256,
    ) -> AttemptId:
        """Stage and launch a job of these lines of Python; `files` are laid below each rank's folders."""
        order = self._order(script, ranks, env or {}, memory_mib)
        folders = self.executor.prepare(order)
        for path, text in (files or {}).items():
            kind, _, rest = path.partition("/")
            for rank in folders.ranks:
                target = {"inputs": folders.inputs, "rank": rank.cwd, "checkpoints": rank.checkpoints}[kind] / rest
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)
        self.executor.seal(folders)
        self.executor.launch(order, folders, SystemClock().monotonic() + ttl_s)
        return AttemptId(order.attempt_id)

    def _order(self, script: str, ranks: int, env: Mapping[str, str], memory_mib: int) -> LaunchOrder:
        head = "import os, sys, time, signal, socket\nfrom pathlib import Path\n"
        head += "names = ('CHECKPOINT', 'OUTPUT', 'INPUT')\n"
        head += "checkpoints, outputs, inputs = (Path(os.environ[f'NORDAN_{one}_DIR']) for one in names)\n"
        order = launch_order(["python", "-u", "-c", head + script], ranks=ranks, gpus_per_rank=0, env=dict(env))
        placed = tuple(replace_node(rank, self.node) for rank in order.ranks)
        return order.model_copy(
            update={"ranks": placed, "pool": POOL, "memory_mib": memory_mib, "cpus": 0, "grace_s": 3.0}
        )

    def extend(self, attempt: AttemptId, ttl_s: float) -> None:
        self.executor.extend({attempt: SystemClock().monotonic() + ttl_s})

    def status(self, attempt: AttemptId) -> AttemptStatus:
        return self.executor.poll(attempt)

    def wait(
        self, attempt: AttemptId, until: Callable[[AttemptStatus], bool], what: str, limit_s: float = 90
    ) -> AttemptStatus:
        """Return the status once the condition holds; fail with what the cluster says when it does not in time."""
        give_up_s = time.monotonic() + limit_s
        while not until(status := self.status(attempt)):
            if time.monotonic() > give_up_s:
                raise AssertionError(f"not within {limit_s} s: {what}\n{status}\n{self._told(attempt)}")
            time.sleep(0.1)
        return status

    def end(self, attempt: AttemptId, limit_s: float = 90) -> tuple[RankStatus, ...]:
        return self.wait(attempt, lambda status: status.is_over, "the end", limit_s).ranks

    def log(self, attempt: AttemptId, rank: int = 0) -> str:
        path = self.gateway.folder / "logs" / attempt / f"rank-{rank}.log"
        return path.read_text() if path.exists() else ""

    def wait_for_log(self, attempt: AttemptId, text: str, rank: int = 0) -> None:
        self.wait(attempt, lambda _: text in self.log(attempt, rank), f"the region's log has {text!r}")

    def folder(self, attempt: AttemptId, kind: str) -> dict[str, bytes]:
        return laid(self.gateway.folder / "work" / attempt / f"{kind}-0")

    def pod(self, attempt: AttemptId, rank: int = 0) -> dict[str, Any]:
        path = f"/api/v1/namespaces/{self.namespace}/pods/{names.pod_name(attempt, rank)}"
        return self.cluster.get(path)

    def _told(self, attempt: AttemptId) -> str:
        pods = self.cluster.get(f"/api/v1/namespaces/{self.namespace}/pods")["items"]
        states = json.dumps([pod["status"] for pod in pods if names.attempt_of(pod["metadata"]["labels"]) == attempt])
        events = self.cluster.get(f"/api/v1/namespaces/{self.namespace}/events")["items"]
        told = "\n".join(f"{event['reason']}: {event['message']}" for event in events[-15:])
        said = [
            self.cluster.try_kubectl("logs", "-n", self.namespace, names.pod_name(attempt, 0), "-c", one)
            for one in (names.STAGE, names.AGENT)
        ]
        return f"{states}\n{told}\n{said}"


def replace_node(rank: Any, node: str) -> Any:  # Any: a pydantic model of the wire
    """Return the rank on this node."""
    return rank.model_copy(update={"node": node})


@contextmanager
def job_pods(cluster: NodeCluster, folder: Path, archive: Path) -> Iterator[JobPods]:
    """Make the cluster's first node one of a pool, and serve a region beside it."""
    cluster.import_image(archive)
    node = cluster.node_names[0]
    labels = {names.NODE_TERRITORY: TERRITORY, names.NODE_REGION: REGION, names.NODE_POOL: POOL}
    cluster.patch(f"/api/v1/nodes/{node}", {"metadata": {"labels": labels}})
    with cluster.namespace() as namespace, gateway_under_test(folder) as gateway:
        address = cluster.expose(int(gateway.url.rpartition(":")[2]))
        settings = PodSettings(
            namespace=namespace,
            region=REGION,
            territory=TERRITORY,
            agent_image=IMAGE,
            gateway_url=f"http://{address}",
            job_image=IMAGE,
        )
        client = ApiClient(from_kubeconfig(cluster.kubeconfig))
        executor = KubernetesExecutor(folder, SystemClock(), cluster=client, settings=settings)
        try:
            yield JobPods(cluster, gateway, executor, namespace, node)
        finally:
            for attempt in executor.adopt():
                executor.forget(attempt)
            executor.close()
            client.close()
