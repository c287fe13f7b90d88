"""The same one-GPU pods on one API server: through kube-scheduler alone, and as jobs through Nordan.

    python benchmarks/side_by_side.py [--jobs 1000] [--nodes 500] [--single 40] [--limits raised|default] [--batch 50]

Nodes are KWOK's: the API server, etcd and the controllers are real, kubelets are played. Everything shares the
machine's cores. What is measured is from the first request to the last pod that is Running, seen by one watch. Jobs
are submitted in batches (`jobs:batchCreate`; `--batch 1` sends a request for each). Then one job at a time on the idle
stack, and how many requests of ours the API server counted for each job. With KUEUE_BIN and KUEUE_CRDS (a kueue binary
and its CRDs) Jobs go through Kueue as well, on the same nodes.

`make kube` builds the cluster's programs. Targets: Nordan at least as fast as kube-scheduler alone, one job on an
idle cluster from submission to Running p95 under 400 ms, at most 6 requests for each job.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cpu
import httpx
import kueue
import load
import paths  # noqa: F401  # makes `support` importable
import stack

from nordan_workers.executors.kubernetes import names
from support.kube.cluster import Cluster
from support.kube.fixtures import start_control
from support.kube_region import KubeRegion, wait_for_nodes, world

REGION, POOL, JOBS_NAMESPACE = "fr-kwk-1", "fr-kwk-1-h100", "nordan-jobs"
CLIENTS = 16
#: Clients that send batches: each request is work for a thread of the api.
BATCHERS = 2
#: What the API server counts for us alone: KWOK and the controllers do none of these to pods.
OURS = (("POST", "pods", ""), ("POST", "pods", "binding"), ("DELETE", "pods", ""), ("GET", "pods", ""))
PATIENCE_S = 300.0
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """How long it took until every pod was Running."""

    name: str
    pods: int
    wall_s: float
    waits_s: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Return pods per second."""
        return self.pods / self.wall_s

    def line(self) -> str:
        """Return the run as one line."""
        p50 = statistics.median(self.waits_s)
        told = f"{self.pods} pods in {self.wall_s:.1f} s, half of them within {p50:.1f} s"
        return f"{self.name}: {self.rate:.1f} pods Running/s, {told}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--single", type=int, default=40)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--limits", choices=("raised", "default"), default="raised")
    arguments = parser.parse_args()
    with ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="nordan-bench-", dir="/tmp")))
        cluster = start_control(folder)
        parts.callback(cluster.stop)
        if arguments.limits == "default":
            _default_limits(cluster)
        _say(f"{arguments.nodes} nodes of 8 GPUs, {arguments.limits} client limits")
        _mark(cluster, cluster.add_fake_nodes(arguments.nodes, labels=_labels()))
        alone = _kube_scheduler(cluster, arguments.jobs)
        print(alone.line(), flush=True)
        if (peer := kueue.Kueue.found()) is not None:
            print(_kueue(cluster, peer, folder, arguments).line(), flush=True)
        region = parts.enter_context(_nordan(cluster, folder))
        nordan, requests = _through_nordan(cluster, region, arguments.jobs, arguments.batch)
        print(nordan.line())
        print(f"Nordan / kube-scheduler alone: {nordan.rate / alone.rate:.2f}")
        print(f"requests of ours for each job: {requests:.1f}; target 6: {'met' if requests <= 6 else 'MISSED'}")
        _print_singles(_one_at_a_time(cluster, region, arguments.single))


def _mark(cluster: Cluster, nodes: list[str]) -> None:
    """Give the nodes their pool's taint in place of KWOK's, which no pod of a job would tolerate."""
    taint = {"key": names.TAINT_POOL, "value": POOL, "effect": "NoSchedule"}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda node: cluster.patch(f"/api/v1/nodes/{node}", {"spec": {"taints": [taint]}}), nodes))


def _kube_scheduler(cluster: Cluster, count: int) -> Run:
    """Create bare pods as fast as the API server takes them and let kube-scheduler place them."""
    with cluster.namespace(prefix="alone") as namespace, _Watch(cluster, namespace) as watch:
        started, used = time.monotonic(), cpu.seconds(os.getpid())
        asyncio.run(_create(cluster, f"/api/v1/namespaces/{namespace}/pods", [_pod(number) for number in range(count)]))
        run = watch.run("kube-scheduler alone", count, started)
        _say(cpu.table(used, cpu.seconds(os.getpid()), count))
        _remove(cluster, watch, f"/api/v1/namespaces/{namespace}/pods")
        return run


def _kueue(cluster: Cluster, peer: kueue.Kueue, folder: Path, arguments: argparse.Namespace) -> Run:
    """Create Jobs as fast as the API server takes them; Kueue admits them, and the rest is Kubernetes' own."""
    count, gpus = arguments.jobs, 8 * arguments.nodes
    manager = peer.start(cluster, folder / "kueue", qps=50 if arguments.limits == "default" else 1000)
    try:
        with cluster.namespace(prefix="kueue") as namespace, _Watch(cluster, namespace) as watch:
            quota = {"cpu": str(gpus), "memory": f"{gpus}Gi", "nvidia.com/gpu": str(gpus)}
            kueue.make_queue(cluster, namespace, quota, _labels())
            started = time.monotonic()
            jobs = [kueue.job(number, _pod(number)) for number in range(count)]
            asyncio.run(_create(cluster, f"/apis/batch/v1/namespaces/{namespace}/jobs", jobs))
            run = watch.run("Kueue", count, started)
            _remove(
                cluster, watch, f"/apis/batch/v1/namespaces/{namespace}/jobs", f"/api/v1/namespaces/{namespace}/pods"
            )
            return run
    except BaseException:
        print(manager.log_end())
        raise
    finally:
        manager.kill()


def _remove(cluster: Cluster, watch: _Watch, *collections: str) -> None:
    """Delete all of these and wait until no pod is left; the API server takes one after another, so it may last."""
    with cluster.client() as http:
        for path in collections:
            query = {"propagationPolicy": "Background", "gracePeriodSeconds": "0"}
            http.delete(path, params=query, timeout=PATIENCE_S).raise_for_status()
    cluster.wait_for("the pods are gone", lambda: not watch.alive, timeout_s=PATIENCE_S)


async def _create(cluster: Cluster, path: str, documents: Sequence[Object]) -> None:
    waiting = list(reversed(documents))
    async with httpx.AsyncClient(
        base_url=cluster.url,
        headers={"Authorization": f"Bearer {cluster.token()}"},
        verify=str(cluster.access.ca_file),
        trust_env=False,
        timeout=60,
    ) as http:

        async def client() -> None:
            while waiting:
                answer = await http.post(path, json=waiting.pop())
                answer.raise_for_status()

        await asyncio.gather(*(client() for _ in range(CLIENTS)))


def _pod(number: int) -> Object:
    amounts = {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "1"}
    container = {"name": "job", "image": "work", "resources": {"requests": amounts, "limits": amounts}}
    spec = {
        "containers": [container],
        "nodeSelector": _labels(),
        "tolerations": [{"operator": "Exists"}],
        "restartPolicy": "Never",
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"pod-{number}"}, "spec": spec}


class _Region:
    """A stack and its region: where to submit."""

    def __init__(self, running: stack.Stack) -> None:
        self.running = running
        self.url = f"{running.url}/v1/projects/{running.project}/jobs"
        headers = {"Authorization": f"Bearer {running.key}"}
        self.http = httpx.Client(headers=headers, trust_env=False, timeout=60)


@contextmanager
def _nordan(cluster: Cluster, folder: Path) -> Iterator[_Region]:
    """Run a whole control plane and a region of this cluster beside it."""
    description = folder / "world.yaml"
    description.write_text(
        "\n---\n".join(json.dumps(one) for one in [*_control_plane(), *world(REGION, POOL, nodes=None)])
    )
    description.chmod(0o644)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": JOBS_NAMESPACE}}
    cluster.ensure("/api/v1/namespaces", namespace)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    cluster.ensure(f"/api/v1/namespaces/{JOBS_NAMESPACE}/serviceaccounts", account)
    with stack.fresh_stack("--world", str(description)) as running:
        region = KubeRegion(
            folder / "region", REGION, cluster.kubeconfig, job_image="work", jobs_namespace=JOBS_NAMESPACE
        )
        region.join(running.url, running.key)
        region.start()
        try:
            known_s = wait_for_nodes(running.url, running.key, POOL, len(cluster.ready_nodes()))
            _say(f"the control plane knows the cluster's nodes after {known_s:.1f} s")
            yield _Region(running)
        finally:
            region.stop()


def _control_plane() -> list[Object]:
    return [{"kind": "ControlPlane", "territory": "FR", "operator": "home"}]


def _through_nordan(cluster: Cluster, region: _Region, count: int, batch: int) -> tuple[Run, float]:
    """Submit jobs, wait until their pods run, cancel them, and count the requests that this took."""
    before = _counted(cluster)
    with _Watch(cluster, JOBS_NAMESPACE) as watch:
        started, used = time.monotonic(), cpu.seconds(os.getpid())
        jobs = _submit(region, count, batch)
        run = watch.run("Nordan", count, started)
        _say(cpu.table(used, cpu.seconds(os.getpid()), count))
        for job in jobs:
            region.http.post(f"{region.url}/{job}:cancel", json={"grace_s": 0}).raise_for_status()
        cluster.wait_for("the pods are gone", lambda: not watch.alive, timeout_s=PATIENCE_S)
    return run, (_counted(cluster) - before) / count


def _submit(region: _Region, count: int, batch: int) -> list[str]:
    """Submit so many jobs in requests of up to `batch` each, and return their ids."""
    if batch == 1:
        answered = load.run(region.url, region.running.key, [_job()] * count, clients=CLIENTS)
        _say(f"submitted: {answered.line()}")
        return [str(job["id"]) for job in answered.answers]
    sizes = [min(batch, count - start) for start in range(0, count, batch)]
    bodies = [b'{"jobs": [' + b", ".join([_job()] * size) + b"]}" for size in sizes]
    answered = load.run(f"{region.url}:batchCreate", region.running.key, bodies, clients=BATCHERS)
    _say(f"submitted in batches of {batch}: {answered.line()}")
    items = [one for answer in answered.answers for one in _items(answer)]
    return [str(one["job"]["id"]) for one in items]


def _items(answer: Object) -> list[Object]:
    items: list[Object] = answer["items"]
    return items


def _one_at_a_time(cluster: Cluster, region: _Region, count: int) -> list[float]:
    waits = []
    with _Watch(cluster, JOBS_NAMESPACE) as watch:
        for _ in range(count):
            known, started = len(watch.running_at), time.monotonic()
            job = region.http.post(region.url, content=_job()).json()["id"]
            watch.wait(known + 1)
            waits.append(max(watch.running_at.values()) - started)
            region.http.post(f"{region.url}/{job}:cancel", json={"grace_s": 0}).raise_for_status()
            cluster.wait_for("the pod is gone", lambda: not watch.alive, timeout_s=60)
    return sorted(waits)


def _print_singles(waits: list[float]) -> None:
    if not waits:
        return
    p95 = waits[int(len(waits) * 0.95)]
    print(f"one job on an idle cluster, submit to Running: p50 {statistics.median(waits) * 1000:.0f} ms, ", end="")
    print(f"p95 {p95 * 1000:.0f} ms over {len(waits)}; target 400 ms: {'met' if p95 < 0.4 else 'MISSED'}")


def _job() -> bytes:
    document = {
        "name": "bench",
        "command": ["sleep", "600"],
        "resources": {"gpu": 1},
        "image": "work",
        "max_duration": "1h",
    }
    return json.dumps(document).encode()


def _labels() -> dict[str, str]:
    return {names.NODE_TERRITORY: "FR", names.NODE_REGION: REGION, names.NODE_POOL: POOL}


class _Watch:
    """Notes when each pod of a namespace was first seen Running, and which are there."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._http = cluster.client()
        self._stopping = False
        self.running_at: dict[str, float] = {}
        self.alive: set[str] = set()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._thread.join(5)

    def wait(self, count: int) -> None:
        """Wait until so many pods have been Running."""
        give_up = time.monotonic() + PATIENCE_S
        while len(self.running_at) < count:
            if time.monotonic() > give_up:
                raise SystemExit(f"only {len(self.running_at)} of {count} pods were Running after {PATIENCE_S:.0f} s")
            time.sleep(0.002)

    def run(self, name: str, count: int, started: float) -> Run:
        """Wait for all of them and return the run."""
        self.wait(count)
        waits = tuple(at - started for at in self.running_at.values())
        return Run(name, count, max(waits), waits)

    def _follow(self) -> None:
        version = "0"
        while not self._stopping:
            try:
                version = self._stream(version)
            except httpx.HTTPError:
                time.sleep(0.05)

    def _stream(self, version: str) -> str:
        query = {"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true", "timeoutSeconds": "2"}
        with self._http.stream("GET", self._path, params=query, timeout=10) as answer:
            for line in answer.iter_lines():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return "0"
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self._note(event["type"], event["object"])
        return version

    def _note(self, kind: str, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        if kind == "DELETED":
            self.alive.discard(uid)
            return
        self.alive.add(uid)
        if pod["status"].get("phase") == "Running":
            self.running_at.setdefault(uid, time.monotonic())


def _counted(cluster: Cluster) -> float:
    """Return how many requests of the kinds that only we make the API server has counted."""
    with cluster.client() as http:
        text = http.get("/metrics").text
    wanted = [f'resource="{resource}"|subresource="{sub}"|verb="{verb}"'.split("|") for verb, resource, sub in OURS]
    lines = (line for line in text.splitlines() if line.startswith("apiserver_request_total{"))
    return sum(
        float(line.rsplit(" ", 1)[1]) for line in lines if any(all(part in line for part in one) for one in wanted)
    )


def _default_limits(cluster: Cluster) -> None:
    """Start the scheduler again with the limits that it has by default: 50 requests a second, 100 in a burst."""
    cluster.plane.others.pop("kube-scheduler").kill()
    common = ["--leader-elect=false", "--bind-address=127.0.0.1", "--secure-port=0"]
    cluster.plane.add("kube-scheduler", [f"--kubeconfig={cluster.plane.inner_kubeconfig('scheduler')}", *common])


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


if __name__ == "__main__":
    main()
