"""Ask the control plane what a region is: its territory and its pools.

The command belongs to this package and the login to the CLI's, which may not be imported: what the CLI hands over is
described here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from nordan_core.domain.errors import OperatorError
from nordan_core.domain.places import ExecutorKind

TIMEOUT_S = 30.0
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Login(Protocol):
    """Where the control plane is, and as whom."""

    @property
    def url(self) -> str:
        """Address."""
        ...

    @property
    def key(self) -> str:
        """API key."""
        ...


class Caller(Protocol):
    """The CLI's own run, as far as a command from here needs it."""

    transport: httpx.BaseTransport | None

    def settle(self, *, project: str | None = None) -> Login:
        """Return options, environment and file put together; raises when no address or key is known."""
        ...


@dataclass(frozen=True, slots=True)
class RegionFacts:
    """A region as the control plane knows it."""

    code: str
    territory: str
    pools: tuple[str, ...]


def region_facts(caller: Caller, code: str) -> RegionFacts:
    """Return a region with its pools.

    Raises:
        OperatorError: nobody answers, the key may not ask, or no region of that code runs jobs on Kubernetes.
    """
    login = caller.settle()
    with _client(caller, login) as http:
        regions, pools = (_items(http, what) for what in ("regions", "pools"))
    region = next((one for one in regions if one.get("code") == code), None)
    if region is None:
        known = ", ".join(sorted(str(one.get("code")) for one in regions)) or "none"
        raise OperatorError(f"no region {code!r}; there are: {known}")
    if region.get("executor") != ExecutorKind.KUBERNETES.value:
        raise OperatorError(f"region {code} runs its jobs without Kubernetes (executor {region.get('executor')})")
    names = tuple(sorted(str(one["name"]) for one in pools if one.get("region") == code))
    return RegionFacts(code, str(region["territory"]), names)


def _client(caller: Caller, login: Login) -> httpx.Client:
    url = httpx.URL(login.url)
    return httpx.Client(
        base_url=url,
        headers={"Authorization": f"Bearer {login.key}", "Accept": "application/json"},
        transport=caller.transport,
        timeout=TIMEOUT_S,
        trust_env=url.host not in _LOOPBACK,
    )


def _items(http: httpx.Client, what: str) -> list[dict[str, Any]]:  # Any: JSON
    try:
        answer = http.get(f"/v1/{what}")
        body = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise OperatorError(f"no answer from {http.base_url}: {error}") from error
    if not answer.is_success:
        raise OperatorError(
            f"the control plane refused: {body.get('detail') or body.get('title') or answer.status_code}"
        )
    items: list[dict[str, Any]] = body["items"]
    return items
