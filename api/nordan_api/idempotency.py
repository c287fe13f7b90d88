"""Idempotency keys: the same request twice has one effect and one answer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from fastapi import Request

from nordan_core.domain.errors import Invalid
from nordan_core.domain.tenants import Principal
from nordan_core.proof.canonical import digest_of

_MAX_LENGTH = 255


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """Where an answer is kept, and the digest that a repeated request must have."""

    scope: str
    request_digest: str


def key_of(request: Request, principal: Principal, body: dict[str, object]) -> IdempotencyKey | None:
    """Return the key that a request carries, in the scope of organisation, principal and route."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 1 <= len(key) <= _MAX_LENGTH or not key.isprintable():
        raise Invalid("Idempotency-Key", f"give 1 to {_MAX_LENGTH} printable characters")
    parts = "\x1f".join((principal.organisation, principal.key, request.method, request.url.path, key))
    return IdempotencyKey(hashlib.sha256(parts.encode()).hexdigest(), digest_of(body))
