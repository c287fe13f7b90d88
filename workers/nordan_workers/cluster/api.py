"""Speak with a cluster's API server in plain JSON: a few requests of an operator's command, one at a time.

The official client's loaders read the kubeconfig, whatever way of logging in it names; requests are ours, so that what
is applied is exactly what was generated.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

from nordan_core.domain.errors import OperatorError
from nordan_workers.cluster.cel import Object

TIMEOUT_S = 30.0
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"

#: Where the API server keeps each kind that is installed, and whether it lives in a namespace.
_PLACES: Mapping[str, tuple[str, str]] = {
    "Namespace": ("api/v1", "namespaces"),
    "NetworkPolicy": ("apis/networking.k8s.io/v1", "networkpolicies"),
    "ValidatingAdmissionPolicy": ("apis/admissionregistration.k8s.io/v1", "validatingadmissionpolicies"),
    "ValidatingAdmissionPolicyBinding": ("apis/admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings"),
    "Role": ("apis/rbac.authorization.k8s.io/v1", "roles"),
    "RoleBinding": ("apis/rbac.authorization.k8s.io/v1", "rolebindings"),
    "ClusterRole": ("apis/rbac.authorization.k8s.io/v1", "clusterroles"),
    "ClusterRoleBinding": ("apis/rbac.authorization.k8s.io/v1", "clusterrolebindings"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said: an object, or a Status with a message."""

    status: int
    body: Object

    @property
    def is_good(self) -> bool:
        """Tell whether the request was done."""
        return 200 <= self.status < 300

    @property
    def message(self) -> str:
        """Return the server's own words."""
        return str(self.body.get("message", f"HTTP {self.status}"))


class ClusterApi(Protocol):
    """A cluster as the commands need it."""

    def send(self, method: str, path: str, body: Object | None = None, *, kind: str = "", **query: str) -> Answer:
        """Send one request; `kind` is the content type of a patch. Refusals are answers.

        Raises:
            OperatorError: nobody answered.
        """
        ...


class HttpCluster:
    """A cluster behind a kubeconfig."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def send(self, method: str, path: str, body: Object | None = None, *, kind: str = "", **query: str) -> Answer:
        """Send one request."""
        headers = {"Content-Type": kind or "application/json"} if body is not None else {}
        content = None if body is None else json.dumps(body).encode()
        try:
            response = self._http.request(method, path, content=content, headers=headers, params=query)
        except httpx.HTTPError as error:
            raise OperatorError(f"the cluster at {self._http.base_url} does not answer: {error}") from error
        return Answer(response.status_code, _object(response))


@contextmanager
def open_cluster(kubeconfig: Path | None, context: str | None = None) -> Iterator[HttpCluster]:
    """Open the cluster of a kubeconfig; None is where kubectl would look.

    Raises:
        OperatorError: it cannot be read, or names no cluster.
    """
    from kubernetes import client, config  # noqa: PLC0415  takes a second to import

    settings = client.Configuration()
    try:
        config.load_kube_config(  # type: ignore[no-untyped-call]  # no types there
            config_file=str(kubeconfig) if kubeconfig else None, context=context, client_configuration=settings
        )
    except (config.ConfigException, OSError, TypeError) as error:
        raise OperatorError(f"cannot use the kubeconfig {kubeconfig or 'of kubectl'}: {error}") from error
    trust = ssl.create_default_context(cafile=settings.ssl_ca_cert)
    if not settings.verify_ssl:
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    if settings.cert_file:
        trust.load_cert_chain(settings.cert_file, settings.key_file)
    shown: list[Any] = list(settings.auth_settings().values())  # Any: the package's types say nothing
    headers = {str(one["key"]): str(one["value"]) for one in shown if one["in"] == "header" and one["value"]}
    with httpx.Client(base_url=settings.host, verify=trust, headers=headers, timeout=TIMEOUT_S) as http:
        yield HttpCluster(http)


def read(cluster: ClusterApi, wanted: Object) -> Object | None:
    """Return the object of the same kind and name as it stands; None when there is none."""
    answer = cluster.send("GET", path_of(wanted))
    if answer.status == httpx.codes.NOT_FOUND:
        return None
    return _good(answer, wanted)


def apply(cluster: ClusterApi, wanted: Object, *, is_dry: bool = False) -> Object:
    """Apply an object server-side, taking fields back from whoever else holds them; returns it with all defaults.

    Raises:
        OperatorError: the server refused; says what.
    """
    query = {"fieldManager": "nordan", "force": "true"} | ({"dryRun": "All"} if is_dry else {})
    return _good(cluster.send("PATCH", path_of(wanted), wanted, kind=_APPLY, **query), wanted)


def replace(cluster: ClusterApi, wanted: Object, version: str) -> Object:
    """Put an object in place of what stands there at that version, fields of others included."""
    body = {**wanted, "metadata": {**wanted["metadata"], "resourceVersion": version}}
    return _good(cluster.send("PUT", path_of(wanted), body, fieldManager="nordan"), wanted)


def merge(cluster: ClusterApi, path: str, patch: Object) -> Answer:
    """Merge a patch into an object."""
    return cluster.send("PATCH", path, patch, kind=_MERGE, fieldManager="nordan")


def path_of(wanted: Object) -> str:
    """Return the path of an object."""
    metadata = wanted["metadata"]
    return f"{folder_of(str(wanted['kind']), metadata.get('namespace'))}/{metadata['name']}"


def folder_of(kind: str, namespace: str | None = None) -> str:
    """Return the path of all objects of a kind, in a namespace if it lives in one."""
    prefix, plural = _PLACES[kind]
    inside = "" if namespace is None else f"namespaces/{namespace}/"
    return f"/{prefix}/{inside}{plural}"


def _good(answer: Answer, wanted: Object) -> Object:
    if not answer.is_good:
        name = f"{wanted['kind']} {wanted['metadata']['name']}"
        raise OperatorError(f"the cluster refused {name}: {answer.message}")
    return answer.body


def _object(response: httpx.Response) -> Object:
    try:
        body = response.json()
    except ValueError:
        return {"message": response.text[:500]}
    return body if isinstance(body, dict) else {"items": body}
