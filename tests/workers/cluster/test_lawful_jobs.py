"""What the executor makes is lawful: with the rules in force, and with no more rights than an installation gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from nordan_core.domain.ids import AttemptId
from nordan_core.domain.jobs import JobKind
from nordan_core.wire import LaunchOrder
from nordan_workers.executors.kubernetes import names
from nordan_workers.executors.kubernetes.binding import Binder, Refused
from nordan_workers.executors.kubernetes.client import Cluster as Client
from nordan_workers.executors.kubernetes.config import from_kubeconfig
from nordan_workers.executors.kubernetes.manifests import PodSettings, PodTicket
from support.attempts import launch_order
from support.border_objects import FACTS as BORDER
from support.kube.cluster import Cluster
from support.rules import make_namespaces, rules

FACTS = replace(BORDER, jobs_namespace="lawful-jobs", region_namespace="lawful-region", pools=("pool",))
SETTINGS = PodSettings(
    namespace=FACTS.jobs_namespace,
    region=FACTS.region,
    territory=FACTS.territory,
    agent_image="registry.fr.example/nordan:1",
    gateway_url="http://gateway:8480",
    job_image="python:3.12",
)
TICKET = PodTicket(token="ab" * 32)


@dataclass(frozen=True)
class Scene:
    """A cluster with the rules in force, and the executor's way into it."""

    cluster: Cluster
    binder: Binder

    def place(self, order: LaunchOrder) -> None:
        """Do what the executor does with an order."""
        self.binder.create_service(order)
        for rank in order.ranks:
            self.binder.create(order, rank, TICKET)
            assert self.binder.bind(names.pod_name(AttemptId(order.attempt_id), rank.rank), rank.node)


@pytest.fixture(scope="module")
def scene(kube_api: Cluster) -> Iterator[Scene]:
    """Install the rules, and wait until they are in force."""
    make_namespaces(kube_api, FACTS)
    kubeconfig = kube_api.service_account_kubeconfig(FACTS.region_namespace, "nordan-region")
    region = Client(from_kubeconfig(kubeconfig))
    with rules(kube_api, FACTS):
        yield Scene(kube_api, Binder(region, SETTINGS))
    region.close()


@pytest.mark.parametrize(
    "order",
    [
        launch_order(),
        launch_order(ranks=3, has_made_up_gpus=False),
        launch_order(kind=JobKind.INFERENCE, port=8000),
    ],
    ids=["a lone rank", "a gang", "a replica"],
)
def test_an_order_becomes_bound_pods(scene: Scene, order: LaunchOrder) -> None:
    scene.place(order)
    pods = f"/api/v1/namespaces/{SETTINGS.namespace}/pods"
    for rank in order.ranks:
        pod = scene.cluster.get(f"{pods}/{names.pod_name(AttemptId(order.attempt_id), rank.rank)}")
        assert pod["spec"]["nodeName"] == rank.node
        assert pod["metadata"]["annotations"]["nordan.eu/grant"] == order.grant_id


def test_a_gang_that_is_placed_twice_has_one_way_between_its_ranks(scene: Scene) -> None:
    order = launch_order(ranks=2)
    scene.binder.create_service(order)
    scene.binder.create_service(order)
    name = names.service_name(AttemptId(order.attempt_id))
    policies = f"/apis/networking.k8s.io/v1/namespaces/{SETTINGS.namespace}/networkpolicies"
    policy = scene.cluster.get(f"{policies}/{name}")
    service = scene.cluster.get(f"/api/v1/namespaces/{SETTINGS.namespace}/services/{name}")
    assert policy["metadata"]["ownerReferences"][0]["uid"] == service["metadata"]["uid"]


def test_an_executor_with_another_territory_is_told_the_rule(scene: Scene) -> None:
    astray = Binder(scene.binder.cluster, replace(SETTINGS, territory="SE"))
    order = launch_order()
    with pytest.raises(Refused) as refused:
        astray.create(order, order.ranks[0], TICKET)
    assert refused.value.trouble.cause == "rejected_by_policy"
    assert "nordan/territory-selector" in refused.value.trouble.message
