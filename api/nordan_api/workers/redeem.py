"""Redemption: the moment when a region gets a spec. Judged anew whenever anything that was judged has changed.

The same redemption id gets the same answer again, so a supervisor that died after asking loses nothing; another id is
refused while the first lives, so two supervisors never run one attempt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from nordan_api.context import Context
from nordan_api.workers.no_grants import no_grant
from nordan_api.workers.orders import Orders
from nordan_api.workers.renewals import sign_renewal
from nordan_api.workers.verdicts import Judge, Judged, life_s, policy_of
from nordan_core.domain.attempts import Ending, RedeemableGrant
from nordan_core.domain.errors import Invalid
from nordan_core.domain.ids import GrantId, JobId, RegionCode
from nordan_core.domain.jobs import Job
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptResult, AttemptState
from nordan_core.proof.acts import POOL_GONE
from nordan_core.proof.tokens import GrantClaims, RenewalItem, mint_grant
from nordan_core.store.audit import Act, AuditEntry
from nordan_core.store.unit_of_work import UnitOfWork
from nordan_core.wire import RedeemAnswer, RedeemCode, RedeemItem, RedeemOutcome, RedeemRequest, RedeemResponse


@dataclass(frozen=True, slots=True)
class _Granted:
    """A grant that is or was just redeemed under this id."""

    item: RedeemItem
    grant: RedeemableGrant
    job: Job
    judged: Judged
    is_new: bool
    redeemed_at: datetime
    alive_until: datetime
    """Asking again does not move it: past it, the control plane may start another attempt."""

    def left_s(self, now: datetime) -> float:
        """Return what the region may count on: less than what is waited for where the class was raised meanwhile."""
        return min(self.grant.ttl_s, (self.alive_until - now).total_seconds())


@dataclass(frozen=True, slots=True)
class _Redeemer:
    """Who asks."""

    region: RegionCode
    supervisor: str


def redeem(context: Context, region: RegionCode, request: RedeemRequest) -> RedeemResponse:
    """Answer each grant: granted with a signed grant and the order, refused, or gone.

    Raises:
        Invalid: a grant stands twice in the request; one of the two would be a second redemption.
    """
    if len({item.grant_id for item in request.items}) != len(request.items):
        raise Invalid("items", "a grant stands twice in one request")
    answers: dict[str, RedeemAnswer] = {}
    with context.store.begin() as work:
        # 1. The epoch first: a change of law waits for us, or we see it.
        judge = Judge(context, work)
        now = judge.now
        grants = work.attempts.lock_grants(region, [GrantId(item.grant_id) for item in request.items])
        jobs = work.jobs.region_jobs([grant.attempt.job for grant in grants.values()])
        # 2. Decide each.
        granted: list[_Granted] = []
        for item in request.items:
            decided = _decide(item, grants.get(GrantId(item.grant_id)), jobs, judge, now)
            if isinstance(decided, _Granted):
                granted.append(decided)
            else:
                answers[item.grant_id] = decided
        # 3. Write. The signed grant is kept with the verdict: a certificate quotes it.
        judge.record()
        tokens = {one.grant.id: _sign(context, one) for one in granted if one.judged.allowed}
        _write(work, _Redeemer(region, request.supervisor_id), granted, tokens, now)
        _deny(work, region, [one for one in granted if not one.judged.allowed], now)
        orders = Orders.load(work, [one.job for one in granted], [one.grant for one in granted])
    for one in granted:
        answers[one.item.grant_id] = _answer(one, tokens, orders, now)
    lives = (_life(one, now) for one in granted if one.judged.allowed)
    return RedeemResponse(
        items=tuple(answers[item.grant_id] for item in request.items),
        renewal=sign_renewal(context, region, request, lives, now),
        successions=context.grant_keys.statements,
    )


def _decide(
    item: RedeemItem,
    grant: RedeemableGrant | None,
    jobs: Mapping[JobId, Job],
    judge: Judge,
    now: datetime,
) -> _Granted | RedeemAnswer:
    if grant is None:
        return no_grant(item, RedeemCode.UNKNOWN_GRANT)
    if why := _spent(grant, item, now):
        return no_grant(item, why)
    job = jobs[grant.attempt.job]
    judged = judge.attempt(job, grant.attempt.pool, grant.attempt.verdicts)
    redeemed_at = grant.attempt.redeemed_at or now
    grant = replace(grant, ttl_s=life_s(grant.ttl_s, judged.document))
    alive_until = grant.alive_until or now + timedelta(seconds=grant.ttl_s)
    is_new = grant.redemption_id != item.redemption_id
    return _Granted(item, grant, job, judged, is_new=is_new, redeemed_at=redeemed_at, alive_until=alive_until)


def _spent(grant: RedeemableGrant, item: RedeemItem, now: datetime) -> RedeemCode | None:
    """Return why a grant of this region gives nothing to this redemption, whatever the law says."""
    if grant.state in {"revoked", "closed"} or grant.attempt.state is AttemptState.ENDED:
        is_expired = grant.ended_for == Reason.GRANT_EXPIRED
        return RedeemCode.GRANT_EXPIRED if is_expired else RedeemCode.ATTEMPT_OVER
    if grant.alive_until is not None and grant.alive_until < now:
        return RedeemCode.GRANT_EXPIRED
    if grant.state == "redeemed" and grant.redemption_id != item.redemption_id:
        return RedeemCode.ALREADY_REDEEMED
    if grant.is_stopping and grant.state == "issued":
        return RedeemCode.STOPPING
    return None


def _write(
    work: UnitOfWork, by: _Redeemer, granted: Sequence[_Granted], tokens: Mapping[GrantId, str], now: datetime
) -> None:
    new = [one for one in granted if one.is_new and one.judged.allowed]
    marks = [(one.grant, one.item.redemption_id, {**one.judged.document, "grant": tokens[one.grant.id]}) for one in new]
    work.attempts.mark_redeemed(marks, by.supervisor, now)
    work.audit.write_all(
        AuditEntry(
            Act.GRANT_REDEEMED,
            one.job.id,
            f"region:{by.region}",
            now,
            one.job.organisation,
            {
                "grant": one.grant.id,
                "attempt": one.grant.attempt.id,
                "number": one.grant.attempt.number,
                "fence": one.grant.attempt.fence,
                "region": by.region,
                "pool": one.grant.attempt.pool,
                "epoch": one.judged.epoch,
                "facts_version": one.judged.document["facts_version"],
                "policy_digest": policy_of(one.judged.document, one.job),
                **({"derogations": used} if (used := one.judged.document.get("derogations")) else {}),
                "verdict": one.judged.document,
            },
        )
        for one in new
    )


def _deny(work: UnitOfWork, region: RegionCode, denied: Sequence[_Granted], now: datetime) -> None:
    if not denied:
        return
    work.audit.write_all(
        AuditEntry(
            Act.GRANT_DENIED,
            one.job.id,
            f"region:{region}",
            now,
            one.job.organisation,
            {
                "grant": one.grant.id,
                "attempt": one.grant.attempt.id,
                "epoch": one.judged.epoch,
                **({"verdict": one.judged.document} if one.judged.document else {"reason": POOL_GONE}),
            },
        )
        for one in denied
    )
    endings = [
        Ending(one.grant.attempt.id, AttemptResult.FENCED, Reason.FENCED, one.judged.message, fence=one.judged.fence)
        for one in denied
    ]
    work.attempts.close(endings, now, actor="judge")


def _sign(context: Context, one: _Granted) -> str:
    attempt = one.grant.attempt
    claims = GrantClaims(
        grant_id=one.grant.id,
        attempt_id=attempt.id,
        job_id=attempt.job,
        region=attempt.region,
        pool=attempt.pool,
        nodes=tuple(rank.node for rank in attempt.ranks),
        fence=attempt.fence,
        redemption_id=one.item.redemption_id,
        issued_at=one.redeemed_at,
        expires_at=one.alive_until,
        policy_digest=policy_of(one.judged.document, one.job),
        epoch=one.judged.epoch,
    )
    return mint_grant(claims, context.grant_key)


def _life(one: _Granted, now: datetime) -> RenewalItem:
    attempt = one.grant.attempt
    return RenewalItem(attempt.id, attempt.fence, max(0, int(one.left_s(now))))


def _answer(one: _Granted, tokens: Mapping[GrantId, str], orders: Orders, now: datetime) -> RedeemAnswer:
    if not one.judged.allowed:
        return no_grant(one.item, RedeemCode.REJECTED_BY_POLICY, one.judged.message)
    return RedeemAnswer(
        grant_id=one.grant.id,
        outcome=RedeemOutcome.GRANTED,
        grant=tokens[one.grant.id],
        order=orders.build(one.job, one.grant, one.left_s(now)),
    )
