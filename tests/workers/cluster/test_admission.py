"""Every attempt to leave a territory gets through before the rules are there, and is refused by its rule afterwards.

On a real API server. What is tried is in `support.border`; here it is sent, by accounts that RBAC stops from nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx
import pytest

from nordan_workers.cluster.generate import objects
from support import border, border_objects
from support.border_objects import FACTS, JOBS, JOBS_POD, NODE, TENANT, TENANTS_POD, UNLABELLED, Request
from support.kube.cluster import Cluster
from support.rules import rules

#: Any object of these groups, but not the policies themselves: whoever may change those is bound by none.
_GROUPS = ("", "apps", "batch", "networking.k8s.io", "discovery.k8s.io")
_REGION = FACTS.region_accounts[0]
_IMPERSONATED = {
    "scheduler": ("system:kube-scheduler", ()),
    "controllers": (
        "system:serviceaccount:kube-system:endpointslice-controller",
        ("system:serviceaccounts", "system:serviceaccounts:kube-system"),
    ),
}
ATTEMPTS = border.attempts()


@dataclass(frozen=True)
class Outcome:
    """What the server said to one attempt."""

    before: httpx.Response
    tried: httpx.Response
    lawful: httpx.Response


@pytest.fixture(scope="module")
def outcomes(kube_api: Cluster) -> Iterator[dict[str, Outcome]]:
    """Send every attempt before and after the rules, and its lawful twin after."""
    with ExitStack() as stack:
        clients = stack.enter_context(_people(kube_api))
        stack.enter_context(_standing(kube_api))
        before = {name: _send(clients, one.tried) for name, one in ATTEMPTS.items()}
        stack.enter_context(rules(kube_api, FACTS))
        yield {
            name: Outcome(before[name], _send(clients, one.tried), _send(clients, one.lawful))
            for name, one in ATTEMPTS.items()
        }


@pytest.mark.parametrize("name", ATTEMPTS)
def test_without_the_rules_the_attempt_gets_through(outcomes: dict[str, Outcome], name: str) -> None:
    assert _got_through(ATTEMPTS[name].tried, outcomes[name].before), outcomes[name].before.text


@pytest.mark.parametrize("name", ATTEMPTS)
def test_the_attempt_is_refused_by_its_rule(outcomes: dict[str, Outcome], name: str) -> None:
    refusal = outcomes[name].tried
    assert refusal.status_code == 403, refusal.text
    assert f"denied request: nordan/{ATTEMPTS[name].rule}: " in refusal.json()["message"]


@pytest.mark.parametrize("name", ATTEMPTS)
def test_its_lawful_twin_is_admitted(outcomes: dict[str, Outcome], name: str) -> None:
    assert _got_through(ATTEMPTS[name].lawful, outcomes[name].lawful), outcomes[name].lawful.text


def test_every_rule_has_an_attempt_that_it_stops() -> None:
    rules = {
        validation["message"].removeprefix("nordan/").split(":")[0]
        for one in objects(FACTS)
        if one["kind"] == "ValidatingAdmissionPolicy"
        for validation in one["spec"]["validations"]
    }
    assert {one.rule for one in ATTEMPTS.values()} == rules
    assert len(ATTEMPTS) >= 30


def test_an_attempt_by_kubectl_is_told_the_rule(outcomes: dict[str, Outcome], kube_api: Cluster) -> None:
    del outcomes
    kubeconfig = kube_api.service_account_kubeconfig(TENANT, "tenant")
    done = kube_api.try_kubectl(
        f"--kubeconfig={kubeconfig}", "-n", TENANT, "run", "p", "--image=registry.fr.example/x", "--dry-run=server"
    )
    assert done.returncode != 0
    assert "nordan/territory-selector" in done.stderr


def test_a_namespace_cannot_take_an_exempted_name(outcomes: dict[str, Outcome], kube_api: Cluster) -> None:
    """The server keeps the label of a namespace's name, so an administrator cannot slip one out by mistake either."""
    del outcomes
    forged = {"metadata": {"labels": {"kubernetes.io/metadata.name": "kube-system"}}}
    kept = kube_api.patch(f"/api/v1/namespaces/{TENANT}", forged)["metadata"]["labels"]
    assert kept["kubernetes.io/metadata.name"] == TENANT


@contextmanager
def _people(cluster: Cluster) -> Iterator[dict[str, httpx.Client]]:
    """Yield a client for each account; all may do everything but change the rules."""
    with ExitStack() as stack:
        for name, labels in (
            (TENANT, {"nordan.eu/territory": "FR"}),
            (UNLABELLED, {}),
            (JOBS, {}),
            (FACTS.region_namespace, {}),
        ):
            _namespace(cluster, name, labels)
            stack.callback(cluster.delete, f"/api/v1/namespaces/{name}")
        tokens = {
            "tenant": cluster.service_account_token(TENANT, "tenant"),
            "region": cluster.service_account_token(FACTS.region_namespace, "nordan-region"),
        }
        accounts = (f"system:serviceaccount:{TENANT}:tenant", _REGION, _IMPERSONATED["controllers"][0])
        _allow(cluster, accounts)
        for kind in ("clusterrolebindings", "clusterroles"):
            stack.callback(cluster.delete, f"/apis/rbac.authorization.k8s.io/v1/{kind}/border-test")
        clients = {name: cluster.client() for name in ("admin", *tokens, *_IMPERSONATED)}
        for client in clients.values():
            stack.callback(client.close)
        for name, token in tokens.items():
            clients[name].headers["Authorization"] = f"Bearer {token}"
        for name, (user, groups) in _IMPERSONATED.items():
            pairs = [("Impersonate-User", user), *(("Impersonate-Group", group) for group in groups)]
            clients[name].headers = httpx.Headers([*clients[name].headers.multi_items(), *pairs])
        yield clients


def _namespace(cluster: Cluster, name: str, labels: dict[str, str]) -> None:
    metadata = {"name": name, "labels": labels}
    cluster.ensure("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    cluster.ensure(f"/api/v1/namespaces/{name}/serviceaccounts", account)


def _allow(cluster: Cluster, accounts: tuple[str, ...]) -> None:
    rbac = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": [group], "resources": ["*"], "verbs": ["*"]} for group in _GROUPS]
    role = {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": "border-test"}, "rules": rules}
    cluster.ensure(f"/apis/{rbac}/v1/clusterroles", role)
    subjects = [{"apiGroup": rbac, "kind": "User", "name": account} for account in accounts]
    binding = {
        "apiVersion": f"{rbac}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "border-test"},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "border-test"},
        "subjects": subjects,
    }
    cluster.ensure(f"/apis/{rbac}/v1/clusterrolebindings", binding)


@contextmanager
def _standing(cluster: Cluster) -> Iterator[None]:
    """Lay down what the attempts change: a pod of each kind, a network policy, an unverified node."""
    for namespace, name, made in (
        (TENANT, TENANTS_POD, border_objects.pod()),
        (JOBS, JOBS_POD, border_objects.job_pod()),
    ):
        made["metadata"]["name"] = name
        cluster.ensure(f"/api/v1/namespaces/{namespace}/pods", made)
    network = f"/apis/networking.k8s.io/v1/namespaces/{JOBS}/networkpolicies"
    spec = {"podSelector": {}, "policyTypes": ["Egress"]}
    body = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "standing"}}
    cluster.ensure(network, {**body, "spec": spec})
    taints = [{"key": "nordan.eu/unverified", "effect": "NoExecute"}]
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}, "spec": {"taints": taints}}
    cluster.ensure("/api/v1/nodes", node)
    try:
        yield
    finally:
        cluster.delete(f"/api/v1/nodes/{NODE}")


def _send(clients: dict[str, httpx.Client], request: Request) -> httpx.Response:
    trial = {} if request.is_connection else {"dryRun": "All"}
    content = None if request.body is None else json.dumps(request.body)
    url = httpx.URL(request.path)
    return clients[request.who].request(
        request.method,
        url.copy_merge_params(trial),
        content=content,
        headers={"Content-Type": request.kind},
    )


def _got_through(request: Request, response: httpx.Response) -> bool:
    """Tell whether admission let it pass. A connection then fails for want of a node, and says so."""
    if request.is_connection:
        return response.status_code != 403 and "nordan/" not in response.text
    return response.is_success
