"""How to reach a cluster's API server: from a kubeconfig file, or from what a pod finds in itself. Reads files only.

Every entry that this client does not know is refused by name: a kubeconfig that is half understood would reach the
cluster as somebody else, or without checking who answers.
"""

from __future__ import annotations

import base64
import binascii
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nordan_core.domain.errors import OperatorError

#: Where the kubelet puts a pod's own account.
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_UNKNOWN = ("exec", "auth-provider", "username", "password", "as")


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the API server is, whom to trust, and who is asking."""

    server: str
    """`https://host:port`, without a slash at the end."""
    authority: str = ""
    """Certificates to trust, PEM; empty: the system's."""
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    """Read again when it changes: a pod's token lives for an hour."""
    certificate: str = ""
    key: str = field(default="", repr=False)
    server_name: str = ""
    """Name that the server's certificate must have, where it is not the host's."""

    def tls(self) -> ssl.SSLContext:
        """Return a context that trusts only the authority and shows the certificate, if there is one.

        Raises:
            OperatorError: a certificate or key is not PEM, or they do not belong together.
        """
        try:
            context = ssl.create_default_context(cadata=self.authority or None)
            if self.certificate:
                with _as_file(self.certificate) as certificate, _as_file(self.key) as key:
                    context.load_cert_chain(certificate, key)
        except ssl.SSLError as error:
            raise OperatorError(f"the cluster's certificates cannot be used: {error.reason}") from error
        return context


def from_kubeconfig(path: Path) -> Connection:
    """Return the connection of the file's current context.

    Raises:
        OperatorError: says which entry is missing, unreadable or not supported.
    """
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise OperatorError(f"cannot read the kubeconfig {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OperatorError(f"{path} is not a kubeconfig: it is not YAML") from error
    if not isinstance(document, dict):
        raise OperatorError(f"{path} is not a kubeconfig: it is not a mapping")
    return _connection(document, path)


def from_account(host: str, port: int, folder: Path = ACCOUNT) -> Connection:
    """Return the connection that a pod's service account gives.

    Raises:
        OperatorError: this process is not in a pod, or its pod has no account.
    """
    if not host:
        raise OperatorError("this process is not in a cluster; set NORDAN_KUBECONFIG to a kubeconfig file")
    try:
        authority = (folder / "ca.crt").read_text()
    except OSError as error:
        raise OperatorError(f"the pod has no service account in {folder}: {error.strerror}") from error
    shown = f"[{host}]" if ":" in host else host
    return Connection(f"https://{shown}:{port}", authority, token_file=folder / "token")


def _connection(document: Mapping[str, Any], path: Path) -> Connection:
    context = _entry(document, "contexts", "context", str(document.get("current-context", "")), path)
    cluster = _entry(document, "clusters", "cluster", str(context.get("cluster", "")), path)
    user = _entry(document, "users", "user", str(context.get("user", "")), path)
    server = str(cluster.get("server", ""))
    if not server.startswith(("https://", "http://")):
        raise OperatorError(f"{path}: the cluster's server is {server!r}; write https://host:port")
    if cluster.get("insecure-skip-tls-verify"):
        raise OperatorError(f"{path} skips the check of the server's certificate; give certificate-authority instead")
    if unknown := next((name for name in _UNKNOWN if user.get(name)), ""):
        raise OperatorError(f"{path} has the user entry {unknown!r}; use a token, a token file or a certificate")
    token_file = user.get("tokenFile")
    return Connection(
        server=server.rstrip("/"),
        authority=_pem(cluster, "certificate-authority", path),
        token=str(user.get("token", "")),
        token_file=path.parent / str(token_file) if token_file else None,
        certificate=_pem(user, "client-certificate", path),
        key=_pem(user, "client-key", path),
        server_name=str(cluster.get("tls-server-name", "")),
    )


def _entry(document: Mapping[str, Any], group: str, kind: str, name: str, path: Path) -> Mapping[str, Any]:
    rows = document.get(group)
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and row.get("name") == name and isinstance(row.get(kind), dict):
            found: Mapping[str, Any] = row[kind]
            return found
    raise OperatorError(f"{path} has no {kind} {name!r} among its {group}")


def _pem(entry: Mapping[str, Any], name: str, path: Path) -> str:
    """Return what `<name>-data` holds or the file `<name>` does; empty when neither is there."""
    try:
        if data := entry.get(f"{name}-data"):
            return base64.b64decode(str(data), validate=True).decode()
        return (path.parent / str(entry[name])).read_text() if entry.get(name) else ""
    except OSError as error:
        raise OperatorError(f"{path}: cannot read the file of {name}: {error.strerror}") from error
    except (binascii.Error, UnicodeDecodeError) as error:
        raise OperatorError(f"{path}: {name}-data is not base64 of a PEM text") from error


@contextmanager
def _as_file(text: str) -> Iterator[str]:
    """Lend a text as a file of the owner's alone: the standard library loads certificates from files only."""
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(text)
        file.flush()
        yield file.name
