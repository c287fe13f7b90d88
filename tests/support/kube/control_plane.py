"""etcd, the API server and, from level `control` on, the controller manager, the scheduler and KWOK."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from support.kube import kwok_stages
from support.kube.access import Access, new_tokens, token_file
from support.kube.binaries import Binaries
from support.kube.certificates import Authority
from support.kube.daemons import Daemon, DaemonFailed

SERVICE_RANGE = "10.96.0.0/16"
_START_S = 60.0
_LOOPBACK = "127.0.0.1"
_AGE = 5
#: Base64, as etcd's gateway wants it: the key `age`, no value.
_NOTHING = {"key": "YWdl", "value": ""}
#: Free ports are found and then let go of, so another process may take one first.
_TRIES = 3
_PORTS = (20_000, 32_000)
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "verbs": ["create"], "resources": [{"group": "", "resources": ["pods"]}]},
        {"level": "None"},
    ],
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the control plane runs: the address it binds, its ports, and how a process gets there."""

    host: str
    api_port: int
    etcd_port: int
    etcd_peer_port: int
    prefix: Sequence[str] = ()
    """Words before each command line: nothing, or what enters a network namespace."""
    outer_url: str | None = None
    """How the test process reaches the API server when that differs from host and port."""

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.api_port}"

    @property
    def is_loopback(self) -> bool:
        return self.host == "127.0.0.1"


class ControlPlane:
    """The running servers of one cluster, each of which a test may stop, pause or restart."""

    def __init__(self, folder: Path, binaries: Binaries, place: Place, authority: Authority) -> None:
        self.folder = folder
        self.place = place
        self._binaries = binaries
        self._authority = authority
        self._tokens = new_tokens()
        self.access = Access(place.outer_url or place.url, authority.file, folder, self._tokens)
        self._inner = Access(place.url, authority.file, folder / "inner", self._tokens)
        self._inner.folder.mkdir(exist_ok=True)
        self.etcd = self._daemon("etcd", self._etcd_arguments())
        self.api_server = self._daemon("kube-apiserver", self._api_server_arguments())
        self.others: dict[str, Daemon] = {}

    @property
    def audit_log(self) -> Path:
        """Where the API server notes each pod that it makes, a line of JSON for each."""
        return self.folder / "audit.log"

    def inner_kubeconfig(self, identity: str) -> Path:
        """Return a kubeconfig for processes that run where the API server runs."""
        return self._inner.kubeconfig(identity)

    def start(self) -> None:
        """Start etcd and the API server; return when the server is ready.

        Raises: DaemonFailed.
        """
        self.etcd.start()
        if self.place.host == _LOOPBACK:
            # Elsewhere etcd can be reached from its own network only.
            self.etcd.wait_until(self._is_aged, timeout_s=_START_S)
        self.start_api_server()

    def start_api_server(self) -> None:
        """Start the API server and wait for /readyz."""
        self.api_server.start()
        with self.access.client() as client:
            self.api_server.wait_until(lambda: _is_ready(client), timeout_s=_START_S)

    def restart_api_server(self) -> None:
        """Stop the API server and start it again, with everything that it stored."""
        self.api_server.stop()
        self.start_api_server()

    def start_controllers(self) -> None:
        """Start the controller manager and the scheduler."""
        for name, identity, arguments in (
            ("kube-controller-manager", "controller-manager", self._controller_manager_arguments()),
            ("kube-scheduler", "scheduler", ["--kube-api-qps=2000", "--kube-api-burst=4000"]),
        ):
            common = ["--leader-elect=false", "--bind-address=127.0.0.1", "--secure-port=0"]
            self.add(name, [f"--kubeconfig={self.inner_kubeconfig(identity)}", *common, *arguments])

    def start_kwok(self) -> None:
        """Start KWOK: nodes with its annotation become ready, pods bound to them run."""
        stages = self.folder / "stages.yaml"
        stages.write_text(kwok_stages.document())
        self.add(
            "kwok",
            [
                f"--kubeconfig={self.inner_kubeconfig('admin')}",
                f"--config={stages}",
                f"--manage-nodes-with-annotation-selector={kwok_stages.NODE_ANNOTATION}={kwok_stages.NODE_MARK}",
                "--node-ip=127.0.0.1",
                "--cidr=10.245.0.0/16",
                "--node-lease-duration-seconds=40",
            ],
        )

    def add(self, name: str, arguments: Sequence[str]) -> Daemon:
        """Start one more server beside the API server."""
        self.others[name] = daemon = self._daemon(name, arguments)
        daemon.start()
        return daemon

    def stop(self) -> None:
        """End everything; the data is of no use to anybody, so nothing is asked to finish."""
        for daemon in (*reversed(self.others.values()), self.api_server, self.etcd):
            daemon.kill()

    def _daemon(self, name: str, arguments: Sequence[str]) -> Daemon:
        argv = [*self.place.prefix, *self._binaries.argv(name), *arguments]
        return Daemon(name, argv, self.folder / f"{name}.log")

    def _is_aged(self) -> bool:
        """Write something, so that resource version 1 is older than whatever the API server lists first.

        A server that starts quickly lists before anything was written; then it can serve a watch from 1 for ever.
        """
        url = f"http://{self.place.host}:{self.place.etcd_port}/v3/kv/put"
        try:
            return all(httpx.post(url, json=_NOTHING, timeout=2.0).is_success for _ in range(_AGE))
        except httpx.HTTPError:
            return False

    def _etcd_arguments(self) -> list[str]:
        client = f"http://{self.place.host}:{self.place.etcd_port}"
        peer = f"http://{self.place.host}:{self.place.etcd_peer_port}"
        return [
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def _api_server_arguments(self) -> list[str]:
        place = self.place
        serving = self._authority.issue(
            "kube-apiserver",
            common_name="kube-apiserver",
            hosts=[place.host, "127.0.0.1", "localhost", "10.96.0.1", "kubernetes.default.svc"],
        )
        to_kubelets = self._authority.issue(
            "kubelet-client", common_name="kubelet-client", organisation="system:masters"
        )
        account_keys = self._authority.token_keys()
        audit_policy = self.folder / "audit-policy.json"
        audit_policy.write_text(json.dumps(_AUDIT_POLICY))
        tokens = self.folder / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(token_file(self._tokens))
        return [
            f"--etcd-servers=http://{place.host}:{place.etcd_port}",
            f"--bind-address={place.host}",
            f"--secure-port={place.api_port}",
            f"--advertise-address={place.host}",
            # An endpoint on loopback is refused, so there is no `kubernetes` endpoint there.
            *(["--endpoint-reconciler-type=none"] if place.is_loopback else []),
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
            f"--client-ca-file={self._authority.file}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={account_keys.certificate}",
            f"--service-account-signing-key-file={account_keys.key}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            f"--kubelet-client-certificate={to_kubelets.certificate}",
            f"--kubelet-client-key={to_kubelets.key}",
            f"--kubelet-certificate-authority={self._authority.file}",
            "--kubelet-preferred-address-types=InternalIP,Hostname",
            f"--audit-policy-file={audit_policy}",
            f"--audit-log-path={self.audit_log}",
        ]

    def _controller_manager_arguments(self) -> list[str]:
        return [
            f"--service-account-private-key-file={self.folder / 'certificates' / 'sa.key'}",
            f"--root-ca-file={self._authority.file}",
            "--use-service-account-credentials=true",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ]


def start_on_loopback(folder: Path, binaries: Binaries) -> ControlPlane:
    """Start etcd and an API server on free loopback ports.

    Raises: DaemonFailed.
    """
    for attempt in range(1, _TRIES + 1):
        home = folder / f"try-{attempt}"
        home.mkdir(mode=0o700)
        api_port, etcd_port, peer_port = free_ports(3)
        place = Place(_LOOPBACK, api_port, etcd_port, peer_port)
        plane = ControlPlane(home, binaries, place, Authority(home / "certificates"))
        try:
            plane.start()
        except DaemonFailed:
            plane.stop()
            if attempt == _TRIES:
                raise
            time.sleep(0.2 * attempt)
        else:
            return plane
    raise AssertionError("unreachable: the last try returns or raises")


def free_ports(count: int) -> list[int]:
    """Return loopback ports that nobody listens on.

    They lie below those that the kernel gives to outgoing connections, so that a server which is restarted gets its
    port again.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(*_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.append(port)
    return ports


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz", timeout=2.0).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
