"""Believe a grant only when everything about it fits: the supervisor's own check, whatever the api's answer says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nordan_core.domain.errors import NordanError
from nordan_core.proof.errors import TokenError
from nordan_core.proof.keys import PublicKey
from nordan_core.proof.tokens import GrantClaims, read_grant, read_renewal
from nordan_core.wire import LaunchOrder
from nordan_workers.supervisor.records import Record


class GrantRejected(NordanError):
    """A grant is forged, expired, or for something else than the order beside it; `claim` says what does not fit."""

    def __init__(self, claim: str) -> None:
        super().__init__(f"the grant does not fit: {claim}")
        self.claim = claim


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asked, and the nonce of the request: what a renewal must answer."""

    region: str
    supervisor_id: str
    nonce: str


def lives_of(renewal: str, asked: Asked, keys: Mapping[str, PublicKey]) -> dict[tuple[str, int], int]:
    """Return seconds of life by (attempt, fence), from a renewal that answers this request.

    They count from when the request was sent, on the monotonic clock: the wall clock of a region may be wrong.

    Raises:
        TokenError: the token is not good.
        GrantRejected: it answers another request.
    """
    claims = read_renewal(renewal, keys=keys)
    if Asked(claims.region, claims.supervisor_id, claims.nonce) != asked:
        raise GrantRejected("nonce")
    return {(item.attempt_id, item.fence): item.ttl_s for item in claims.items}


def check_grant(
    token: str, order: LaunchOrder, record: Record, *, region: str, keys: Mapping[str, PublicKey], life_s: int
) -> GrantClaims:
    """Return the claims of a grant that permits exactly this order to exactly this redemption.

    `keys` are trusted now; `life_s` is what the renewal that came with it gives.

    Raises:
        GrantRejected: with the first claim that does not fit.
    """
    try:
        claims = read_grant(token, keys=keys, now=None)
    except TokenError as error:
        raise GrantRejected(type(error).__name__) from error
    expected = {
        "grant_id": record.grant_id,
        "redemption_id": record.redemption_id,
        "region": region,
        "attempt_id": order.attempt_id,
        "job_id": order.job_id,
        "fence": order.fence,
        "pool": order.pool,
    }
    for name, want in expected.items():
        if getattr(claims, name) != want:
            raise GrantRejected(name)
    if set(claims.nodes) != {rank.node for rank in order.ranks}:
        raise GrantRejected("nodes")
    if life_s <= 0:
        raise GrantRejected("life")
    return claims
