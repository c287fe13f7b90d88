"""What is told about a cluster's nodes, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from nordan_core.domain.places import NodeState
from nordan_core.wire import AmountsMessage, NodeMessage
from nordan_workers.cluster.inventory import Inventory
from nordan_workers.executors.kubernetes import names
from support.cluster_objects import (
    ALLOCATABLE,
    LABELS,
    POOL,
    SCOPE,
    a_container,
    a_node,
    a_pod,
    our_pod,
    taint,
)

Json = dict[str, Any]


def _told(*nodes: Json, pods: tuple[Json, ...] = ()) -> list[NodeMessage]:
    inventory = Inventory(SCOPE)
    for node in nodes:
        inventory.put_node(node)
    inventory.put_pods("all", pods)
    return list(inventory.messages())


@pytest.mark.parametrize(
    ("node", "state", "reason"),
    [
        (a_node(), NodeState.READY, ""),
        (a_node(ready="False"), NodeState.DOWN, "not ready: KubeletReady"),
        (a_node(ready="Unknown"), NodeState.DOWN, "not ready: KubeletReady"),
        (a_node(ready=None), NodeState.DOWN, "not ready"),
        (a_node(spec={"unschedulable": True}), NodeState.CORDONED, "unschedulable"),
        (
            a_node(spec={"unschedulable": True}, taints=(taint("node.kubernetes.io/unschedulable"),)),
            NodeState.CORDONED,
            "unschedulable",
        ),
        (a_node(taints=(taint(names.TAINT_POOL, value=POOL),)), NodeState.READY, ""),
        (
            a_node(taints=(taint(names.TAINT_POOL, value="other"),)),
            NodeState.CORDONED,
            "taint nordan.eu/pool:NoSchedule",
        ),
        (a_node(taints=(taint("nvidia.com/gpu", value="present"),)), NodeState.READY, ""),
        (a_node(taints=(taint("nvidia.com/gpu", "NoExecute"),)), NodeState.DRAINING, "taint nvidia.com/gpu:NoExecute"),
        (a_node(taints=(taint("maintenance"),)), NodeState.CORDONED, "taint maintenance:NoSchedule"),
        (a_node(taints=(taint("soft", "PreferNoSchedule"),)), NodeState.READY, ""),
        (
            a_node(spec={"unschedulable": True}, taints=(taint("gone", "NoExecute"),)),
            NodeState.DRAINING,
            "taint gone:NoExecute",
        ),
        (a_node(deletionTimestamp="2027-01-01T00:00:00Z"), NodeState.DRAINING, "the node is being deleted"),
        (a_node(ready="False", spec={"unschedulable": True}), NodeState.DOWN, "not ready: KubeletReady"),
    ],
)
def test_a_nodes_state_is_the_gravest_that_its_object_says(node: Json, state: NodeState, reason: str) -> None:
    [told] = _told(node)
    assert (told.state, told.reason, told.is_unverified) == (state, reason, False)


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (a_node(taints=(taint(names.TAINT_UNVERIFIED, "NoExecute"),)), "taint nordan.eu/unverified"),
        (a_node(labels={**LABELS, names.NODE_TERRITORY: "US"}), "its territory label says US"),
        (
            a_node(labels={names.NODE_REGION: LABELS[names.NODE_REGION], names.NODE_POOL: POOL}),
            "it has no territory label",
        ),
    ],
)
def test_a_node_whose_facts_are_in_doubt_is_unverified(node: Json, why: str) -> None:
    [told] = _told(node)
    assert (told.is_unverified, told.reason) == (True, why)


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {**LABELS, names.NODE_REGION: "se-k8s-1"},
        {**LABELS, names.NODE_POOL: ""},
        # What a kubelet may write about itself names no pool.
        {"nordan.eu/region": LABELS[names.NODE_REGION], "nordan.eu/pool": POOL},
    ],
)
def test_nodes_of_other_regions_and_of_no_pool_are_left_alone(labels: Json) -> None:
    assert _told(a_node(labels=labels)) == []


def test_what_a_node_offers_is_told_as_it_is() -> None:
    """A node that does not know the resource says so; made-up GPUs may still be there."""
    [told] = _told(a_node())
    assert told.offered == AmountsMessage(gpus=8, cpu_milli=96_000, memory_mib=1 << 20)
    [told] = _told(a_node(allocatable={**ALLOCATABLE, "nvidia.com/gpu": "0"}))
    assert told.offered.gpus == 0
    [told] = _told(a_node(allocatable={"cpu": "3920m", "memory": "15921520Ki"}))
    assert told.offered == AmountsMessage(gpus=None, cpu_milli=3920, memory_mib=15548)


def test_where_a_node_stands_comes_from_the_first_label_that_says_it() -> None:
    own = {"nordan.eu/rack": "r7", "cloud.google.com/gce-topology-subblock": "s1"}
    [told] = _told(a_node(labels={**LABELS, **own, "cloud.google.com/gce-topology-block": "b1"}))
    assert (told.block, told.rack) == ("b1", "r7")


@pytest.mark.parametrize(
    ("pod", "gpus"),
    [
        (a_pod("p", "n1", a_container(3)), 3),
        (a_pod("p", "n1", a_container(3), phase="Pending"), 3),
        (a_pod("p", "n1", a_container(3), phase="Succeeded"), 0),
        (a_pod("p", "n1", a_container(3), phase="Failed"), 0),
        (a_pod("p", "n2", a_container(3)), 0),
        (a_pod("p", None, a_container(3)), 0),
        (our_pod(), 0),
        # Ours in name only: elsewhere, or of the pool that the node was in before.
        (our_pod(namespace="elsewhere"), 2),
        (our_pod(pool="older"), 2),
        (a_pod("p", "n1", a_container(2), metadata={"namespace": "nordan-jobs"}), 2),
    ],
)
def test_pods_that_are_not_ours_count_while_they_hold_something(pod: Json, gpus: int) -> None:
    [told] = _told(a_node(), pods=(pod,))
    assert told.foreign.gpus == gpus


def test_every_pod_of_a_node_counts_once_whichever_source_tells_of_it() -> None:
    inventory = Inventory(SCOPE)
    inventory.put_node(a_node())
    inventory.put_pods("jobs", [our_pod()])
    for number in range(3):
        inventory.put_pod("others", a_pod(f"d{number}", "n1", a_container(cpu="100m", memory="64Mi")))
    inventory.put_pod("others", a_pod("d0", "n1", a_container(cpu="100m", memory="64Mi")))
    [told] = inventory.messages()
    assert told.foreign == AmountsMessage(cpu_milli=300, memory_mib=192)
    inventory.put_pods("others", [])
    assert next(iter(inventory.messages())).foreign == AmountsMessage()


def test_only_what_changes_the_message_is_a_change() -> None:
    """Heartbeats and our own pods are not."""
    inventory = Inventory(SCOPE)
    assert inventory.put_node(a_node(version=1))
    assert not inventory.put_node(a_node(version=2))
    assert inventory.put_node(a_node(version=3, spec={"unschedulable": True}))
    assert not inventory.put_pod("jobs", our_pod())
    assert not inventory.drop_pod("jobs", our_pod())
    assert inventory.put_pod("others", a_pod())
    assert not inventory.put_pod("others", a_pod())
    assert inventory.put_pod("others", a_pod(phase="Succeeded"))
    assert not inventory.drop_pod("others", a_pod())
    assert inventory.put_node(a_node(version=4, labels={}))
    assert not inventory.drop_node("n1")


def test_a_list_of_all_nodes_changes_what_is_older_and_nothing_newer() -> None:
    """It is taken beside the watch, so either may be ahead."""
    inventory = Inventory(SCOPE)
    for name, version in (("same", 5), ("older", 5), ("newer", 25), ("gone", 5), ("just-made", 25)):
        inventory.put_node(a_node(name, version=version))
    cordoned = {"unschedulable": True}
    listed = [
        a_node("same", version=5),
        a_node("older", version=15, spec=cordoned),
        a_node("newer", version=15, spec=cordoned),
        a_node("missed", version=15),
    ]
    assert inventory.put_nodes(listed, "20")
    states = {one.name: one.state for one in inventory.messages()}
    assert states == {
        "same": NodeState.READY,
        "older": NodeState.CORDONED,
        "newer": NodeState.READY,
        "missed": NodeState.READY,
        "just-made": NodeState.READY,
    }
    assert not inventory.put_nodes(listed, "20")


def test_what_cannot_be_understood_is_left_out_and_named() -> None:
    """One odd node or pod must not hide the others."""
    faults: list[str] = []
    inventory = Inventory(SCOPE, faulty=lambda name, _: faults.append(name))
    inventory.put_node(a_node("n1"))
    inventory.put_node(a_node("odd", allocatable={"cpu": "many"}))
    inventory.put_node(a_node("capital", labels={**LABELS, names.NODE_POOL: "Pool.X"}))
    inventory.put_pod("others", a_pod("strange", "n1", a_container(cpu="much")))
    assert [one.name for one in inventory.messages()] == ["n1"]
    assert faults == ["odd", "strange", "capital"]
