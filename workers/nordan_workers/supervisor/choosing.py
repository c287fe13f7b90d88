"""Which executor the region's settings ask for, built from them. Called once, at the supervisor's start."""

from __future__ import annotations

from dataclasses import dataclass

from nordan_core.clock import Clock
from nordan_core.domain.errors import OperatorError
from nordan_core.settings import RegionSettings
from nordan_workers.cluster.breaches import Place
from nordan_workers.cluster.guard import Guard
from nordan_workers.cluster.hands import ClusterHands
from nordan_workers.cluster.inventory import Scope
from nordan_workers.cluster.watching import NodeWatch
from nordan_workers.executors.base import Executor
from nordan_workers.executors.kubernetes.client import Cluster
from nordan_workers.executors.kubernetes.config import Connection, from_account, from_kubeconfig
from nordan_workers.executors.kubernetes.executor import KubernetesExecutor
from nordan_workers.executors.kubernetes.manifests import PodSettings
from nordan_workers.executors.kubernetes.watch import Audience
from nordan_workers.executors.local import LocalExecutor
from nordan_workers.executors.uids import UidRange
from nordan_workers.faults import NO_FAULTS, Faults
from nordan_workers.joining import Joined
from nordan_workers.supervisor.sync import NodeSource


@dataclass(frozen=True, slots=True)
class Chosen:
    """An executor with what stands beside it."""

    executor: Executor
    nodes: NodeSource | None = None
    """Who knows the nodes of its cluster."""
    guard: Guard | None = None
    """Who stops what becomes unlawful in its cluster."""


def choose_executor(settings: RegionSettings, joined: Joined, clock: Clock, faults: Faults = NO_FAULTS) -> Chosen:
    """Return the executor, which has begun to look at what an earlier one left.

    Raises:
        OperatorError: a setting is missing or wrong; says which.
    """
    if settings.executor == "local":
        uid_range = UidRange.parse(settings.uid_range) if settings.uid_range else None
        return Chosen(LocalExecutor(settings.region_dir, clock, uid_range=uid_range, job_path=settings.job_path))
    cluster = Cluster(cluster_connection(settings))
    of_pods = pod_settings(settings, joined)
    place = Place(joined.region, joined.territory, of_pods.namespace)
    guard = Guard(place, ClusterHands(cluster, of_pods.namespace), gpu_resource=of_pods.gpu_resource)
    scope = Scope(joined.region, joined.territory, of_pods.namespace, of_pods.gpu_resource)
    nodes = NodeWatch(cluster, scope, clock, also=(guard.others,))
    audience = Audience(pods=(*nodes.audience.pods, guard.jobs), nodes=(*nodes.audience.nodes, guard.nodes))
    executor = KubernetesExecutor(
        settings.region_dir, clock, cluster=cluster, settings=of_pods, audience=audience, faults=faults
    )
    return Chosen(executor, nodes, guard)


def cluster_connection(settings: RegionSettings) -> Connection:
    """Return how to reach the region's cluster.

    Raises:
        OperatorError: there is no kubeconfig and no pod's account, or it is not usable.
    """
    if settings.kubeconfig is not None:
        return from_kubeconfig(settings.kubeconfig)
    return from_account(settings.kubernetes_service_host, settings.kubernetes_service_port)


def pod_settings(settings: RegionSettings, joined: Joined) -> PodSettings:
    """Return what the region decides about every pod.

    Raises:
        OperatorError: names the setting that is missing.
    """
    for name in ("agent_image", "pod_gateway_url"):
        if not getattr(settings, name):
            raise OperatorError(f"NORDAN_EXECUTOR is kubernetes, so NORDAN_{name.upper()} must be set")
    if not joined.territory:
        raise OperatorError("the join file names no territory; make a new one with: nordan admin regions join")
    return PodSettings(
        namespace=settings.jobs_namespace,
        region=joined.region,
        territory=joined.territory,
        agent_image=settings.agent_image,
        gateway_url=settings.pod_gateway_url.rstrip("/"),
        job_image=settings.job_image,
        gpu_resource=settings.gpu_resource,
        uid=settings.pod_uid,
        pull_secret=settings.pull_secret,
    )
