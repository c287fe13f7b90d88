"""The rehearsal's overlay on real nodes of a test cluster: images made here, volumes in the nodes' folders."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import kind
import rehearsal
import yaml
from rehearsal import REGIONS, Kubectl, Nordan

from support.kube import binaries
from support.kube.cluster import Object
from support.kube.node_cluster import NodeCluster
from support.kube.nodes import CONTROL_HOST

IMAGES = ("nordan", "postgres", "valkey")
#: One for the database and one for each region, on each node: which of them a pod gets is the scheduler's choice.
VOLUMES_PER_NODE = 3


@dataclass(frozen=True, slots=True)
class Deployment:
    """A control plane and two regions that answer."""

    cluster: NodeCluster
    kubectl: Kubectl
    nordan: Nordan


def deploy(cluster: NodeCluster, home: Path, archives: Sequence[Path]) -> Deployment:
    """Do what `make kind-up` does, on nodes that are there; print how long each step took."""
    # 1. What kind brings: images, volumes for whoever claims them.
    for archive in archives:
        with _timed(f"import of {archive.name}"):
            cluster.import_image(archive)
    kubectl = Kubectl(
        (binaries.kubectl(), f"--kubeconfig={cluster.kubeconfig}", f"--cache-dir={cluster.folder / 'kubectl-cache'}")
    )
    kubectl("apply", "-f", "-", text=yaml.safe_dump_all(_storage(cluster)))
    # 2. The steps of the rehearsal. Nordan's own parts live on the same nodes as jobs: the taint that keeps others away
    #    comes when they are there.
    nodes = {region.code: [node] for region, node in zip(REGIONS, cluster.node_names, strict=True)}
    with _timed("nodes, secrets, overlay"):
        rehearsal.prepare_nodes(kubectl, nodes, has_taint=False)
        rehearsal.make_secrets(kubectl)
        rehearsal.apply_overlay(kubectl)
    with _timed("control plane ready"):
        rehearsal.wait_for_control_plane(kubectl)
    with _timed("login, world, join"):
        nordan = Nordan(_reach(cluster, kind.API), rehearsal.first_key(kubectl), home)
        rehearsal.apply_world(nordan)
        gateways = {code: _reach(cluster, outside) for code, outside in kind.GATEWAYS.items()}
        rehearsal.join_regions(kubectl, nordan, gateways)
    with _timed("regions ready"):
        rehearsal.wait_for_regions(kubectl, nordan)
    rehearsal.prepare_nodes(kubectl, nodes)
    return Deployment(cluster, kubectl, nordan)


@contextmanager
def _timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - began:.1f} s", flush=True)


def trouble(cluster: NodeCluster) -> str:
    """Return how the pods are, and what those that are not ready said last."""
    told = [cluster.try_kubectl("get", "pods", "-A", "-o", "wide").stdout]
    for pod in cluster.get("/api/v1/pods")["items"]:
        if pod["metadata"]["namespace"].startswith(("nordan", "region-", "jobs-")):
            told += _last_words(cluster, pod)
    told.append(cluster.try_kubectl("get", "events", "-A", "--field-selector=type=Warning").stdout[-3000:])
    return "\n".join(told)


def _last_words(cluster: NodeCluster, pod: Object) -> Iterator[str]:
    space, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    for group in ("initContainerStatuses", "containerStatuses"):
        for status in pod["status"].get(group, ()):
            is_over = status.get("state", {}).get("terminated", {}).get("exitCode") == 0
            if not status["ready"] and not is_over:
                yield f"{space}/{name} {status['name']}: {status.get('state')}"
                yield cluster.try_kubectl("logs", "-n", space, name, "-c", status["name"], "--tail=8").stdout


def _reach(cluster: NodeCluster, outside: str) -> str:
    """Return where this process reaches a port of the nodes, which kind brings to the machine's loopback by itself."""
    port = int(outside.rpartition(":")[2])
    return f"http://127.0.0.1:{cluster.reach(CONTROL_HOST, port)}"


def _storage(cluster: NodeCluster) -> list[Object]:
    """Return what a storage provider would offer: folders of the nodes, for whoever claims a volume."""
    offer: Object = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    return [
        offer,
        *(_volume(cluster, node, number) for node in cluster.node_names for number in range(VOLUMES_PER_NODE)),
    ]


def _volume(cluster: NodeCluster, node: str, number: int) -> Object:
    folder = cluster.nodes[node].folder / "volumes" / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    is_there = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{node}-{number}"},
        "spec": {
            "capacity": {"storage": "20Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "standard",
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [is_there]}]}},
        },
    }
