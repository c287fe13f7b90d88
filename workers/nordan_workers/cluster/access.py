"""What the region's own account may do in its cluster, and the namespace that its jobs live in.

Least rights: jobs' objects in one namespace, looking at nodes and pods everywhere, marking a node. Marking is `patch`
on nodes, which RBAC cannot narrow to a taint; the policy on nodes does.
"""

from __future__ import annotations

from nordan_workers.cluster import marks
from nordan_workers.cluster.cel import Object
from nordan_workers.cluster.facts import ClusterFacts

ROLE = "nordan-region"
_RBAC = "rbac.authorization.k8s.io"
_LABELS = dict(marks.INSTALLED)
_LEVELS = ("enforce", "warn", "audit")


def jobs_namespace(facts: ClusterFacts) -> Object:
    """Return the namespace of jobs: its territory, and Pod Security's strictest level."""
    security = {f"pod-security.kubernetes.io/{level}": "restricted" for level in _LEVELS}
    security |= {f"pod-security.kubernetes.io/{level}-version": "latest" for level in _LEVELS}
    labels = {**_LABELS, marks.TERRITORY: facts.territory, **security}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": facts.jobs_namespace, "labels": labels}}


def rights(facts: ClusterFacts) -> tuple[Object, ...]:
    """Return roles and who holds them."""
    in_jobs = [
        _may(("pods",), "create", "delete", "deletecollection", "get", "list", "watch", "patch"),
        _may(("pods/binding",), "create"),
        # A socket to a running command is opened by GET or by POST, as the client likes.
        _may(("pods/attach", "pods/exec", "pods/portforward"), "create", "get"),
        _may(("pods/log",), "get"),
        # What the rules of this cluster leave out is noted on the namespace.
        _may(("namespaces",), "get"),
        _may(("services",), "create", "delete", "get", "list", "watch"),
        _may(("networkpolicies",), "create", "delete", "get", "list", group="networking.k8s.io"),
    ]
    everywhere = [
        _may(("nodes",), "get", "list", "watch", "patch"),
        _may(("pods",), "get", "list", "watch"),
    ]
    return (
        _object("Role", facts.jobs_namespace, rules=in_jobs),
        _object("RoleBinding", facts.jobs_namespace, roleRef=_role("Role"), subjects=_subjects(facts)),
        _object("ClusterRole", None, rules=everywhere),
        _object("ClusterRoleBinding", None, roleRef=_role("ClusterRole"), subjects=_subjects(facts)),
    )


def _may(resources: tuple[str, ...], *verbs: str, group: str = "") -> Object:
    return {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}


def _object(kind: str, namespace: str | None, **body: object) -> Object:
    where = {} if namespace is None else {"namespace": namespace}
    metadata = {"name": ROLE, **where, "labels": _LABELS}
    return {"apiVersion": f"{_RBAC}/v1", "kind": kind, "metadata": metadata, **body}


def _role(kind: str) -> Object:
    return {"apiGroup": _RBAC, "kind": kind, "name": ROLE}


def _subjects(facts: ClusterFacts) -> list[Object]:
    return [_subject(account) for account in facts.region_accounts]


def _subject(account: str) -> Object:
    kind, _, rest = account.rpartition("system:serviceaccount:")
    if kind == "" and rest.count(":") == 1 and account != rest:
        namespace, name = rest.split(":")
        return {"kind": "ServiceAccount", "namespace": namespace, "name": name}
    return {"apiGroup": _RBAC, "kind": "User", "name": account}
