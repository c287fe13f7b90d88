"""Signs how long attempts may go on: the answer to one request, told from the moment when that was sent."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from nordan_api.context import Context
from nordan_core.domain.ids import RegionCode
from nordan_core.proof.tokens import RenewalClaims, RenewalItem, mint_renewal
from nordan_core.wire import RedeemRequest, SyncUp


def sign_renewal(
    context: Context, region: RegionCode, asked: SyncUp | RedeemRequest, items: Iterable[RenewalItem], now: datetime
) -> str:
    """Return the signed answer; its nonce is the request's, so that it cannot be shown for another one."""
    claims = RenewalClaims(region, asked.supervisor_id, asked.nonce, issued_at=now, items=tuple(items))
    return mint_renewal(claims, context.grant_key)
