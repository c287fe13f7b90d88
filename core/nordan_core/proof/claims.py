"""What the three kinds of tokens say, as frozen types; unknown, missing and mistyped claims are refused.

Minted by the api (grants and renewals with the grant key, access passes likewise), read by supervisors, gateways
and the certificate's verifier. Times are whole seconds on the wire and aware UTC instants here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from nordan_core.proof import tokens
from nordan_core.proof.errors import TokenMalformed
from nordan_core.proof.keys import PublicKey, SigningKey

GRANT = "grant"
RENEWAL = "renewal"
ACCESS = "access"

#: A renewal must be read this soon after it was issued; its items count from the moment it was asked for.
RENEWAL_FRESH_S = 30


@dataclass(frozen=True, slots=True)
class GrantClaims:
    """Permit for one supervisor to run one attempt once."""

    grant_id: str
    attempt_id: str
    job_id: str
    region: str
    pool: str
    nodes: tuple[str, ...]
    fence: int
    redemption_id: str
    """The supervisor's random number; another one is refused while this attempt lives."""
    issued_at: datetime
    expires_at: datetime
    """The attempt stops by itself then, unless renewed."""
    policy_digest: str
    """Digest of the effective policy document that the attempt was judged under."""
    epoch: int
    """Residency epoch of that judgement."""


@dataclass(frozen=True, slots=True)
class RenewalItem:
    """More time for one live attempt."""

    attempt_id: str
    fence: int
    ttl_s: int
    """Seconds from the moment the supervisor sent the request that this answers."""


@dataclass(frozen=True, slots=True)
class RenewalClaims:
    """More time for the live attempts of one supervisor."""

    region: str
    supervisor_id: str
    issued_at: datetime
    items: tuple[RenewalItem, ...]


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """Pass to one object at one gateway."""

    audience: str
    """`gateway:<region>`."""
    obj: str
    """`upload:<id>`, `manifest:<digest>`, `attempt:<id>` or `service:<job>`."""
    act: str
    """`put`, `read` or `call`."""
    subject: str
    """Who asked: an API key's or member's id, for the region's access log."""
    expires_at: datetime


def mint_grant(claims: GrantClaims, key: SigningKey) -> str:
    """Sign a grant with the grant key."""
    body: dict[str, object] = {
        "grant_id": claims.grant_id,
        "attempt_id": claims.attempt_id,
        "job_id": claims.job_id,
        "region": claims.region,
        "pool": claims.pool,
        "nodes": list(claims.nodes),
        "fence": claims.fence,
        "redemption_id": claims.redemption_id,
        "policy_digest": claims.policy_digest,
        "epoch": claims.epoch,
        "iat": tokens.unix_seconds(claims.issued_at),
        "exp": tokens.unix_seconds(claims.expires_at),
    }
    return tokens.mint(body, kind=GRANT, key=key)


def read_grant(token: str, *, keys: Mapping[str, PublicKey], now: datetime) -> GrantClaims:
    """Return the claims of a grant that holds now.

    Raises:
        TokenError: see `tokens.read`; TokenMalformed also for claims of another form.
    """
    body = _Claims(tokens.read(token, kind=GRANT, keys=keys, now=now))
    claims = GrantClaims(
        grant_id=body.text("grant_id"),
        attempt_id=body.text("attempt_id"),
        job_id=body.text("job_id"),
        region=body.text("region"),
        pool=body.text("pool"),
        nodes=body.texts("nodes"),
        fence=body.count("fence"),
        redemption_id=body.text("redemption_id"),
        issued_at=body.instant("iat"),
        expires_at=body.instant("exp"),
        policy_digest=body.text("policy_digest"),
        epoch=body.count("epoch"),
    )
    body.done()
    return claims


def mint_renewal(claims: RenewalClaims, key: SigningKey) -> str:
    """Sign a renewal with the grant key; it is fresh for `RENEWAL_FRESH_S` seconds."""
    issued_s = tokens.unix_seconds(claims.issued_at)
    body: dict[str, object] = {
        "region": claims.region,
        "supervisor_id": claims.supervisor_id,
        "items": [[item.attempt_id, item.fence, item.ttl_s] for item in claims.items],
        "iat": issued_s,
        "exp": issued_s + RENEWAL_FRESH_S,
    }
    return tokens.mint(body, kind=RENEWAL, key=key)


def read_renewal(token: str, *, keys: Mapping[str, PublicKey], now: datetime) -> RenewalClaims:
    """Return the claims of a fresh renewal.

    Raises:
        TokenError: see `tokens.read`; TokenMalformed also for claims of another form.
    """
    body = _Claims(tokens.read(token, kind=RENEWAL, keys=keys, now=now))
    body.instant("exp")
    claims = RenewalClaims(
        region=body.text("region"),
        supervisor_id=body.text("supervisor_id"),
        issued_at=body.instant("iat"),
        items=tuple(_renewal_item(row) for row in body.rows("items")),
    )
    body.done()
    return claims


def mint_access(claims: AccessClaims, key: SigningKey) -> str:
    """Sign a pass to a gateway with the grant key."""
    body: dict[str, object] = {
        "aud": claims.audience,
        "obj": claims.obj,
        "act": claims.act,
        "sub": claims.subject,
        "exp": tokens.unix_seconds(claims.expires_at),
    }
    return tokens.mint(body, kind=ACCESS, key=key)


def read_access(token: str, *, keys: Mapping[str, PublicKey], now: datetime) -> AccessClaims:
    """Return the claims of a pass that holds now; the gateway still compares audience, object and action.

    Raises:
        TokenError: see `tokens.read`; TokenMalformed also for claims of another form.
    """
    body = _Claims(tokens.read(token, kind=ACCESS, keys=keys, now=now))
    claims = AccessClaims(
        audience=body.text("aud"),
        obj=body.text("obj"),
        act=body.text("act"),
        subject=body.text("sub"),
        expires_at=body.instant("exp"),
    )
    body.done()
    return claims


class _Claims:
    """Takes claims out one by one with their types checked; what is left over at the end is an error."""

    def __init__(self, body: dict[str, object]) -> None:
        self._body = body

    def text(self, name: str) -> str:
        return self._take(name, lambda value: isinstance(value, str), "text")  # type: ignore[return-value]
