"""What the executor makes is lawful: with the region's rules in force, and its account's own rights and no others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nordan_core.clock import SystemClock
from nordan_core.domain.ids import AttemptId
from nordan_core.domain.jobs import JobKind
from nordan_core.domain.reasons import Reason
from nordan_core.wire import LaunchOrder
from nordan_workers.cluster.api import HttpCluster
from nordan_workers.cluster.generate import objects
from nordan_workers.cluster.install import install, remove
from nordan_workers.cluster.probes import wait_until_met
from nordan_workers.executors.base import RankState
from nordan_workers.executors.kubernetes.executor import KubernetesExecutor
from support.attempts import launch_order, until
from support.border_objects import FACTS
from support.kube.cluster import Cluster
from support.pod_lab import PodLab, patient
from workers.executors.contract import started

LAW = replace(FACTS, jobs_namespace="jobs-lawful", region_namespace="region-lawful", exposed=())
POOL = LAW.pools[0]


@pytest.fixture(scope="module")
def law(kube_api: Cluster) -> Iterator[Cluster]:
    for name in ("default", LAW.region_namespace, LAW.jobs_namespace):
        kube_api.ensure("/api/v1/namespaces", {"metadata": {"name": name}})
        kube_api.ensure(f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "default"}})
    with kube_api.client() as admin:
        cluster = HttpCluster(admin)
        install(cluster, LAW, objects(LAW))
        try:
            assert wait_until_met(cluster, LAW, SystemClock(), time.sleep) == ()
            yield kube_api
        finally:
            remove(cluster, LAW)
    for name in (LAW.region_namespace, LAW.jobs_namespace):
        kube_api.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
def lawful(law: Cluster, region_dir: Path) -> Iterator[PodLab]:
    lab = PodLab(law, LAW.jobs_namespace, region_dir, registry="registry.fr.example/team")
    yield lab
    lab.close()


@pytest.fixture
def executor(lawful: PodLab) -> KubernetesExecutor:
    account = lawful.cluster.service_account_kubeconfig(LAW.region_namespace, "nordan-region")
    return lawful.executor(patient(), account)


def an_order(ranks: int = 1, kind: JobKind = JobKind.BATCH) -> LaunchOrder:
    return launch_order(["sleep", "60"], ranks=ranks, kind=kind).model_copy(update={"pool": POOL})


def test_pods_services_and_bindings_of_every_kind_of_job_are_admitted(
    lawful: PodLab, executor: KubernetesExecutor
) -> None:
    executor.adopt()
    orders = [an_order(), an_order(ranks=2), an_order(kind=JobKind.INFERENCE)]
    ids = [started(executor, order) for order in orders]
    until(lambda: sum(bool(pod["spec"].get("nodeName")) for pod in lawful.pods()) == 4, "all pods are bound", 30.0)
    assert {executor.poll(one).ranks[0].state for one in ids} == {RankState.WAITING}
    assert len(lawful.cluster.get(f"/api/v1/namespaces/{lawful.namespace}/services")["items"]) == 1
    for one in ids:
        executor.stop(one, 0.0)
    lawful.until_pods(0)


def test_the_watches_need_no_other_right(executor: KubernetesExecutor) -> None:
    until(lambda: all(watch.lists for watch in executor.watches), "both lists")
    executor.sweeper.sweep()
    assert not any(watch.is_refused for watch in executor.watches)


def test_what_the_rules_refuse_ends_the_attempt_and_names_the_rule(executor: KubernetesExecutor) -> None:
    order = an_order().model_copy(update={"image": "elsewhere.example/x:1"})
    attempt_id = started(executor, order)
    until(lambda: executor.poll(AttemptId(attempt_id)).is_over, "the refusal", 20.0)
    rank = executor.poll(attempt_id).ranks[0]
    assert rank.cause is Reason.REJECTED_BY_POLICY
    assert "nordan/" in rank.message
