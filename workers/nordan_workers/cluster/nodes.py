"""Marks on nodes: what the operator has verified, and the taint on what nobody vouches for. Pure, but for `verify`."""

from __future__ import annotations

from nordan_core.domain.errors import OperatorError
from nordan_workers.cluster import marks
from nordan_workers.cluster.api import ClusterApi, merge
from nordan_workers.cluster.cel import Object
from nordan_workers.executors.kubernetes import names

UNVERIFIED: Object = {"key": names.TAINT_UNVERIFIED, "effect": "NoExecute"}


def node_labels(region: str, territory: str, pool: str) -> dict[str, str]:
    """Return the labels of a verified node of a pool."""
    return dict(zip(marks.NODE_LABELS, (territory, region, pool), strict=True))


def verified(node: Object, region: str, territory: str, pool: str) -> Object:
    """Return the patch that vouches for a node: its labels, its pool's taint, and the taint of doubt taken away."""
    ours = {names.TAINT_POOL, names.TAINT_UNVERIFIED}
    taints = [one for one in _taints(node) if one["key"] not in ours]
    taints.append({"key": names.TAINT_POOL, "value": pool, "effect": "NoSchedule"})
    return _patch(node, taints, node_labels(region, territory, pool))


def doubted(node: Object) -> Object | None:
    """Return the patch that marks a node as unverified, which ends every job's pod on it; None when it is marked."""
    if is_doubted(node):
        return None
    return _patch(node, [*_taints(node), UNVERIFIED], {})


def is_doubted(node: Object) -> bool:
    """Tell whether a node bears the taint."""
    return any(one["key"] == names.TAINT_UNVERIFIED for one in _taints(node))


def verify(cluster: ClusterApi, name: str, region: str, territory: str, pool: str) -> None:
    """Vouch for a node.

    Raises:
        OperatorError: there is no such node, or somebody changed it meanwhile.
    """
    path = f"/api/v1/nodes/{name}"
    answer = cluster.send("GET", path)
    if answer.is_good:
        answer = merge(cluster, path, verified(answer.body, region, territory, pool))
    if not answer.is_good:
        raise OperatorError(f"node {name}: {answer.message}")


def _taints(node: Object) -> list[Object]:
    taints: list[Object] = node["spec"].get("taints") or []
    return taints


def _patch(node: Object, taints: list[Object], labels: dict[str, str]) -> Object:
    # Taints are a list and replaced whole: the version makes sure that nobody else's is lost.
    metadata = {"resourceVersion": node["metadata"]["resourceVersion"], "labels": labels}
    return {"metadata": metadata, "spec": {"taints": taints}}
