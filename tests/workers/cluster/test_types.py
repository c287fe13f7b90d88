"""The rules' expressions fit the types of the objects that they judge, as the cluster's own checker sees them."""

from __future__ import annotations

import pytest

from support.border_objects import FACTS
from support.kube.cluster import Cluster, Object
from support.rules import rules as rules_of

_POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"


@pytest.fixture
def rules(kube_control: Cluster) -> list[Object]:
    """Install the rules where a controller checks their types, and one that is wrong, to see that it does."""
    wrong = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "wrong"},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                ]
            },
            "validations": [{"expression": "object.spec.nodeNam == ''"}],
        },
    }
    with rules_of(kube_control, FACTS):
        kube_control.ensure(_POLICIES, wrong)
        try:
            kube_control.wait_for("every policy was checked", lambda: all(map(_is_checked, _stored(kube_control))))
            return _stored(kube_control)
        finally:
            kube_control.delete(f"{_POLICIES}/wrong")


def test_no_expression_is_warned_of(rules: list[Object]) -> None:
    warned = {one["metadata"]["name"]: one["status"].get("typeChecking", {}).get("expressionWarnings") for one in rules}
    assert "undefined field 'nodeNam'" in str(warned.pop("wrong"))
    assert len(warned) == 14
    assert {name: text for name, text in warned.items() if text} == {}


def _stored(cluster: Cluster) -> list[Object]:
    return list(cluster.get(_POLICIES)["items"])


def _is_checked(policy: Object) -> bool:
    return bool(policy.get("status", {}).get("observedGeneration") == policy["metadata"]["generation"])
