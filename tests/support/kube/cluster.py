"""A cluster as tests see it: identities, namespaces, kubectl, nodes that exist only as objects.

What a test creates outside a namespace of its own it removes itself: the cluster is shared by one process's tests.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

import httpx

from support.kube import binaries, kwok_stages
from support.kube.access import Access
from support.kube.control_plane import ControlPlane

#: Objects are JSON as the API server speaks it; tests look into them by key.
Object = dict[str, Any]

GPU = "nvidia.com/gpu"
_PATCH = {"json": "application/json-patch+json", "merge": "application/merge-patch+json"}
_numbers = itertools.count(1)


class Level(StrEnum):
    """What a cluster can do; each level can do what those before it can."""

    API = "api"
    """etcd and the API server: objects, admission, access, watches."""
    CONTROL = "control"
    """And controllers, the scheduler and KWOK: Jobs, placement, scale; pods are played, not run."""
    NODE = "node"
    """And kubelets with containerd: pods really run."""


class Cluster:
    """A running cluster and an administrator's way into it."""

    def __init__(self, level: Level, access: Access, plane: ControlPlane | None = None) -> None:
        self.level = level
        self.access = access
        self._plane = plane
        self._admin = access.client()

    @property
    def url(self) -> str:
        """The API server's address for this process."""
        return self.access.url

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.access.kubeconfig()

    @property
    def plane(self) -> ControlPlane:
        """The servers themselves, for tests of faults. A cluster that a user named has none."""
        assert self._plane is not None, "this cluster is not ours: its servers cannot be stopped"
        return self._plane

    def token(self, identity: str = "admin") -> str:
        """Return the bearer token of `admin`, of `tenant` (no rights) or of `node1`, `node2` (kubelets)."""
        if identity == "tenant" and identity not in self.access.tokens:
            self.access.tokens[identity] = self.service_account_token("default", "nordan-test-tenant")
        return self.access.tokens[identity]

    def kubeconfig_of(self, identity: str) -> Path:
        """Return the kubeconfig of an identity that `token` knows."""
        self.token(identity)
        return self.access.kubeconfig(identity)

    def client(self, identity: str = "admin") -> httpx.Client:
        """Return an HTTP client with the identity's token; the caller closes it."""
        return self.access.client(identity)

    def service_account_token(self, namespace: str, name: str) -> str:
        """Return a fresh token of a service account, which is made if it is not there."""
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        self.ensure(accounts, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        return str(self.post(f"{accounts}/{name}/token", request)["status"]["token"])

    def service_account_kubeconfig(self, namespace: str, name: str) -> Path:
        """Return a kubeconfig file that speaks as a service account."""
        token = self.service_account_token(namespace, name)
        return self.access.kubeconfig_for_token(f"{namespace}.{name}", token, namespace=namespace)

    @contextmanager
    def namespace(self, *, prefix: str = "test", labels: Mapping[str, str] | None = None) -> Iterator[str]:
        """Yield the name of a fresh namespace; it is removed in the background afterwards."""
        name = f"{prefix}-{os.getpid()}-{next(_numbers)}"
        metadata = {"name": name, "labels": dict(labels or {})}
        self.post("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        # A pod needs the account `default`. Where a controller makes it as well, one of the two comes second.
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        self.ensure(f"/api/v1/namespaces/{name}/serviceaccounts", account)
        try:
            yield name
        finally:
            self.delete(f"/api/v1/namespaces/{name}")

    def kubectl(self, *arguments: str, text: str | None = None, identity: str = "admin") -> str:
        """Run kubectl and return its standard output.

        Raises: AssertionError with both outputs when it fails.
        """
        done = self.try_kubectl(*arguments, text=text, identity=identity)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def try_kubectl(
        self, *arguments: str, text: str | None = None, identity: str = "admin"
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl with `text` as its input and return what came of it, good or bad."""
        kubeconfig = self.kubeconfig if identity == "admin" else self.kubeconfig_of(identity)
        argv = [
            binaries.kubectl(),
            f"--kubeconfig={kubeconfig}",
            f"--cache-dir={self.access.folder / 'kubectl-cache'}",
            *arguments,
        ]
        return subprocess.run(argv, input=text, capture_output=True, text=True, check=False, timeout=120)

    def get(self, path: str, **query: str) -> Object:
        """GET as the administrator. Raises: httpx.HTTPStatusError."""
        return _answer(self._admin.get(path, params=query))

    def post(self, path: str, document: object) -> Object:
        """POST as the administrator. Raises: httpx.HTTPStatusError."""
        return _answer(self._admin.post(path, json=document))

    def patch(self, path: str, document: object, *, kind: str = "merge") -> Object:
        """PATCH as the administrator with a `merge` or a `json` patch. Raises: httpx.HTTPStatusError."""
        content = json.dumps(document)
        return _answer(self._admin.patch(path, content=content, headers={"Content-Type": _PATCH[kind]}))

    def delete(self, path: str, *, grace_s: int | None = None, selector: str | None = None) -> None:
        """DELETE an object, or with a selector a collection; what is not there is not missed."""
        query = {"gracePeriodSeconds": str(grace_s)} if grace_s is not None else {}
        if selector:
            query["labelSelector"] = selector
        answer = self._admin.delete(path, params=query)
        if answer.status_code != httpx.codes.NOT_FOUND:
            _answer(answer)

    def ensure(self, collection: str, document: object) -> None:
        """POST what may be there already."""
        answer = self._admin.post(collection, json=document)
        if answer.status_code != httpx.codes.CONFLICT:
            _answer(answer)

    def wait_for(
        self, description: str | Callable[[], str], is_so: Callable[[], object], *, timeout_s: float = 30.0
    ) -> None:
        """Poll until `is_so` returns something true.

        Raises: AssertionError with the description when the time is over.
        """
        deadline = time.monotonic() + timeout_s
        while not is_so():
            if time.monotonic() > deadline:
                text = description if isinstance(description, str) else description()
                raise AssertionError(f"not within {timeout_s:.0f} s: {text}")
            time.sleep(0.1)

    def pod(self, namespace: str, name: str) -> Object:
        """Return one pod."""
        return self.get(f"/api/v1/namespaces/{namespace}/pods/{name}")

    def wait_for_phase(self, namespace: str, name: str, *phases: str, timeout_s: float = 60.0) -> Object:
        """Wait until a pod is in one of the phases; return it."""
        seen: Object = {}

        def is_there() -> bool:
            seen.update(self.pod(namespace, name))
            return seen["status"].get("phase") in phases

        self.wait_for(
            lambda: f"pod {name} is {' or '.join(phases)}: {seen.get('status')}", is_there, timeout_s=timeout_s
        )
        return seen

    def end_pod(
        self, namespace: str, name: str, *, exit_code: int = 0, reason: str | None = None, message: str = ""
    ) -> None:
        """Let a pod that KWOK plays end: every container terminates with the code, the reason and the message."""
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        ended = {"exitCode": exit_code, "reason": reason or ("Error" if exit_code else "Completed"), "message": message}
        terminated = {**ended, "startedAt": now, "finishedAt": now}
        statuses = [
            {"name": each["name"], "image": each["image"], "imageID": "", "ready": False, "restartCount": 0}
            | {"state": {"terminated": terminated}}
            for each in self.get(path)["spec"]["containers"]
        ]
        phase = "Failed" if exit_code else "Succeeded"
        self.patch(f"{path}/status", {"status": {"phase": phase, "containerStatuses": statuses}})

    def add_fake_nodes(
        self,
        count: int,
        *,
        gpus: int = 8,
        prefix: str = "fake",
        labels: Mapping[str, str] | None = None,
        taints: Sequence[Object] | None = None,
    ) -> list[str]:
        """Add nodes that KWOK plays; return their names when all are ready.

        A taint of their own keeps other pods away, unless `taints` says otherwise. Nodes of a pool of Nordan's need it
        to say so: a taint that is not the pool's keeps Nordan's pods away as well.
        """
        names = [f"{prefix}-{number}" for number in range(count)]
        for name in names:
            self.ensure(
                "/api/v1/nodes", _fake_node(name, gpus, labels or {}, _FAKE_TAINTS if taints is None else taints)
            )
        wanted = set(names)
        self.wait_for(
            f"{count} fake nodes are ready", lambda: wanted <= set(self.ready_nodes()), timeout_s=30 + count / 20
        )
        return names

    def remove_nodes(self, names: Sequence[str]) -> None:
        """Remove nodes that a test added."""
        for name in names:
            self.delete(f"/api/v1/nodes/{name}")

    def ready_nodes(self) -> list[str]:
        """List the nodes whose condition Ready is true and that no longer have the not-ready taint."""
        return [
            node["metadata"]["name"]
            for node in self.get("/api/v1/nodes")["items"]
            if _is_ready(node) and not any("not-ready" in taint["key"] for taint in node["spec"].get("taints", []))
        ]

    def give_gpus(self, node: str, count: int, *, resource: str = GPU) -> None:
        """Let a node offer GPUs that it does not have."""
        escaped = resource.replace("/", "~1")
        self.patch(
            f"/api/v1/nodes/{node}/status",
            [
                {"op": "add", "path": f"/status/{part}/{escaped}", "value": str(count)}
                for part in ("capacity", "allocatable")
            ],
            kind="json",
        )

    def stop(self) -> None:
        """End what runs for this cluster."""
        self._admin.close()
        if self._plane is not None:
            self._plane.stop()


_FAKE_TAINTS = ({"key": kwok_stages.NODE_ANNOTATION, "value": "fake", "effect": "NoSchedule"},)


def _fake_node(name: str, gpus: int, labels: Mapping[str, str], taints: Sequence[Object]) -> Object:
    size = {"cpu": "64", "memory": "512Gi", "ephemeral-storage": "1Ti", "pods": "110", GPU: str(gpus)}
    mark = {kwok_stages.NODE_ANNOTATION: kwok_stages.NODE_MARK}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "annotations": mark, "labels": {"type": "kwok", **labels}},
        "spec": {"taints": list(taints)},
        "status": {"capacity": size, "allocatable": size},
    }


def _is_ready(node: Object) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in node["status"].get("conditions", []))


def _answer(response: httpx.Response) -> Object:
    """Return the body; put the server's own words into the error."""
    if response.is_error:
        message = f"{response.request.method} {response.request.url.path}: {response.status_code} {response.text}"
        raise httpx.HTTPStatusError(message, request=response.request, response=response)
    return dict(response.json())
