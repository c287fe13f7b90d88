"""With the rules in force a cluster does its own work: controllers make pods, the scheduler binds, garbage goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from nordan_core.domain.ids import AttemptId
from nordan_workers.executors.kubernetes import manifests, names
from nordan_workers.executors.kubernetes.manifests import PodSettings
from support import border_objects
from support.attempts import launch_order
from support.border_objects import FACTS as BORDER
from support.kube.cluster import Cluster
from support.rules import rules

FACTS = replace(BORDER, jobs_namespace="lively-jobs", region_namespace="lively-region")
PLAYED = {"key": "kwok.x-k8s.io/node", "operator": "Exists"}
SETTINGS = PodSettings(FACTS.jobs_namespace, FACTS.region, FACTS.territory, "registry.fr.example/nordan:1", "http://g")


@pytest.fixture(scope="module")
def cluster(kube_control: Cluster) -> Iterator[Cluster]:
    """Yield a cluster with the rules and one verified node, which KWOK plays."""
    nodes = kube_control.add_fake_nodes(1, prefix="lively", labels={names.NODE_TERRITORY: FACTS.territory})
    try:
        with rules(kube_control, FACTS):
            yield kube_control
    finally:
        kube_control.remove_nodes(nodes)


def test_a_tenants_lawful_deployment_runs_behind_its_service(cluster: Cluster) -> None:
    with cluster.namespace(labels={"nordan.eu/territory": FACTS.territory}) as namespace:
        cluster.post(f"/apis/apps/v1/namespaces/{namespace}/deployments", _deployment())
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "w"}}
        spec = {"selector": {"app": "w"}, "ports": [{"port": 80}]}
        cluster.post(f"/api/v1/namespaces/{namespace}/services", {**service, "spec": spec})
        cluster.wait_for(
            "two pods run",
            lambda: (
                [one["status"].get("phase") for one in _items(cluster, f"/api/v1/namespaces/{namespace}/pods")]
                == ["Running"] * 2
            ),
            timeout_s=90,
        )
        slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        cluster.wait_for(
            "controllers wrote the endpoints",
            lambda: any(one.get("endpoints") for one in _items(cluster, slices)),
            timeout_s=60,
        )


def test_a_namespace_and_all_in_it_can_be_deleted(cluster: Cluster) -> None:
    with cluster.namespace(labels={"nordan.eu/territory": FACTS.territory}) as namespace:
        cluster.post(f"/apis/apps/v1/namespaces/{namespace}/deployments", _deployment())
    cluster.wait_for(
        "the namespace is gone",
        lambda: namespace not in {one["metadata"]["name"] for one in _items(cluster, "/api/v1/namespaces")},
        timeout_s=90,
    )


def test_the_way_between_a_gangs_ranks_goes_with_their_service(cluster: Cluster) -> None:
    order = launch_order(ranks=2)
    name = names.service_name(AttemptId(order.attempt_id))
    services = f"/api/v1/namespaces/{SETTINGS.namespace}/services"
    policies = f"/apis/networking.k8s.io/v1/namespaces/{SETTINGS.namespace}/networkpolicies"
    made = cluster.post(services, manifests.service(order, SETTINGS))
    cluster.post(policies, manifests.network_policy(order, SETTINGS, made["metadata"]["uid"]))
    cluster.delete(f"{services}/{name}")
    cluster.wait_for(
        "the network policy is gone",
        lambda: name not in {one["metadata"]["name"] for one in _items(cluster, policies)},
        timeout_s=90,
    )


def _deployment() -> dict[str, Any]:
    pod = border_objects.pod(tolerations=[PLAYED], restartPolicy="Always")
    template = {"metadata": {"labels": {"app": "w"}}, "spec": pod["spec"]}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "w"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w"}, "spec": spec}


def _items(cluster: Cluster, path: str) -> list[dict[str, Any]]:
    return list(cluster.get(path)["items"])
