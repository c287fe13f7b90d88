"""What is generated for a cluster: closed by default, and nothing that an object's author could slip past."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nordan_core.domain.errors import Invalid
from nordan_workers.cluster.cel import Object
from nordan_workers.cluster.facts import ClusterFacts
from nordan_workers.cluster.generate import objects
from support.border_objects import FACTS

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "enforcement.md"


def test_every_policy_fails_closed_and_every_binding_denies() -> None:
    for one in _of("ValidatingAdmissionPolicy"):
        assert one["spec"]["failurePolicy"] == "Fail"
    for one in _of("ValidatingAdmissionPolicyBinding"):
        assert one["spec"]["validationActions"] == ["Deny"]


def test_every_policy_is_bound_once_under_its_own_name() -> None:
    names = [one["metadata"]["name"] for one in _of("ValidatingAdmissionPolicy")]
    assert names == [one["spec"]["policyName"] for one in _of("ValidatingAdmissionPolicyBinding")]
    assert len(set(names)) == len(names)


def test_namespaces_are_left_out_by_their_names_alone() -> None:
    selectors = [
        one["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
        for one in _of("ValidatingAdmissionPolicyBinding")
        if "matchResources" in one["spec"]
    ]
    assert {json.dumps(one) for one in selectors} == {
        json.dumps([{"key": "kubernetes.io/metadata.name", "operator": operator, "values": values}])
        for operator, values in (
            ("NotIn", ["kube-system", "kube-node-lease", "kube-public", "region-under-test"]),
            ("In", ["jobs-under-test"]),
        )
    }


def test_policies_are_stored_before_their_bindings_and_rights_come_last() -> None:
    kinds = [one["kind"] for one in objects(FACTS)]
    assert kinds.index("Namespace") == 0
    assert (
        kinds.index("ValidatingAdmissionPolicyBinding")
        > len(kinds) - kinds[::-1].index("ValidatingAdmissionPolicy") - 1
    )
    assert kinds[-1] == "ClusterRoleBinding"


def test_the_region_may_do_nothing_to_policies_secrets_or_other_namespaces_objects() -> None:
    everywhere = next(one for one in _of("ClusterRole"))
    verbs = {verb for rule in everywhere["rules"] for verb in rule["verbs"]}
    assert verbs == {"get", "list", "watch", "patch"}
    assert {name for rule in everywhere["rules"] for name in rule["resources"]} == {"nodes", "pods"}
    inside = next(one for one in _of("Role"))
    assert "secrets" not in {name for rule in inside["rules"] for name in rule["resources"]}


def test_the_namespace_of_jobs_is_held_to_restricted_pods() -> None:
    labels = _of("Namespace")[0]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert labels["nordan.eu/territory"] == "FR"


def test_a_service_account_and_a_user_hold_rights_each_in_its_own_form() -> None:
    facts = replace(FACTS, accounts=("system:serviceaccount:ns:sa", "region@example"))
    subjects = next(one for one in objects(facts) if one["kind"] == "RoleBinding")["subjects"]
    assert subjects == [
        {"kind": "ServiceAccount", "namespace": "ns", "name": "sa"},
        {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "region@example"},
    ]


def test_pods_may_speak_with_nobody_but_names_and_gateway() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in _of("NetworkPolicy")}
    assert policies["nordan-deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert set(policies) == {"nordan-deny-all", "nordan-allow-dns", "nordan-allow-region"}
    for name in ("nordan-allow-dns", "nordan-allow-region"):
        peers = [peer for rule in policies[name]["egress"] for peer in rule["to"]]
        assert peers
        assert all("namespaceSelector" in peer and "ipBlock" not in peer for peer in peers)


def test_without_registries_images_are_not_judged_and_no_rule_pretends_to() -> None:
    rules = _rules(replace(FACTS, registries=None))
    assert _rules(FACTS) - rules == {"registry", "volume-registry"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"registries": ()}, "--any-registry"),
        ({"registries": ("registry.fr.example",)}, "with the last slash"),
        ({"registries": ('x"]/',)}, "registry"),
        ({"territory": "fr"}, "territory"),
        ({"territory": 'FR" || true'}, "territory"),
        ({"exempt": ("Jobs",)}, "lower case"),
        ({"exempt": ("jobs-under-test",)}, "no rule can be left out"),
        ({"region": "a b"}, "region"),
        ({"exposed": ("front",)}, "NAMESPACE/NAME"),
    ],
)
def test_facts_that_rules_cannot_be_made_from_are_refused(change: dict[str, object], told: str) -> None:
    values = {name: getattr(FACTS, name) for name in ClusterFacts.__dataclass_fields__} | change
    with pytest.raises(Invalid, match=told):
        ClusterFacts(**values)


def test_every_rule_is_explained_in_the_docs() -> None:
    page = PAGE.read_text()
    assert {name for name in _rules(FACTS) if f"| `{name}` |" not in page} == set()


def _of(kind: str) -> list[Object]:
    return [one for one in objects(FACTS) if one["kind"] == kind]


def _rules(facts: ClusterFacts) -> set[str]:
    return {
        validation["message"].removeprefix("nordan/").split(":")[0]
        for one in objects(facts)
        if one["kind"] == "ValidatingAdmissionPolicy"
        for validation in one["spec"]["validations"]
    }
