"""Idempotency keys: the same request twice has one effect and one answer.

They count where work is submitted. Everywhere else they are refused rather than ignored: who sends one relies on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request

from nordan_core.domain.errors import Invalid
from nordan_core.domain.tenants import Principal
from nordan_core.proof.canonical import digest_of

_MAX_LENGTH = 255
_HEADER = "Idempotency-Key"
Route = TypeVar("Route", bound=Callable[..., object])
#: Routes on which a key counts.
_COUNTS: set[object] = set()


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """Where an answer is kept, and the digest that a repeated request must have."""

    scope: str
    request_digest: str


def counts_keys(route: Route) -> Route:
    """Mark a route that takes idempotency keys: it calls `key_of` and keeps its answer in the effect's transaction."""
    _COUNTS.add(route)
    return route


def refuse_idle_key(request: Request) -> None:
    """Refuse a key where it would not count; what only reads or deletes may be repeated, and no key is looked at.

    Called once it is known who asks: a stranger learns nothing of a route but that it takes a credential.

    Raises:
        Invalid: nothing was done.
    """
    if request.method == "POST" and _HEADER in request.headers and request.scope["endpoint"] not in _COUNTS:
        raise Invalid(_HEADER, "it counts for jobs and jobs:batchCreate only; leave it out here. Nothing was done")


def key_of(request: Request, principal: Principal, body: dict[str, object]) -> IdempotencyKey | None:
    """Return the key that a request carries, in the scope of organisation, principal and route."""
    key = request.headers.get(_HEADER)
    if key is None:
        return None
    if not 1 <= len(key) <= _MAX_LENGTH or not key.isprintable():
        raise Invalid(_HEADER, f"give 1 to {_MAX_LENGTH} printable characters")
    parts = "\x1f".join((principal.organisation, principal.key, request.method, request.url.path, key))
    return IdempotencyKey(hashlib.sha256(parts.encode()).hexdigest(), digest_of(body))
