"""The guard's acts in the cluster, by the region's own account."""

from __future__ import annotations

import json

from nordan_workers.cluster.breaches import PodSeen
from nordan_workers.cluster.facts import REGION_NAMESPACE, SYSTEM_NAMESPACES
from nordan_workers.cluster.nodes import doubted
from nordan_workers.cluster.options import ANNOTATION
from nordan_workers.executors.kubernetes.client import Cluster, ClusterRefused


class ClusterHands:
    """Keeps the promises of `guard.Hands`."""

    def __init__(self, cluster: Cluster, jobs_namespace: str) -> None:
        self._cluster = cluster
        self._jobs_namespace = jobs_namespace

    def exempted(self) -> frozenset[str] | None:
        """Keep `Hands.exempted`: the choices of the installation stand on the namespace of jobs."""
        namespace = self._cluster.get(f"/api/v1/namespaces/{self._jobs_namespace}")
        text = (namespace["metadata"].get("annotations") or {}).get(ANNOTATION)
        if text is None:
            return None
        try:
            chosen = json.loads(text)
        except ValueError:
            chosen = {}
        region = chosen.get("region_namespace") or REGION_NAMESPACE
        return frozenset((*SYSTEM_NAMESPACES, region, *(chosen.get("exempt") or ())))

    def mark_node(self, name: str) -> None:
        """Keep `Hands.mark_node`: against the node's newest version, so that nobody else's taint is lost."""
        path = f"/api/v1/nodes/{name}"
        try:
            patch = doubted(self._cluster.get(path))
            if patch is not None:
                self._cluster.patch(path, patch)
        except ClusterRefused as error:
            if not error.is_missing:
                raise

    def delete_pod(self, pod: PodSeen) -> None:
        """Keep `Hands.delete_pod`."""
        try:
            self._cluster.delete(f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}", grace_s=0, uid=pod.uid)
        except ClusterRefused as error:
            if not (error.is_missing or error.is_conflict):
                raise
