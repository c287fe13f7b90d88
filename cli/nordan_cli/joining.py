"""The one Secret by which a region's cluster joins: the join bundle, and the users of the region's broker.

Used by `nordan admin regions join`. The broker's password is made here: the control plane gets it in the request, the
region gets it in the Secret, and nobody else has it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from nordan_cli.errors import WrongUse
from nordan_core.broker_users import users_file
from nordan_core.cluster_secrets import as_yaml, secret

REGION_NAMESPACE = "nordan-region"
JOIN_SECRET = "nordan-join"  # noqa: S105  # its name
#: The broker as the region's own worker reaches it: a Service of the same namespace, which the manifests fix.
OWN_BROKER = "nordan-broker:6379"
BROKER_PORT = 6379


@dataclass(frozen=True, slots=True)
class NewBroker:
    """A broker that will know one user of this region."""

    region: str
    scheme: str
    address: str
    password: str = field(repr=False)

    @property
    def url(self) -> str:
        """How the control plane reaches it."""
        return self._url(self.scheme, self.address)

    @property
    def own_url(self) -> str:
        """How the region's own worker reaches it."""
        return self._url("redis", OWN_BROKER)

    def _url(self, scheme: str, address: str) -> str:
        return f"{scheme}://{quote(self.region)}:{self.password}@{address}/0"


def new_broker(region: str, url: str) -> NewBroker:
    """Return a broker at this URL, with a fresh password.

    Raises:
        WrongUse: it is no URL of a broker, or says more than where the broker is.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or BROKER_PORT
    except ValueError:
        parts, port = urlsplit(""), 0
    is_plain = not (parts.username or parts.password or parts.query or parts.fragment or parts.path.strip("/"))
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or not is_plain:
        raise WrongUse("--broker takes redis://HOST:PORT or rediss://HOST:PORT; user and password are made for you")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return NewBroker(region, parts.scheme, f"{host}:{port}", secrets.token_hex(32))


def join_secret(bundle: Mapping[str, Any], broker: NewBroker, namespace: str) -> str:  # Any: JSON
    """Return the Secret as YAML."""
    files = {
        "join.json": json.dumps({**bundle, "broker_url": broker.own_url}, indent=1),
        "users.acl": users_file(broker.region, broker.password),
    }
    return as_yaml([secret(JOIN_SECRET, namespace, files)])
