"""Nodes and pods as an API server shows them, in as few fields as matter."""

from __future__ import annotations

from typing import Any

from nordan_core.identifiers import new_id
from nordan_workers.cluster.inventory import Scope
from nordan_workers.executors.kubernetes import names

Json = dict[str, Any]
REGION, TERRITORY, POOL, NAMESPACE = "fr-k8s-1", "FR", "k8s-h100", "nordan-jobs"
SCOPE = Scope(REGION, TERRITORY, NAMESPACE)
LABELS = {names.NODE_REGION: REGION, names.NODE_TERRITORY: TERRITORY, names.NODE_POOL: POOL}
ALLOCATABLE = {"nvidia.com/gpu": "8", "cpu": "96", "memory": "1Ti"}


def a_node(
    name: str = "n1",
    *,
    labels: Json | None = None,
    taints: tuple[Json, ...] = (),
    ready: str | None = "True",
    version: int = 1,
    **more: Any,
) -> Json:
    """Return a node of the region that is well."""
    conditions = [] if ready is None else [{"type": "Ready", "status": ready, "reason": "KubeletReady"}]
    allocatable = more.pop("allocatable", ALLOCATABLE)
    spec = {"taints": list(taints), **more.pop("spec", {})}
    metadata = {"name": name, "labels": LABELS if labels is None else labels, "resourceVersion": str(version), **more}
    return {"metadata": metadata, "spec": spec, "status": {"conditions": conditions, "allocatable": allocatable}}


def taint(key: str, effect: str = "NoSchedule", value: str = "") -> Json:
    """Return a taint."""
    return {"key": key, "effect": effect, "value": value}


def a_container(gpus: int = 0, cpu: str = "1", memory: str = "1Gi", **more: Any) -> Json:
    """Return a container that asks for so much."""
    asks = {"cpu": cpu, "memory": memory, **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    return {"name": more.pop("name", "c"), "resources": {"requests": asks}, **more}


def a_pod(name: str = "p1", node: str | None = "n1", *containers: Json, phase: str = "Running", **more: Any) -> Json:
    """Return a foreign pod."""
    metadata = {"name": name, "namespace": "elsewhere", "uid": f"uid-{name}", **more.pop("metadata", {})}
    spec = {"nodeName": node, "containers": list(containers or (a_container(),)), **more}
    return {"metadata": metadata, "spec": spec, "status": {"phase": phase}}


def our_pod(name: str = "ours", *, pool: str = POOL, namespace: str = NAMESPACE, **more: Any) -> Json:
    """Return a pod of an attempt with two GPUs."""
    labels = {
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_ATTEMPT: new_id("att"),
        names.LABEL_POOL: pool,
    }
    return a_pod(name, "n1", a_container(2), metadata={"namespace": namespace, "labels": labels}, **more)
