"""Kueue beside a test cluster's control plane, for comparisons: a binary and CRDs that somebody has.

    KUEUE_BIN=…/kueue KUEUE_CRDS=…/config/components/crd/bases python benchmarks/side_by_side.py

It runs outside the cluster and without its webhooks, so Jobs are created suspended, as the webhook would have them. It
reads certificates from /etc/kueue, which is why it gets a view of /etc of its own: root only.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import paths  # noqa: F401  # makes `support` importable

from support.kube.certificates import Authority, Pair
from support.kube.cluster import Cluster
from support.kube.control_plane import free_ports
from support.kube.daemons import Daemon

QUEUE = "bench"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_GROUP = "kueue.x-k8s.io"
_GATES = "--feature-gates=VisibilityOnDemand=false"
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kueue:
    """Where somebody's Kueue is."""

    binary: Path
    crds: Path

    @classmethod
    def found(cls) -> Kueue | None:
        """Return what KUEUE_BIN and KUEUE_CRDS name; None unless both are set.

        Raises:
            SystemExit: they name nothing, or this is not root.
        """
        binary, crds = os.environ.get("KUEUE_BIN"), os.environ.get("KUEUE_CRDS")
        if not binary or not crds:
            return None
        for name, path in (("KUEUE_BIN", binary), ("KUEUE_CRDS", crds)):
            if not Path(path).exists():
                raise SystemExit(f"{name}={path}: there is nothing")
        if os.geteuid() != 0:
            raise SystemExit("Kueue reads certificates from /etc/kueue; a view of /etc of its own takes root")
        return cls(Path(binary), Path(crds))

    def start(self, cluster: Cluster, folder: Path, *, qps: int) -> Daemon:
        """Install the CRDs and run the manager until the caller stops it."""
        folder.mkdir(parents=True)
        cluster.kubectl("apply", "--server-side", "-f", str(self.crds))
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(self.crds))
        health, metrics, webhook = free_ports(3)
        pair = Authority(folder / "authority").issue("kueue", common_name="kueue", hosts=["127.0.0.1"])
        config = folder / "config.yaml"
        config.write_text(json.dumps(_configuration(folder, health, metrics, webhook, qps=qps)))
        _place_certificates(folder, pair)
        enter = 'mount --bind "$1" /etc && shift && exec "$@"'
        program = [str(self.binary), f"--config={config}", _GATES, "--zap-log-level=error"]
        command = ["unshare", "--mount", "sh", "-c", enter, "sh", str(folder / "etc"), *program]
        daemon = Daemon("kueue", ["env", f"KUBECONFIG={cluster.kubeconfig}", *command], folder / "kueue.log")
        daemon.start()
        daemon.wait_until(lambda: _is_ready(health), timeout_s=60)
        return daemon


def make_queue(cluster: Cluster, namespace: str, quota: Mapping[str, str], node_labels: Mapping[str, str]) -> None:
    """Make one flavour, one queue of the cluster with this quota, and one of the namespace."""
    flavour = {"name": QUEUE, "resources": [{"name": name, "nominalQuota": most} for name, most in quota.items()]}
    group = {"coveredResources": list(quota), "flavors": [flavour]}
    _make(cluster, "ResourceFlavor", "resourceflavors", {"nodeLabels": dict(node_labels)})
    _make(cluster, "ClusterQueue", "clusterqueues", {"namespaceSelector": {}, "resourceGroups": [group]})
    _make(cluster, "LocalQueue", "localqueues", {"clusterQueue": QUEUE}, namespace)


def job(number: int, pod: Object) -> Object:
    """Return a suspended Job of one pod that waits in the queue."""
    metadata = {"name": f"job-{number}", "labels": {QUEUE_LABEL: QUEUE}}
    spec = {"suspend": True, "backoffLimit": 0, "template": {"metadata": {}, "spec": pod["spec"]}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _make(cluster: Cluster, kind: str, plural: str, spec: Object, namespace: str | None = None) -> None:
    version = _version(cluster)
    place = f"namespaces/{namespace}/{plural}" if namespace else plural
    document = {"apiVersion": f"{_GROUP}/{version}", "kind": kind, "metadata": {"name": QUEUE}, "spec": spec}
    cluster.post(f"/apis/{_GROUP}/{version}/{place}", document)


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False, timeout=2).is_success
    except httpx.HTTPError:
        return False


def _version(cluster: Cluster) -> str | None:
    """Return the version that the API server prefers; None while it serves none."""
    groups = cluster.get("/apis")["groups"]
    return next((str(one["preferredVersion"]["version"]) for one in groups if one["name"] == _GROUP), None)


def _configuration(folder: Path, health: int, metrics: int, webhook: int, *, qps: int) -> Object:
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta1",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": f"127.0.0.1:{health}"},
        "metrics": {"bindAddress": f"127.0.0.1:{metrics}"},
        "webhook": {"host": "127.0.0.1", "port": webhook, "certDir": str(folder / "etc/kueue/metrics/certs")},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "clientConnection": {"qps": qps, "burst": 2 * qps},
        "integrations": {"frameworks": ["batch/job"]},
    }


def _place_certificates(folder: Path, pair: Pair) -> None:
    shutil.copytree("/etc", folder / "etc", symlinks=True, ignore_dangling_symlinks=True)
    certificates = folder / "etc/kueue/metrics/certs"
    certificates.mkdir(parents=True)
    shutil.copy(pair.certificate, certificates / "tls.crt")
    shutil.copy(pair.key, certificates / "tls.key")
