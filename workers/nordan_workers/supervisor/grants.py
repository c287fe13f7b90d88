"""Believe a grant only when everything about it fits: the supervisor's own check, whatever the api's answer says."""

from __future__ import annotations

from nordan_core.domain.errors import NordanError
from nordan_core.proof.errors import TokenError
from nordan_core.proof.tokens import GrantClaims, read_grant
from nordan_core.wire import LaunchOrder
from nordan_workers.joining import Joined
from nordan_workers.supervisor.records import Record


class GrantRejected(NordanError):
    """A grant is forged, expired, or for something else than the order beside it; `claim` says what does not fit."""

    def __init__(self, claim: str) -> None:
        super().__init__(f"the grant does not fit: {claim}")
        self.claim = claim


#: Whole seconds on the wire.
_ROUNDING_S = 1.0


def check_grant(token: str, order: LaunchOrder, record: Record, joined: Joined) -> GrantClaims:
    """Return the claims of a grant that permits exactly this order to exactly this redemption.

    Its time is measured from when the request was sent, on the monotonic clock, and may not be longer than the life
    that was signed: the wall clock of a region may be wrong. The redemption id, random and new, says that it is fresh.

    Raises:
        GrantRejected: with the first claim that does not fit.
    """
    try:
        claims = read_grant(token, keys=joined.keys, now=None)
    except TokenError as error:
        raise GrantRejected(type(error).__name__) from error
    expected = {
        "grant_id": record.grant_id,
        "redemption_id": record.redemption_id,
        "region": joined.region,
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
    if not 0 < order.ttl_s <= (claims.expires_at - claims.issued_at).total_seconds() + _ROUNDING_S:
        raise GrantRejected("expires_at")
    return claims
