"""What counts as a difference between a cluster and its rules."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from nordan_workers.cluster.differences import differences

WANTED: dict[str, Any] = {
    "kind": "ValidatingAdmissionPolicyBinding",
    "metadata": {"name": "b", "labels": {"nordan.eu/managed-by": "install"}},
    "spec": {"policyName": "b", "validationActions": ["Deny"], "matchResources": {"namespaceSelector": {}}},
}


def test_bookkeeping_and_others_labels_do_not_count() -> None:
    stands = copy.deepcopy(WANTED)
    stands["metadata"] |= {"uid": "1", "resourceVersion": "7"}
    stands["metadata"]["labels"]["theirs"] = "x"
    stands["status"] = {"observedGeneration": 3}
    assert differences(stands, WANTED) == ()


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("spec", "validationActions"), ["Warn"], "spec.validationActions[0]"),
        (("spec", "validationActions"), [], "spec.validationActions"),
        (("spec", "matchResources", "excludeResourceRules"), [{}], "spec.matchResources.excludeResourceRules"),
        (("metadata", "labels", "nordan.eu/managed-by"), "x", "metadata.labels[nordan.eu/managed-by]"),
    ],
)
def test_a_change_and_an_addition_count(path: tuple[str, ...], value: object, field: str) -> None:
    stands = copy.deepcopy(WANTED)
    inner = stands
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    assert differences(stands, WANTED) == (field,)


def test_of_a_namespace_only_our_labels_count() -> None:
    wanted = {"kind": "Namespace", "metadata": {"labels": {"nordan.eu/territory": "FR"}}}
    stands = {"kind": "Namespace", "metadata": {"labels": {"nordan.eu/territory": "SE"}}, "spec": {"finalizers": ["x"]}}
    assert differences(stands, wanted) == ("metadata.labels[nordan.eu/territory]",)
