"""Vouching for a node, and doubting it."""

from __future__ import annotations

from typing import Any

from nordan_workers.cluster.nodes import doubted, is_doubted, verified

MINE = {"key": "maintenance", "effect": "NoSchedule"}
UNVERIFIED = {"key": "nordan.eu/unverified", "effect": "NoExecute"}


def _node(*taints: dict[str, str]) -> dict[str, Any]:
    return {"metadata": {"name": "n", "resourceVersion": "7"}, "spec": {"taints": list(taints)} if taints else {}}


def test_a_verified_node_is_labelled_tainted_for_its_pool_and_no_longer_doubted() -> None:
    assert verified(_node(MINE, UNVERIFIED), "fr-bru-1", "FR", "fr-h100") == {
        "metadata": {
            "resourceVersion": "7",
            "labels": {
                "nordan.node-restriction.kubernetes.io/territory": "FR",
                "nordan.node-restriction.kubernetes.io/region": "fr-bru-1",
                "nordan.node-restriction.kubernetes.io/pool": "fr-h100",
            },
        },
        "spec": {"taints": [MINE, {"key": "nordan.eu/pool", "value": "fr-h100", "effect": "NoSchedule"}]},
    }


def test_a_doubted_node_keeps_its_other_taints_and_its_labels() -> None:
    patch = doubted(_node(MINE))
    assert patch is not None
    assert patch["spec"]["taints"] == [MINE, UNVERIFIED]
    assert patch["metadata"] == {"resourceVersion": "7", "labels": {}}


def test_a_node_is_doubted_once() -> None:
    assert is_doubted(_node(UNVERIFIED))
    assert doubted(_node(UNVERIFIED)) is None
