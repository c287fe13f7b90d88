"""The heartbeat of a region: reports go up; renewals, stops and settlements come down, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from nordan_api.access import CALL_S, READ_S
from nordan_api.context import Context
from nordan_api.workers.content import store_outputs
from nordan_api.workers.renewals import sign_renewal
from nordan_api.workers.verdicts import Judge
from nordan_core.domain.attempts import Ending
from nordan_core.domain.ids import AttemptId, RegionCode
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import ATTEMPT_MOVES, AttemptResult, AttemptState
from nordan_core.proof.tokens import RenewalItem
from nordan_core.store.attempts import LiveAttempt, LockedAttempt
from nordan_core.store.unit_of_work import UnitOfWork
from nordan_core.wire import AttemptReport, ExitReport, NodesMessage, StopOrder, SyncDown, SyncUp

log = structlog.get_logger()
#: Without a redemption there is nothing to report on, and after the end nothing more to say.
_NOT_RUNNING = frozenset({AttemptState.PLACED, AttemptState.ENDED})


def sync(context: Context, region: RegionCode, up: SyncUp) -> SyncDown:
    """Store a region's reports and say what may go on, what must stop, and what is settled."""
    if up.nodes is not None:
        store_nodes(context, region, up.nodes)
    with context.store.begin() as work:
        # 1. The epoch, held still: renewing is an act that is judged.
        judge = Judge(context, work)
        now = judge.now
        work.places.seen(region, up.supervisor_id, now)
        # 2. Reports, jobs locked in ascending order.
        settled = _store_reports(work, judge, region, up.reports)
        # 3. What lives here now, judged again where the epoch moved.
        live, fenced = _judge_live(work, judge, work.attempts.live_in(region))
        # 4. Renew what the supervisor holds under its live fence. What its owner cancelled lives on until its grace is
        #    over; what became unlawful does not.
        held = {(one.attempt_id, one.fence) for one in up.live}
        renewed = [one for one in live if one.stop_reason is not Reason.FENCED and (one.id, one.fence) in held]
        work.attempts.renew(renewed, now)
        # 5. What nobody may read any more, for as long as leave to read it may be about.
        unreadable = work.attempts.fenced_in(region, now - timedelta(seconds=max(READ_S, CALL_S)))
        settled |= work.attempts.ended_among(region, {AttemptId(one.attempt_id) for one in up.reports})
    return SyncDown(
        renewal=sign_renewal(
            context, region, up, (RenewalItem(one.id, one.fence, int(one.ttl_s)) for one in renewed), now
        ),
        stop=tuple(_stop(one) for one in [*live, *fenced] if one.stop_reason is not None),
        settled=tuple(sorted(settled)),
        unknown=_unknown(up, [*live, *fenced], settled),
        fenced_objects=tuple(f"attempt:{one}" for one in unreadable),
    )


def store_nodes(context: Context, region: RegionCode, message: NodesMessage) -> None:
    """Store what a region's cluster says about its nodes, in a transaction of its own: it is not an act of law."""
    reports = [one.to_domain() for one in message.nodes]
    with context.store.begin() as work:
        if not message.is_current:
            work.nodes.lose_sight(region)
            return
        reported = work.nodes.report(region, reports, context.clock.now())
        if reported.changed:
            work.notify("nordan_queue")
    if reported.changed or reported.unknown_pools or reported.surplus:
        log.info(
            "nodes_reported",
            region=region,
            nodes=len(reports),
            changed=reported.changed,
            unknown_pools=reported.unknown_pools[:5],
            surplus=reported.surplus,
        )


def _store_reports(
    work: UnitOfWork, judge: Judge, region: RegionCode, reports: Sequence[AttemptReport]
) -> set[AttemptId]:
    """Store reports and return the attempts whose last word is stored."""
    newest = {report.attempt_id: report for report in sorted(reports, key=lambda one: one.seq)}
    if not newest:
        return set()
    locked = work.attempts.lock_reported(region, [AttemptId(one) for one in newest])
    settled: set[AttemptId] = set()
    endings: list[Ending] = []
    for attempt, known in locked.items():
        report = newest[attempt]
        if known.attempt.state in _NOT_RUNNING or report.fence != known.attempt.fence or report.seq <= known.seq:
            continue
        if report.state is AttemptState.ENDED:
            endings.append(_ending(work, judge, known, report))
            settled.add(attempt)
        else:
            _advance(work, known, report, judge.now)
    work.attempts.close(endings, judge.now, actor=f"region:{region}")
    return settled


def _advance(work: UnitOfWork, known: LockedAttempt, report: AttemptReport, now: datetime) -> None:
    # A region may skip steps (a short job is never seen pulling) but cannot go back.
    before, after = known.attempt.state, report.state
    if after is not before and after not in ATTEMPT_MOVES[before]:
        log.warning("report_out_of_order", attempt=known.attempt.id, before=before, after=after)
        return
    work.attempts.advance(known, seq=report.seq, state=after, is_ready=report.is_ready, now=now)


def _ending(work: UnitOfWork, judge: Judge, known: LockedAttempt, report: AttemptReport) -> Ending:
    result = report.result or AttemptResult.FAILED
    reason, message = report.reason, report.message
    # What had become unlawful publishes nothing; `close` calls its end by that name.
    if result is AttemptResult.SUCCEEDED and known.stop_reason is not Reason.FENCED:
        judged = judge.locked(known.attempt)
        if not judged.allowed:
            result, reason, message = AttemptResult.FENCED, Reason.FENCED, judged.message
        elif fault := store_outputs(work, known.attempt, report.outputs, judge.now):
            result, reason, message = AttemptResult.FAILED, Reason.CONTAINER_EXIT, fault
    codes = [code for one in report.ranks if (code := _exit_code(one))]
    return Ending(
        attempt=known.attempt.id,
        result=result,
        reason=reason,
        message=message,
        exit_code=codes[0] if codes else (0 if result is AttemptResult.SUCCEEDED else None),
        running_s=report.running_s,
        energy_wh=report.energy_wh,
        ranks=tuple(one.model_dump() for one in report.ranks),
    )


def _exit_code(rank: ExitReport) -> int:
    """Return a rank's exit code as shells count it: 128 and the signal's number when a signal ended it."""
    return 128 + rank.signal if rank.signal else rank.exit_code or 0


def _judge_live(
    work: UnitOfWork, judge: Judge, live: Sequence[LiveAttempt]
) -> tuple[list[LiveAttempt], list[LiveAttempt]]:
    """Return (may go on, fenced now); a new word of the judge is kept with its attempt."""
    lawful: list[LiveAttempt] = []
    fenced: list[LiveAttempt] = []
    stale = [one for one in live if not judge.holds(one.verdicts)]
    jobs = work.jobs.region_jobs([one.job for one in stale])
    fresh = {one.id: judge.attempt(jobs[one.job], one.pool, one.verdicts) for one in stale}
    work.scheduling.record_facts(judge.facts_used, judge.now)
    for one in live:
        judged = fresh.get(one.id)
        if judged is None or judged.allowed:
            lawful.append(one)
        else:
            work.attempts.ask_to_stop(one.id, Reason.FENCED, 0.0)
            fenced.append(one.stopped(Reason.FENCED, 0.0))
    work.attempts.note_verdicts(
        [(one.id, {**one.verdicts, "renew": fresh[one.id].document}) for one in stale if fresh[one.id].allowed]
    )
    return lawful, fenced


def _unknown(up: SyncUp, live: Sequence[LiveAttempt], settled: set[AttemptId]) -> tuple[str, ...]:
    """Return what the supervisor holds and nobody wants to run: of an older fence, or ended without its word."""
    fences = {one.id: one.fence for one in live}
    held = [one for one in up.live if one.attempt_id not in settled]
    return tuple(one.attempt_id for one in held if fences.get(AttemptId(one.attempt_id)) != one.fence)


def _stop(attempt: LiveAttempt) -> StopOrder:
    return StopOrder(
        attempt_id=attempt.id,
        grace_s=attempt.stop_grace_s,
        reason=attempt.stop_reason or Reason.CANCELLED_BY_USER,
    )
