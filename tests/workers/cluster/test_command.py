"""`nordan admin cluster` against a real API server and a control plane that is played."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nordan_cli.invocation import Invocation
from nordan_cli.main import main
from support.border_objects import FACTS
from support.command_line import Nordan, Result
from support.fake_rest import URL, FakeRest
from support.kube.cluster import Cluster
from support.rules import make_namespaces, wait_until_gone

JOBS = "jobs-by-command"
_FACTS = replace(FACTS, jobs_namespace=JOBS, region_namespace="region-by-command")
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_BINDING = f"{_ADMISSION}/validatingadmissionpolicybindings/nordan-pods"
_POLICY = f"{_ADMISSION}/validatingadmissionpolicies/nordan-bindings"
REGISTRY = ("--registry", "registry.fr.example/")


@pytest.fixture
def nordan(tmp_path: Path, capsys: pytest.CaptureFixture[str], kube_api: Cluster) -> Nordan:
    """Return a way to run `nordan admin cluster` for a region with two pools."""
    rest = FakeRest()
    rest.on(
        "GET /v1/regions",
        {
            "items": [
                {"code": "fr-bru-1", "territory": "FR", "executor": "kubernetes"},
                {"code": "se-lla-1", "territory": "SE", "executor": "local"},
            ]
        },
    )
    rest.on(
        "GET /v1/pools", {"items": [{"name": "fr-h100", "region": "fr-bru-1"}, {"name": "x", "region": "se-lla-1"}]}
    )

    def run(verb: str, *words: str) -> Result:
        options = ("--region", "fr-bru-1", "--kubeconfig", str(kube_api.kubeconfig))
        caller = Invocation(transport=rest.transport, config_path=tmp_path / "none", url=URL, key="k")
        with pytest.raises(SystemExit) as ended:
            main(["admin", "cluster", verb, *words, *options], caller)
        printed = capsys.readouterr()
        return Result(int(ended.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture
def clean(kube_api: Cluster, nordan: Nordan) -> Iterator[None]:
    """Take away what a test installed."""
    make_namespaces(kube_api, _FACTS)
    yield
    nordan("install", "--namespace", JOBS, *REGISTRY)
    assert nordan("remove", "--namespace", JOBS, "--yes").code == 0
    assert kube_api.get(f"{_ADMISSION}/validatingadmissionpolicies")["items"] == []
    wait_until_gone(kube_api, _FACTS)


@pytest.mark.usefixtures("clean")
def test_what_was_installed_is_in_force_and_as_generated(nordan: Nordan) -> None:
    done = nordan("install", "--namespace", JOBS, *REGISTRY)
    assert done.code == 0, done.err
    assert "are in force" in done.err
    assert "nordan-pods" in done.out
    checked = nordan("check", "--namespace", JOBS)
    assert (checked.code, "differs" in checked.out) == (0, False), checked.out + checked.err


@pytest.mark.usefixtures("clean")
def test_an_installation_twice_changes_nothing_and_keeps_what_was_chosen(nordan: Nordan) -> None:
    nordan("install", "--namespace", JOBS, *REGISTRY, "--exempt-namespace", "monitoring")
    again = nordan("install", "--namespace", JOBS)
    assert again.code == 0, again.err
    states = {line.split()[2:4][0] for line in again.out.splitlines()[1:]}
    assert states == {"as"}, again.out
    assert "registry.fr.example/" in again.err
    assert "monitoring" in again.err


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize(
    ("path", "patch", "told"),
    [
        (_BINDING, {"spec": {"validationActions": ["Warn"]}}, "spec.validationActions"),
        (
            _BINDING,
            {
                "spec": {
                    "matchResources": {
                        "excludeResourceRules": [
                            {
                                "apiGroups": [""],
                                "apiVersions": ["v1"],
                                "operations": ["*"],
                                "resources": ["pods"],
                            }
                        ]
                    }
                }
            },
            "spec.matchResources.excludeResourceRules",
        ),
        (_POLICY, {"spec": {"failurePolicy": "Ignore"}}, "spec.failurePolicy"),
    ],
)
def test_a_change_of_the_rules_is_found_and_taken_back(
    nordan: Nordan, kube_api: Cluster, path: str, patch: dict[str, Any], told: str
) -> None:
    nordan("install", "--namespace", JOBS, *REGISTRY)
    kube_api.patch(path, patch)
    found = nordan("check", "--namespace", JOBS)
    assert found.code == 1
    assert told in found.out
    nordan("install", "--namespace", JOBS)
    mended = nordan("check", "--namespace", JOBS)
    assert mended.code == 0, mended.out + mended.err


@pytest.mark.usefixtures("clean")
def test_what_is_missing_and_what_opens_the_jobs_is_found(nordan: Nordan, kube_api: Cluster) -> None:
    nordan("install", "--namespace", JOBS, *REGISTRY)
    kube_api.delete(_POLICY)
    opened = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "open"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]},
    }
    kube_api.ensure(f"/apis/networking.k8s.io/v1/namespaces/{JOBS}/networkpolicies", opened)
    found = nordan("check", "--namespace", JOBS)
    kube_api.delete(f"/apis/networking.k8s.io/v1/namespaces/{JOBS}/networkpolicies/open")
    assert found.code == 1
    rows = {tuple(line.split()[:2]): line for line in found.out.splitlines()}
    assert "missing" in rows["ValidatingAdmissionPolicy", "nordan-bindings"]
    assert "not ours" in rows["NetworkPolicy", f"{JOBS}/open"]


@pytest.mark.usefixtures("clean")
def test_a_trial_prints_the_objects_and_stores_nothing(nordan: Nordan, kube_api: Cluster) -> None:
    told = nordan("install", "--namespace", JOBS, *REGISTRY, "--dry-run", "-o", "yaml")
    assert told.code == 0, told.err
    assert told.out.count("kind: ValidatingAdmissionPolicy\n") == 14
    assert kube_api.get(f"{_ADMISSION}/validatingadmissionpolicies")["items"] == []
    kube_api.kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", text=told.out)


def test_a_verified_node_bears_its_regions_labels(nordan: Nordan, kube_api: Cluster) -> None:
    taints = [{"key": "nordan.eu/unverified", "effect": "NoExecute"}]
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "fr-verified"}, "spec": {"taints": taints}}
    kube_api.ensure("/api/v1/nodes", node)
    done = nordan("verify", "fr-verified", "--pool", "fr-h100")
    stands = kube_api.get("/api/v1/nodes/fr-verified")
    kube_api.remove_nodes(["fr-verified"])
    assert done.code == 0, done.err
    assert stands["metadata"]["labels"]["nordan.node-restriction.kubernetes.io/territory"] == "FR"
    assert [(one["key"], one.get("value")) for one in stands["spec"]["taints"] if "nordan" in one["key"]] == [
        ("nordan.eu/pool", "fr-h100")
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("install", "--namespace", JOBS), "--any-registry"),
        (("install", "--namespace", JOBS, "--registry", "registry.fr.example"), "with the last slash"),
        (("verify", "n", "--pool", "x"), "it has: fr-h100"),
        (("verify", "no-such-node", "--pool", "fr-h100"), "not found"),
    ],
)
def test_wrong_use_is_told_what_would_be_right(nordan: Nordan, words: tuple[str, ...], told: str) -> None:
    done = nordan(*words)
    assert done.code == 1
    assert told in done.err
