"""Three ways to bring a pod to the node that was chosen, on one API server with nodes that KWOK plays.

    python benchmarks/pods.py [--pods 1000] [--nodes 500]

`executor`: the Kubernetes executor as it is: create, bind, watch, delete. `scheduler`: the same pods created by as many
threads, with kube-scheduler and the same required node affinity. `nodeName`: the node set at the creation, no binding.
Each way runs once, in a fresh namespace; clients and cluster share the cores. The programs come from `make kube`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / part) for part in ("tests", "deploy/images")]

from nordan_core.clock import SystemClock  # noqa: E402  the path comes first
from nordan_core.domain.ids import AttemptId  # noqa: E402
from nordan_core.wire import LaunchOrder  # noqa: E402
from nordan_workers.executors.kubernetes import manifests, names  # noqa: E402
from nordan_workers.executors.kubernetes.client import Cluster as Client  # noqa: E402
from nordan_workers.executors.kubernetes.client import Object  # noqa: E402
from nordan_workers.executors.kubernetes.config import from_kubeconfig  # noqa: E402
from nordan_workers.executors.kubernetes.executor import KubernetesExecutor, Tuning  # noqa: E402
from nordan_workers.executors.kubernetes.manifests import PodSettings, PodTicket  # noqa: E402
from nordan_workers.executors.kubernetes.pods import Pods  # noqa: E402
from nordan_workers.executors.kubernetes.status import Patience  # noqa: E402
from nordan_workers.executors.kubernetes.watch import Watch  # noqa: E402
from support.attempts import launch_order  # noqa: E402
from support.kube.cluster import Cluster  # noqa: E402
from support.kube.fixtures import start_control  # noqa: E402

THREADS = 16
LIMIT_S = 600.0
REGION, TERRITORY = "r", "FR"


@dataclass(frozen=True, slots=True)
class Figures:
    """What one way took."""

    way: str
    pods: int
    wall_s: float
    waits_s: tuple[float, ...]
    """From the moment when a pod was asked for until it was seen running."""
    requests: int
    cpu_s: float
    """Of this process."""
    servers_s: Mapping[str, float]
    """CPU of the cluster's processes."""

    def line(self) -> str:
        """Return the figures as one line."""
        ordered = sorted(self.waits_s)
        p95_s = ordered[int(len(ordered) * 0.95)]
        parts = {"client": self.cpu_s, **self.servers_s, "all": self.cpu_s + sum(self.servers_s.values())}
        shares = ", ".join(f"{name} {seconds / self.pods * 1000:.1f}" for name, seconds in parts.items())
        cost = f"{self.requests / self.pods:.2f} requests a pod; CPU in ms a pod: {shares}"
        wait = f"wait p50 {statistics.median(ordered):.2f} s, p95 {p95_s:.2f} s"
        return f"{self.way:10} {self.pods / self.wall_s:6.1f} Running/s, {wait}, {cost}"


def main() -> None:
    """Run every way once and print a line for each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pods", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=500)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="nordan-kube-bench-"))
    cluster = start_control(folder)
    try:
        labels = {names.NODE_TERRITORY: TERRITORY, names.NODE_REGION: REGION, names.NODE_POOL: "pool"}
        nodes = cluster.add_fake_nodes(given.nodes, labels=labels)
        for way in (by_executor, by_scheduler, by_node_name):
            with cluster.namespace() as namespace:
                print(way(cluster, namespace, orders(given.pods, nodes)).line(), flush=True)
                cluster.delete(f"/api/v1/namespaces/{namespace}/pods", grace_s=0)
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def by_executor(cluster: Cluster, namespace: str, wanted: list[LaunchOrder]) -> Figures:
    """Launch through the executor, wait until all run, forget them all."""
    client = Client(from_kubeconfig(cluster.kubeconfig))
    region_dir = Path(tempfile.mkdtemp(prefix="nordan-bench-"))
    tuning = Tuning(patience=Patience(LIMIT_S, LIMIT_S, LIMIT_S), sweep_s=LIMIT_S, threads=THREADS)
    executor = KubernetesExecutor(
        region_dir, SystemClock(), cluster=client, settings=pod_settings(namespace), tuning=tuning
    )
    try:
        executor.adopt()
        folders = [executor.prepare(order) for order in wanted]
        before, clock = client.requests, SystemClock()
        started_s, cpu_s, servers_s = time.monotonic(), time.process_time(), cpu_of(cluster)
        asked_s = []
        for order, folder in zip(wanted, folders, strict=True):
            asked_s.append(clock.monotonic())
            executor.launch(order, folder, clock.monotonic() + 3600.0)
        # As a supervisor does: each attempt once a second.
        waits_s = [0.0] * len(wanted)
        left = set(range(len(wanted)))
        while left and time.monotonic() < started_s + LIMIT_S:
            for number in tuple(left):
                rank = executor.poll(AttemptId(wanted[number].attempt_id)).ranks[0]
                if rank.started_at_s is not None:
                    waits_s[number] = rank.started_at_s - asked_s[number]
                    left.discard(number)
            time.sleep(1.0 if left else 0.0)
        wall_s, cpu_s = max(map(sum, zip(asked_s, waits_s, strict=True))) - asked_s[0], time.process_time() - cpu_s
        servers_s = {name: seconds - servers_s[name] for name, seconds in cpu_of(cluster).items()}
        for order in wanted:
            executor.stop(AttemptId(order.attempt_id), 0.0)
        for order in wanted:
            executor.forget(AttemptId(order.attempt_id))
        return Figures("executor", len(wanted), wall_s, tuple(waits_s), client.requests - before, cpu_s, servers_s)
    finally:
        executor.close()
        shutil.rmtree(region_dir, ignore_errors=True)


def by_scheduler(cluster: Cluster, namespace: str, wanted: list[LaunchOrder]) -> Figures:
    """Create the same pods for kube-scheduler."""

    def scheduled(pod: Object) -> None:
        pod["spec"]["schedulerName"] = "default-scheduler"
        pod["spec"]["tolerations"] = [{"operator": "Exists"}]

    return _by_creation("scheduler", cluster, namespace, wanted, scheduled)


def by_node_name(cluster: Cluster, namespace: str, wanted: list[LaunchOrder]) -> Figures:
    """Create the same pods with their nodes."""

    def placed(pod: Object) -> None:
        pod["spec"]["nodeName"] = pod["metadata"]["annotations"][names.ANNOTATION_NODE]

    return _by_creation("nodeName", cluster, namespace, wanted, placed)


def _by_creation(
    way: str, cluster: Cluster, namespace: str, wanted: list[LaunchOrder], change: Callable[[Object], None]
) -> Figures:
    with _watched(cluster, namespace) as (client, pods):
        before = client.requests
        started_s, cpu_s, servers_s = time.monotonic(), time.process_time(), cpu_of(cluster)
        asked_s: dict[str, float] = {}

        def create(order: LaunchOrder) -> None:
            pod = manifests.pod(order, order.ranks[0], pod_settings(namespace), PodTicket("0" * 64))
            change(pod)
            asked_s[pod["metadata"]["name"]] = time.monotonic()
            client.post(f"/api/v1/namespaces/{namespace}/pods", pod)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(create, wanted))
        waits_s: dict[str, float] = {}
        while len(waits_s) < len(wanted) and time.monotonic() < started_s + LIMIT_S:
            for view in pods.all():
                if view.is_running and view.name not in waits_s:
                    waits_s[view.name] = time.monotonic() - asked_s[view.name]
            time.sleep(0.05)
        wall_s, cpu_s = time.monotonic() - started_s, time.process_time() - cpu_s
        servers_s = {name: seconds - servers_s[name] for name, seconds in cpu_of(cluster).items()}
        return Figures(way, len(wanted), wall_s, tuple(waits_s.values()), client.requests - before, cpu_s, servers_s)


@contextmanager
def _watched(cluster: Cluster, namespace: str) -> Iterator[tuple[Client, Pods]]:
    client = Client(from_kubeconfig(cluster.kubeconfig))
    pods = Pods(time.monotonic, lambda _: None)
    watch = Watch(client, f"/api/v1/namespaces/{namespace}/pods", pods)
    watch.start()
    pods.is_listed.wait(LIMIT_S)
    try:
        yield client, pods
    finally:
        watch.stop()
        client.close()


def cpu_of(cluster: Cluster) -> dict[str, float]:
    """Return the CPU seconds that the cluster's processes have used so far."""
    plane, found = cluster.plane, {}
    for daemon in (plane.etcd, plane.api_server, *plane.others.values()):
        fields = Path(f"/proc/{daemon.pid}/stat").read_text().rsplit(")", 1)[1].split()
        found[daemon.name] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def orders(count: int, nodes: list[str]) -> list[LaunchOrder]:
    """Return orders of one GPU each, spread over the nodes."""
    made = []
    for number in range(count):
        order = launch_order(["sleep", "3600"])
        rank = order.ranks[0].model_copy(update={"node": nodes[number % len(nodes)]})
        made.append(order.model_copy(update={"ranks": (rank,)}))
    return made


def pod_settings(namespace: str) -> PodSettings:
    """Return what every pod has."""
    return PodSettings(
        namespace=namespace,
        region=REGION,
        territory=TERRITORY,
        agent_image="localhost/nordan:bench",
        gateway_url="http://gateway",
        job_image="localhost/job:bench",
    )


if __name__ == "__main__":
    main()
