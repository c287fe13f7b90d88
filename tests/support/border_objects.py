"""The parts of attempts to leave a territory: requests, and lawful objects that an attempt changes in one thing."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nordan_workers.cluster.facts import ClusterFacts

Object = dict[str, Any]

FACTS = ClusterFacts(
    region="fr-bru-1",
    territory="FR",
    pools=("fr-h100", "fr-l4"),
    registries=("registry.fr.example/", "docker.io/library/"),
    jobs_namespace="jobs-under-test",
    region_namespace="region-under-test",
    exposed=("tenant-a/front",),
)
TENANT, UNLABELLED = "tenant-a", "tenant-b"
JOBS = FACTS.jobs_namespace
NODE = "fr-node-1"
#: The pods that stand before the rules come.
TENANTS_POD, JOBS_POD = "standing", "att-standing-0"
NODE_PREFIX = "nordan.node-restriction.kubernetes.io"
_GRANT = {"nordan.eu/grant": "grt_1", "nordan.eu/fence": "7", "nordan.eu/node": NODE}
MERGE = "application/merge-patch+json"


@dataclass(frozen=True)
class Request:
    """One request to the API server."""

    who: str
    """`tenant`: rights over everything in its own namespaces and that of jobs, and more. `region`, `scheduler`."""
    method: str
    path: str
    body: Object | list[Object] | None = None
    kind: str = "application/json"

    @property
    def is_connection(self) -> bool:
        """Tell whether the request opens a connection, for which there is no trial run."""
        return self.path.split("?")[0].rsplit("/", 1)[-1] in {"exec", "attach", "portforward", "proxy"}


@dataclass(frozen=True)
class Attempt:
    """What is tried, the rule that must name itself, and what is lawful instead."""

    rule: str
    tried: Request
    lawful: Request


def pod(**spec: object) -> Object:
    """Return a lawful pod of a tenant's, changed."""
    base: Object = {
        "containers": [container()],
        "nodeSelector": {f"{NODE_PREFIX}/territory": "FR"},
        "restartPolicy": "Never",
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {**base, **spec}}


def container(**fields: object) -> Object:
    """Return a container whose image may be had."""
    return {"name": "main", "image": "registry.fr.example/team/main:1", **fields}


def job_pod(**spec: object) -> Object:
    """Return the pod of a granted job, changed."""
    pinned = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [NODE]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [pinned]}}
    tight = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    base = {
        "containers": [container(securityContext=tight)],
        "schedulerName": "nordan",
        "nodeSelector": {
            f"{NODE_PREFIX}/territory": "FR",
            f"{NODE_PREFIX}/region": "fr-bru-1",
            f"{NODE_PREFIX}/pool": "fr-h100",
        },
        "tolerations": [{"key": "nordan.eu/pool", "operator": "Equal", "value": "fr-h100", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": required},
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    made = pod(**{**base, **spec})
    made["metadata"] = {
        "name": "att-1-0",
        "annotations": dict(_GRANT),
        "labels": {"nordan.eu/attempt": "att_1", "nordan.eu/managed-by": "supervisor"},
    }
    return made


def marked(made: Object, field: str, values: Mapping[str, str | None]) -> Object:
    """Return an object with labels or annotations changed; None takes one away."""
    changed = copy.deepcopy(made)
    marks = {**changed["metadata"].get(field, {}), **values}
    changed["metadata"][field] = {key: value for key, value in marks.items() if value is not None}
    return changed
