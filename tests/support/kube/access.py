"""Who may speak to a test cluster, and how: tokens, kubeconfig files and plain HTTP clients."""

from __future__ import annotations

import base64
import json
import secrets
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import httpx

#: User and groups of each identity that a cluster of ours knows by token. The tenant has no rights at all.
IDENTITIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "admin": ("admin", ("system:masters",)),
    "tenant": ("tenant", ()),
    "controller-manager": ("system:kube-controller-manager", ()),
    "scheduler": ("system:kube-scheduler", ()),
    "proxy": ("system:kube-proxy", ()),
    "node1": ("system:node:node1", ("system:nodes",)),
    "node2": ("system:node:node2", ("system:nodes",)),
}


@dataclass(slots=True)
class Access:
    """One API server and the identities that it knows."""

    url: str
    ca_file: Path
    folder: Path
    """Where kubeconfig files are written, readable by us only."""
    tokens: dict[str, str] = field(default_factory=dict)
    client_certificate: tuple[Path, Path] | None = None
    """The administrator's certificate and key where a cluster of somebody else's knows no token."""

    def kubeconfig(self, identity: str = "admin", *, url: str | None = None) -> Path:
        """Return a kubeconfig file for an identity; `url` is for those who reach the server another way."""
        return self.write_kubeconfig(identity if url is None else f"{identity}-inside", self._user(identity), url=url)

    def kubeconfig_for_token(self, name: str, token: str, *, namespace: str = "default") -> Path:
        """Return a kubeconfig file for a token that the cluster minted."""
        return self.write_kubeconfig(name, {"token": token}, namespace=namespace)

    def client(self, identity: str = "admin") -> httpx.Client:
        """Return a client that speaks raw JSON to the API server; the caller closes it."""
        verify = ssl.create_default_context(cafile=str(self.ca_file))
        token = self.tokens.get(identity)
        if token is None and self.client_certificate and identity == "admin":
            verify.load_cert_chain(*self.client_certificate)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, headers=headers, verify=verify, timeout=30.0, trust_env=False)

    def write_kubeconfig(
        self, name: str, user: dict[str, str], *, url: str | None = None, namespace: str = "default"
    ) -> Path:
        """Write a kubeconfig file (JSON is YAML) with the authority inside, so that it can be copied."""
        authority = base64.b64encode(self.ca_file.read_bytes()).decode()
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "test", "cluster": {"server": url or self.url, "certificate-authority-data": authority}}
            ],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name, "namespace": namespace}}],
            "current-context": "test",
        }
        path = self.folder / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(document, indent=1))
        return path

    def _user(self, identity: str) -> dict[str, str]:
        if identity in self.tokens:
            return {"token": self.tokens[identity]}
        if self.client_certificate and identity == "admin":
            certificate, key = self.client_certificate
            return {"client-certificate": str(certificate), "client-key": str(key)}
        raise KeyError(f"no identity {identity!r}; there are {', '.join(self.tokens)}")


def new_tokens() -> dict[str, str]:
    """Return a random token for each identity."""
    return {identity: secrets.token_hex(16) for identity in IDENTITIES}


def token_file(tokens: dict[str, str]) -> str:
    """Return the lines of the API server's `--token-auth-file`."""
    lines = []
    for number, (identity, token) in enumerate(tokens.items(), start=1):
        user, groups = IDENTITIES[identity]
        lines.append(f'{token},{user},{number},"{",".join(groups)}"' if groups else f"{token},{user},{number}")
    return "\n".join(lines) + "\n"
