"""Secrets of a deployment as Kubernetes objects: `python -m nordan_core.cluster_secrets | kubectl create -f -`.

Makes what `nordan up` makes in its data folder: the two signing keys, each for the one process that signs with it, and
what api and schedulers share. Nothing is written to disk. Use `kubectl create`, which refuses to replace: a signing key
that is replaced makes every grant under way invalid. The objects' form is also what `nordan admin regions join` prints.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from nordan_core.proof.keys import SigningKey

#: Names that the manifests in deploy/components mount.
GRANT_KEY = "nordan-grant-key"
CERTIFICATE_KEY = "nordan-certificate-key"
CERTIFICATE_PUBLIC_KEY = "nordan-certificate-public-key"
SHARED = "nordan-shared"
DATABASE = "nordan-database"
Object = dict[str, Any]  # Any: JSON


def secret(name: str, namespace: str, values: Mapping[str, str]) -> Object:
    """Return a Secret whose values are files of these names."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "nordan"}},
        "type": "Opaque",
        "stringData": dict(values),
    }


def as_yaml(objects: Sequence[Object]) -> str:
    """Return objects as one YAML stream."""
    return yaml.safe_dump_all(objects, sort_keys=False)


def control_plane_secrets(namespace: str, database_host: str = "") -> list[Object]:
    """Return fresh secrets of a control plane; with a host, also a password for a new database there."""
    grant, certificate = SigningKey.create(), SigningKey.create()
    made = [
        secret(GRANT_KEY, namespace, {"grant.key": grant.pem()}),
        secret(CERTIFICATE_KEY, namespace, {"certificate.key": certificate.pem()}),
        secret(CERTIFICATE_PUBLIC_KEY, namespace, {"certificate.key.pub": certificate.public.pem()}),
        secret(SHARED, namespace, {"scheduler-secret": secrets.token_hex(32), "sealing-key": secrets.token_hex(32)}),
    ]
    if database_host:
        url = f"postgresql://nordan@{database_host}/nordan"
        made.append(secret(DATABASE, namespace, {"url": url, "password": secrets.token_hex(32)}))
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the objects."""
    parser = argparse.ArgumentParser(
        prog="python -m nordan_core.cluster_secrets", description="Make a control plane's Secrets; prints them as YAML."
    )
    parser.add_argument("--namespace", default="nordan", help="namespace of the control plane (default: nordan)")
    parser.add_argument(
        "--new-database", default="", metavar="HOST", help="also make the Secret of a database that will start at HOST"
    )
    chosen = parser.parse_args(arguments)
    sys.stdout.write(as_yaml(control_plane_secrets(chosen.namespace, chosen.new_database)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
