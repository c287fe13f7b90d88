"""A whole Nordan over clusters with real nodes: a control plane on this machine, and beside each cluster its region.

PostgreSQL, api and schedulers are those of `nordan up`; each region has a broker, a Celery worker, a supervisor and a
gateway of its own. The rules of enforcement are in force in each cluster, and a region has no more rights there than an
installation gives. Clients are the command line, as a person has it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from nordan_core.identifiers import new_id
from nordan_workers.cluster.facts import ClusterFacts
from nordan_workers.executors.kubernetes import names
from support.chaos_stack import ChaosStack, Invoker
from support.kube.cluster import Object
from support.kube.control_plane import free_ports
from support.kube.job_pods import IMAGE
from support.kube.node_cluster import NodeCluster, open_door
from support.kube_region import KubeRegion, wait_for_nodes, world
from support.rules import rules
from support.tenants import Json, Tenant, add_key, client_of

GPUS_PER_NODE = 2
COMMAND_S = 60.0
ENDED = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a region is to stand."""

    cluster: NodeCluster
    code: str
    territory: str
    nodes: int
    price: float = 1.0

    @property
    def pool(self) -> str:
        """The name of its one pool."""
        return f"{self.code}-h100"

    @property
    def facts(self) -> ClusterFacts:
        """What the rules of its cluster are made from."""
        return ClusterFacts(
            region=self.code,
            territory=self.territory,
            pools=(self.pool,),
            registries=("localhost/",),
            jobs_namespace=f"jobs-{self.code}",
            region_namespace=f"region-{self.code}",
        )


class Way:
    """The region's way to its API server: a carrier between both that can be cut with all that it carries."""

    def __init__(self, cluster: NodeCluster, token: str, log: Path) -> None:
        place = cluster.plane.place
        listen = ("-", "127.0.0.1", free_ports(1)[0])
        self._door, self.port = open_door(log, listen, (cluster.netns, place.host, place.api_port))
        url = f"https://127.0.0.1:{self.port}"
        self.kubeconfig = cluster.access.write_kubeconfig("region", {"token": token}, url=url)

    def cut(self) -> None:
        """Break every connection; new ones find the way again."""
        self._door.kill()
        self._door.start()
        self._door.wait_until(self._is_open, timeout_s=20)

    def close(self) -> None:
        """Carry nothing any more."""
        self._door.kill()

    def _is_open(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0):
            return True
        return False


@dataclass(frozen=True, slots=True)
class Site:
    """A region that runs."""

    ground: Ground
    region: KubeRegion
    way: Way

    @property
    def namespace(self) -> str:
        """Where its jobs' pods live."""
        return self.ground.facts.jobs_namespace

    @property
    def cluster(self) -> NodeCluster:
        """The region's cluster."""
        return self.ground.cluster

    def pods(self) -> list[Object]:
        """Return the pods in the namespace of its jobs."""
        items: list[Object] = self.cluster.get(f"/api/v1/namespaces/{self.namespace}/pods")["items"]
        return items

    def left(self) -> list[str]:
        """Return what the region and its cluster keep of attempts: nothing, once all are over and told."""
        patterns = ("records/grt_*", "attempts/att_*", "work/att_*")
        files = [path for pattern in patterns for path in self.region.folder.glob(pattern)]
        services = self.cluster.get(f"/api/v1/namespaces/{self.namespace}/services")["items"]
        objects = [one["metadata"]["name"] for one in (*self.pods(), *services)]
        return [*(str(path.relative_to(self.region.folder)) for path in files), *objects]


@dataclass(frozen=True, slots=True)
class Said:
    """How a command of the command line ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:  # Any: JSON
        """The output read as JSON."""
        assert self.code == 0, self.err
        return json.loads(self.out)


class PatientTenant(Tenant):
    """Asks again what a busy machine's api has no time for; nothing is done twice."""

    __slots__ = ()

    def ask(self, method: str, path: str, *, expect: int | None = None, **options: Any) -> httpx.Response:
        """Keep `Tenant.ask`."""
        if method == "POST" and path == "/jobs":
            options["headers"] = {"Idempotency-Key": new_id("idk"), **options.get("headers", {})}
        give_up_s = time.monotonic() + COMMAND_S
        while True:
            answer = super().ask(method, path, **options)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > give_up_s:
                break
            time.sleep(0.5)
        assert expect in (None, answer.status_code), f"{method} {path}: {answer.status_code} {answer.text}"
        return answer


@dataclass(frozen=True, slots=True)
class KubeStack:
    """A control plane with its regions, and a person in France who owns the project."""

    stack: ChaosStack
    owner: Tenant
    sites: dict[str, Site]

    def nordan(self, *words: str, typed: str = "") -> Said:
        """Run the command line and wait for its end."""
        done = subprocess.run(
            self._words(words),
            env=self._environment(),
            cwd=self.stack.home,
            input=typed,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def following(self, *words: str) -> Iterator[Path]:
        """Run the command line beside the block; yields the file that gets its output."""
        shown = self.stack.home / f"shown-{time.monotonic_ns()}"
        with shown.open("wb") as file:
            process = subprocess.Popen(
                self._words(words),
                env=self._environment(),
                cwd=self.stack.home,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.DEVNULL,
            )
        try:
            yield shown
            process.wait(COMMAND_S)
        finally:
            process.kill()
            process.wait()

    def submit(self, document: Json) -> str:
        """Submit a job document from a file and return the job's id."""
        path = self.stack.home / "job.json"
        path.write_text(json.dumps({"image": IMAGE, **document}))
        job: str = self.nordan("submit", "-f", str(path), "-o", "json").data["id"]
        return job

    def job(self, job: str) -> Json:
        """Return a job as `nordan get` tells of it."""
        found: Json = self.nordan("get", job, "-o", "json").data
        return found

    def wait(self, job: str, what: str, is_so: Callable[[Json], object], within_s: float = 90.0) -> Json:
        """Wait until something holds for a job; fail with all that is known when it does not, or the job has ended."""
        give_up_s = time.monotonic() + within_s
        while not is_so(found := self.owner.job(job)):
            if time.monotonic() > give_up_s or found["state"] in ENDED:
                raise AssertionError(f"it did not come to be: {what}\n{self.trouble(job)}")
            time.sleep(0.2)
        return found

    def running(self, job: str, number: int = 1, within_s: float = 90.0) -> Json:
        """Wait until an attempt of a job runs; return the attempt."""

        def runs(found: Json) -> bool:
            last = _last(found)
            return bool(last) and (last["number"], last["state"]) == (number, "running")

        return _last(self.wait(job, f"attempt {number} runs", runs, within_s))

    def ends(self, job: str, within_s: float = 120.0) -> Json:
        """Wait until a job has ended; return it."""
        return self.wait(job, "its end", lambda found: found["state"] in ENDED, within_s)

    def wait_until_nothing_is_left(self, within_s: float = 60.0) -> None:
        """Wait until no region keeps anything of an attempt, and no cluster a pod."""
        give_up_s = time.monotonic() + within_s
        while left := [one for site in self.sites.values() for one in site.left()]:
            assert time.monotonic() < give_up_s, f"left after {within_s:.0f} s: {left}"
            time.sleep(0.2)

    def trouble(self, job: str) -> str:
        """Return what is known of a job, its pods and the processes' last words."""
        told = [self.nordan("get", job).out, self.stack.trouble()]
        for site in self.sites.values():
            told += [f"--- {site.ground.code}", site.region.log("supervisor")[-2000:]]
            told += [site.cluster.try_kubectl("get", "pods", "-n", site.namespace, "-o", "wide").stdout]
            told += [site.cluster.try_kubectl("get", "events", "-n", site.namespace).stdout[-1500:]]
        return "\n".join(told)

    def _words(self, words: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "nordan_cli", *words]

    def _environment(self) -> dict[str, str]:
        known = {"NORDAN_URL": self.stack.url, "NORDAN_KEY": self.owner.key, "NORDAN_PROJECT": self.stack.project}
        kept = {name: value for name, value in os.environ.items() if name == "PATH"}
        return {**kept, **known, "HOME": str(self.stack.home), "NORDAN_CONFIG": "/nonexistent", "COLUMNS": "200"}


@contextmanager
def kube_stack(archive: Path, *grounds: Ground) -> Iterator[KubeStack]:
    """Start everything; at the end nothing of it may be left running, and the clusters are as they were."""
    with ExitStack() as parts:
        home = Path(tempfile.mkdtemp(prefix="nk-", dir="/tmp"))
        parts.callback(shutil.rmtree, home, ignore_errors=True)
        # Services run under other users, who pass through to their folders.
        home.chmod(0o711)
        stack = ChaosStack(home, Invoker(world=_world(home, grounds)))
        parts.callback(stack.stop)
        stack.start()
        sites = {one.code: parts.enter_context(_site(stack, one, archive)) for one in grounds}
        http = parts.enter_context(client_of(stack.url))
        admin = PatientTenant(http, stack.key, stack.project)
        yield KubeStack(stack, PatientTenant(http, add_key(admin, "home", "owner"), stack.project), sites)


def _world(home: Path, grounds: Sequence[Ground]) -> Path:
    documents: list[Json] = [{"kind": "ControlPlane", "territory": "FR", "operator": "home"}]
    for one in grounds:
        made = world(
            one.code, one.pool, nodes=None, gpus_per_node=GPUS_PER_NODE, territory=one.territory, price=one.price
        )
        documents += [each for each in made if each not in documents]
    path = home / "world.yaml"
    path.write_text("\n---\n".join(map(json.dumps, documents)))
    path.chmod(0o644)
    return path


@contextmanager
def _site(stack: ChaosStack, ground: Ground, archive: Path) -> Iterator[Site]:
    cluster = ground.cluster
    with ExitStack() as parts:
        if ground.nodes > 1:
            cluster.second_node()
        cluster.import_image(archive)
        parts.enter_context(_marked(ground))
        facts = ground.facts
        parts.enter_context(rules(cluster, facts))
        token = cluster.service_account_token(facts.region_namespace, "nordan-region")
        way = Way(cluster, token, stack.home / f"way-{ground.code}.log")
        parts.callback(way.close)
        region = KubeRegion(
            stack.home / ground.code,
            ground.code,
            way.kubeconfig,
            agent_image=IMAGE,
            job_image=IMAGE,
            jobs_namespace=facts.jobs_namespace,
        )
        region.set(pod_gateway_url=f"http://{cluster.expose(region.gateway_port)}")
        region.join(stack.url, stack.key)
        parts.callback(region.stop)
        region.start()
        wait_for_nodes(stack.url, stack.key, ground.pool, ground.nodes)
        yield Site(ground, region, way)


@contextmanager
def _marked(ground: Ground) -> Iterator[None]:
    """Make the cluster's first nodes those of the pool, with GPUs that they do not have."""
    labels = {names.NODE_TERRITORY: ground.territory, names.NODE_REGION: ground.code, names.NODE_POOL: ground.pool}
    nodes = ground.cluster.node_names[: ground.nodes]
    for node in nodes:
        ground.cluster.give_gpus(node, GPUS_PER_NODE)
        ground.cluster.patch(f"/api/v1/nodes/{node}", {"metadata": {"labels": labels}})
    try:
        yield
    finally:
        for node in nodes:
            ground.cluster.patch(f"/api/v1/nodes/{node}", {"metadata": {"labels": dict.fromkeys(labels)}})


def _last(found: Json) -> Json:
    return max(found["attempts"], key=lambda one: one["number"], default={})
