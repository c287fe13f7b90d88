"""How a grant is not given: each reason has an outcome, which a supervisor acts on, and a sentence for who reads it.

Called by `redeem`; decides nothing.
"""

from __future__ import annotations

from nordan_core.wire import RedeemAnswer, RedeemCode, RedeemItem, RedeemOutcome

_SAID = {
    RedeemCode.UNKNOWN_GRANT: (RedeemOutcome.GONE, "this region has no such grant"),
    RedeemCode.ATTEMPT_OVER: (RedeemOutcome.GONE, "the attempt of this grant is over"),
    RedeemCode.GRANT_EXPIRED: (RedeemOutcome.GONE, "the grant ran out"),
    RedeemCode.ALREADY_REDEEMED: (RedeemOutcome.REFUSED, "another redemption of this grant lives"),
    RedeemCode.STOPPING: (RedeemOutcome.GONE, "the attempt is to end before it began"),
    RedeemCode.REJECTED_BY_POLICY: (RedeemOutcome.REFUSED, "the attempt may no longer run here"),
}


def no_grant(item: RedeemItem, code: RedeemCode, message: str = "") -> RedeemAnswer:
    """Return the answer that gives nothing; a message of one's own takes the sentence's place."""
    outcome, sentence = _SAID[code]
    return RedeemAnswer(grant_id=item.grant_id, outcome=outcome, code=code, message=message or sentence)
