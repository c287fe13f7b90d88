"""Grants, renewals and passes to a gateway: what each says, and how it is signed and read.

The api mints all of them with the grant key; supervisors read grants and renewals, gateways read passes to objects
and to sessions, and the certificate's verifier reads the grants that it finds. Times are whole seconds on the wire
and aware UTC instants here. A missing, extra or mistyped claim makes a token malformed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nordan_core.proof.compact import SKEW_S, instant_of, mint, read, unix_seconds
from nordan_core.proof.errors import TokenMalformed
from nordan_core.proof.keys import PublicKey, SigningKey

__all__ = [
    "SKEW_S",
    "AccessClaims",
    "GrantClaims",
    "RenewalClaims",
    "RenewalItem",
    "SessionClaims",
    "mint",
    "mint_access",
    "mint_grant",
    "mint_renewal",
    "mint_session",
    "read",
    "read_access",
    "read_grant",
    "read_renewal",
    "read_session",
]

GRANT = "grant"
RENEWAL = "renewal"
ACCESS = "access"
SESSION = "session"


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
    """Seconds from the moment when the supervisor sent the request that this answers."""


@dataclass(frozen=True, slots=True)
class RenewalClaims:
    """More time for the live attempts of one supervisor."""

    region: str
    supervisor_id: str
    nonce: str
    """The request's random text: the renewal answers it and no other, whatever the region's wall clock says."""
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
    """Id of the key or member who asked, for the region's access log."""
    expires_at: datetime
    about: str = ""
    """What else the object stands for, `artifact:<id>` of a manifest: equal bytes may lie under another policy."""

    @property
    def names(self) -> frozenset[str]:
        """Return all by which a fence list may close this pass."""
        objects = {one for one in (self.obj, self.about) if one}
        return frozenset(objects | {reader_of(one, self.subject) for one in objects})


@dataclass(frozen=True, slots=True)
class SessionClaims:
    """Pass to run one command inside one rank. A kind of its own: whoever may read a log has none of it."""

    audience: str
    """`gateway:<region>`."""
    session_id: str
    """Names the audit entry; a gateway opens each session once, and takes a newer pass to go on with it."""
    attempt_id: str
    rank: int
    subject: str
    """Id of the key that asked, for the region's own log."""
    expires_at: datetime


def reader_of(obj: str, subject: str) -> str:
    """Return the name by which a fence list closes an object to one reader, and to nobody else."""
    return f"{obj} for {subject}"


def mint_grant(claims: GrantClaims, key: SigningKey) -> str:
    """Sign a grant; fractions of seconds are dropped."""
    return mint(_written(claims, _GRANT_FORM), kind=GRANT, key=key)


def read_grant(token: str, *, keys: Mapping[str, PublicKey], now: datetime | None) -> GrantClaims:
    """Return the claims of a grant that holds now; with None, of one whose times the caller looks after.

    Raises:
        TokenError: the subclass says how the token fails; see `compact.read`.
    """
    return GrantClaims(**_taken(read(token, kind=GRANT, keys=keys, now=now), _GRANT_FORM))


def mint_renewal(claims: RenewalClaims, key: SigningKey) -> str:
    """Sign a renewal; fractions of seconds are dropped."""
    return mint(_written(claims, _RENEWAL_FORM), kind=RENEWAL, key=key)


def read_renewal(token: str, *, keys: Mapping[str, PublicKey]) -> RenewalClaims:
    """Return the claims of a renewal; it is fresh if its nonce is that of the request at hand.

    Raises:
        TokenError: the subclass says how the token fails; see `compact.read`.
    """
    return RenewalClaims(**_taken(read(token, kind=RENEWAL, keys=keys, now=None), _RENEWAL_FORM))


def mint_access(claims: AccessClaims, key: SigningKey) -> str:
    """Sign a pass to a gateway; fractions of seconds are dropped."""
    return mint(_written(claims, _ACCESS_FORM), kind=ACCESS, key=key)


def read_access(token: str, *, keys: Mapping[str, PublicKey], now: datetime) -> AccessClaims:
    """Return the claims of a pass that holds now; the gateway still compares audience, object and action.

    Raises:
        TokenError: the subclass says how the token fails; see `compact.read`.
    """
    return AccessClaims(**_taken(read(token, kind=ACCESS, keys=keys, now=now), _ACCESS_FORM))


def mint_session(claims: SessionClaims, key: SigningKey) -> str:
    """Sign a pass to a session; fractions of seconds are dropped."""
    return mint(_written(claims, _SESSION_FORM), kind=SESSION, key=key)


def read_session(token: str, *, keys: Mapping[str, PublicKey], now: datetime) -> SessionClaims:
    """Return the claims of a pass to a session that holds now; the gateway still compares what they name.

    Raises:
        TokenError: the subclass says how the token fails; see `compact.read`.
    """
    return SessionClaims(**_taken(read(token, kind=SESSION, keys=keys, now=now), _SESSION_FORM))


@dataclass(frozen=True, slots=True)
class _Claim:
    """How one field travels: its name on the wire, and the checked way there and back."""

    name: str
    write: Callable[[Any], object]  # Any: the field's own type, which the form below pairs with it
    take: Callable[[object], Any]
    is_optional: bool = False
    """Left out where it is empty."""


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("text expected")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("whole number expected")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("list of texts expected")
    return tuple(_text(item) for item in value)


def _items(value: object) -> tuple[RenewalItem, ...]:
    if not isinstance(value, list):
        raise ValueError("list of renewals expected")
    return tuple(_item(row) for row in value)


def _item(row: object) -> RenewalItem:
    if not isinstance(row, list) or len(row) != 3:
        raise ValueError("attempt, fence and seconds expected")
    return RenewalItem(_text(row[0]), _count(row[1]), _count(row[2]))


def _instant(value: object) -> datetime:
    return instant_of(_count(value))


def _plain(value: object) -> object:
    return value


def _rows(items: tuple[RenewalItem, ...]) -> object:
    return [[item.attempt_id, item.fence, item.ttl_s] for item in items]


_GRANT_FORM = {
    "grant_id": _Claim("grant_id", _plain, _text),
    "attempt_id": _Claim("attempt_id", _plain, _text),
    "job_id": _Claim("job_id", _plain, _text),
    "region": _Claim("region", _plain, _text),
    "pool": _Claim("pool", _plain, _text),
    "nodes": _Claim("nodes", list, _texts),
    "fence": _Claim("fence", _plain, _count),
    "redemption_id": _Claim("redemption_id", _plain, _text),
    "issued_at": _Claim("iat", unix_seconds, _instant),
    "expires_at": _Claim("exp", unix_seconds, _instant),
    "policy_digest": _Claim("policy_digest", _plain, _text),
    "epoch": _Claim("epoch", _plain, _count),
}
_RENEWAL_FORM = {
    "region": _Claim("region", _plain, _text),
    "supervisor_id": _Claim("supervisor_id", _plain, _text),
    "nonce": _Claim("nonce", _plain, _text),
    "issued_at": _Claim("iat", unix_seconds, _instant),
    "items": _Claim("items", _rows, _items),
}
_ACCESS_FORM = {
    "audience": _Claim("aud", _plain, _text),
    "obj": _Claim("obj", _plain, _text),
    "act": _Claim("act", _plain, _text),
    "subject": _Claim("sub", _plain, _text),
    "expires_at": _Claim("exp", unix_seconds, _instant),
    "about": _Claim("about", _plain, _text, is_optional=True),
}

_SESSION_FORM = {
    "audience": _Claim("aud", _plain, _text),
    "session_id": _Claim("session", _plain, _text),
    "attempt_id": _Claim("attempt_id", _plain, _text),
    "rank": _Claim("rank", _plain, _count),
    "subject": _Claim("sub", _plain, _text),
    "expires_at": _Claim("exp", unix_seconds, _instant),
}


def _written(claims: object, form: Mapping[str, _Claim]) -> dict[str, object]:
    values = {field: getattr(claims, field) for field in form}
    return {
        claim.name: claim.write(values[field])
        for field, claim in form.items()
        if values[field] or not claim.is_optional
    }


def _taken(body: Mapping[str, object], form: Mapping[str, _Claim]) -> dict[str, Any]:
    """Return the constructor's arguments; `Any` because each value was checked by its own `take`."""
    wanted = {claim.name for claim in form.values()}
    if not {claim.name for claim in form.values() if not claim.is_optional} <= body.keys() <= wanted:
        raise TokenMalformed(f"the token's claims are {sorted(body)}")
    try:
        return {field: claim.take(body[claim.name]) for field, claim in form.items() if claim.name in body}
    except ValueError as error:
        raise TokenMalformed(f"a claim of the token has the wrong form: {error}") from error
