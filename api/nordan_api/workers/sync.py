"""The heartbeat of a region: reports go up; renewals, stops and settlements come down, in one transaction.

A message of news alone is answered with settlements: what the whole region may do costs as much as the region has
attempts, and is told every 2 s, not whenever one of them starts or ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import structlog

from nordan_api.access import CALL_S, READ_S
from nordan_api.context import Context
from nordan_api.workers.content import store_outputs
from nordan_api.workers.exits import exit_code_of
from nordan_api.workers.putting import closed_to_puts
from nordan_api.workers.reading import closed_to_readers
from nordan_api.workers.renewals import sign_renewal
from nordan_api.workers.verdicts import Judge, Judged, life_s
from nordan_core.domain.attempts import Ending, renewed
from nordan_core.domain.ids import AttemptId, RegionCode
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import ATTEMPT_MOVES, AttemptResult, AttemptState
from nordan_core.proof.tokens import RenewalItem
from nordan_core.store.attempts import Advance, LiveAttempt, LockedAttempt
from nordan_core.store.audit import Act, AuditEntry
from nordan_core.store.unit_of_work import UnitOfWork
from nordan_core.wire import AttemptReport, LiveFence, NodesMessage, StopOrder, SyncDown, SyncUp

log = structlog.get_logger()
#: Share of a grant's life after which it is renewed: 1.5 s of the 45 s for sensitive data, 30 s of 15 minutes. A
#: region that is cut off has at least the rest.
SPENT = 1 / 30
#: What became unlawful is told to stop at once, however much it is; but so many fences are written down before the
#: answer. The others are the leader's, who is at it too, or the region's next word's: nobody waits for an account.
FENCED_AT_ONCE = 500
#: Ends that depend on whether the attempt was lawful to its end: one that made something, and one that was told to
#: stop before its fence was written down.
_JUDGED = frozenset({AttemptResult.SUCCEEDED, AttemptResult.FENCED})
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
        # 2. What lives here now, judged again where the epoch moved.
        live = [] if up.live is None else work.attempts.live_in(region)
        judged = judge.again([one for one in live if one.stop_reason is not Reason.FENCED])
        findings = {one: said.finding for one, said in judged.items() if said.finding is not None}
        noted = dict(islice(sorted(findings.items()), FENCED_AT_ONCE))
        # 3. Reports and fences: all their jobs are locked at once, in ascending order.
        newest = _newest(up.reports)
        locked = work.attempts.lock_reported(region, {*newest, *noted})
        endings = _store_reports(work, judge, locked, newest)
        judge.record()
        settled = {one.attempt for one in endings}
        work.fencing.attempts({one: said for one, said in noted.items() if one not in settled}, now)
        # 4. Ends give nodes back, which are locked after jobs.
        work.attempts.close(endings, now, actor=f"region:{region}")
        live = [one.stopped(Reason.FENCED, 0.0) if one.id in findings else one for one in live]
        live = [one for one in live if one.id not in settled]
        # 5. Renew what the supervisor holds under its live fence. What its owner cancelled lives on until its grace is
        #    over; what became unlawful does not, nor what nothing could be said of now.
        held = {(one.attempt_id, one.fence) for one in up.live or ()}
        lawful = [one for one in live if one.stop_reason is not Reason.FENCED and (one.id, one.fence) in held]
        words = {one.id: _word_on(one, judge, judged) for one in lawful}
        lawful = [one.living(life_s(one.ttl_s, said)) for one in lawful if (said := words[one.id]) is not None]
        due = [one for one in lawful if _is_due(one, now)]
        work.attempts.note_renewals(_same_words(live, judged))
        work.audit.write_all(_by_leave(region, live, judged, now))
        work.attempts.renew(due, now)
        settled |= work.attempts.ended_among(region, {AttemptId(one.attempt_id) for one in up.reports})
        if up.live is None:
            return SyncDown(renewal="", settled=tuple(sorted(settled)))
        # 6. What nobody may read or put any more, for as long as leave to do so may be about.
        unreadable = _unreadable(work, region, now - timedelta(seconds=max(READ_S, CALL_S)))
        unreadable += tuple(closed_to_readers(work, judge, region, frozenset(unreadable)))
        closed = (*unreadable, *closed_to_puts(work, judge, region))
    return SyncDown(
        renewal=sign_renewal(context, region, up, (RenewalItem(one.id, one.fence, int(one.ttl_s)) for one in due), now),
        stop=tuple(_stop(one) for one in live if one.stop_reason is not None),
        settled=tuple(sorted(settled)),
        unknown=_unknown(up.live, live, settled),
        fenced_objects=closed,
        successions=context.grant_keys.statements,
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


def _newest(reports: Sequence[AttemptReport]) -> dict[AttemptId, AttemptReport]:
    return {AttemptId(report.attempt_id): report for report in sorted(reports, key=lambda one: one.seq)}


def _store_reports(
    work: UnitOfWork,
    judge: Judge,
    locked: Mapping[AttemptId, LockedAttempt],
    newest: Mapping[AttemptId, AttemptReport],
) -> list[Ending]:
    """Store reports about locked attempts and return the ends that they tell of."""
    endings: list[Ending] = []
    advances: list[Advance] = []
    for attempt, known in locked.items():
        report = newest.get(attempt)
        if report is None or known.attempt.state in _NOT_RUNNING:
            continue
        if report.fence != known.attempt.fence or report.seq <= known.seq:
            continue
        if report.state is AttemptState.ENDED:
            endings.append(_ending(work, judge, known, report))
        elif _may_follow(known, report):
            advances.append(Advance(known, report.seq, report.state, report.is_ready))
    work.attempts.advance(advances, judge.now)
    return endings


def _may_follow(known: LockedAttempt, report: AttemptReport) -> bool:
    # A region may skip steps (a short job is never seen pulling) but cannot go back.
    before, after = known.attempt.state, report.state
    if after is not before and after not in ATTEMPT_MOVES[before]:
        log.warning("report_out_of_order", attempt=known.attempt.id, before=before, after=after)
        return False
    return True


def _ending(work: UnitOfWork, judge: Judge, known: LockedAttempt, report: AttemptReport) -> Ending:
    result, reason, message = report.result or AttemptResult.FAILED, report.reason, report.message
    fence = None
    # What had become unlawful publishes nothing; `close` calls its end by that name.
    if result in _JUDGED and known.stop_reason is not Reason.FENCED:
        judged = judge.locked(known.attempt)
        if not judged.allowed:
            result, reason, message, fence = AttemptResult.FENCED, Reason.FENCED, judged.message, judged.fence
        elif result is AttemptResult.SUCCEEDED and (
            fault := store_outputs(work, known.attempt, report.outputs, judged, judge.now)
        ):
            result, reason, message = AttemptResult.FAILED, Reason.CONTAINER_EXIT, fault
    return Ending(
        attempt=known.attempt.id,
        result=result,
        reason=reason,
        message=message,
        exit_code=exit_code_of(report, has_succeeded=result is AttemptResult.SUCCEEDED),
        running_s=report.running_s,
        energy_wh=report.energy_wh,
        ranks=tuple(one.model_dump() for one in report.ranks),
        fence=fence,
    )


def _word_on(
    one: LiveAttempt, judge: Judge, judged: Mapping[AttemptId, Judged]
) -> Mapping[str, Any] | None:  # Any: JSON
    return judged[one.id].document if one.id in judged else judge.standing(one.verdicts)


def _same_words(
    live: Sequence[LiveAttempt], judged: Mapping[AttemptId, Judged]
) -> Iterator[tuple[list[AttemptId], dict[str, Any]]]:  # Any: JSON
    """Yield what changes in verdicts by each new word of the judge, with all attempts of which that is the same."""
    words: dict[tuple[int, str], tuple[list[AttemptId], dict[str, Any]]] = {}
    for one in live:
        said = judged.get(one.id)
        if said is not None and said.allowed:
            change = renewed(one.verdicts, said.document)
            key = id(said), "" if len(change) == 1 else one.id
            words.setdefault(key, ([], change))[0].append(one.id)
    yield from words.values()


def _by_leave(
    region: RegionCode, live: Sequence[LiveAttempt], judged: Mapping[AttemptId, Judged], now: datetime
) -> Iterator[AuditEntry]:
    """Yield an act for each new word that lets an attempt go on by derogations, which the law alone would not."""
    for one in live:
        said = judged.get(one.id)
        if said is not None and said.allowed and "derogations" in said.document:
            body: dict[str, object] = {
                "attempt": one.id,
                "number": one.number,
                "fence": one.fence,
                "region": region,
                "pool": one.pool,
                "epoch": said.epoch,
                "policy_digest": said.document["policy"],
                "derogations": said.document["derogations"],
                "verdict": said.document,
            }
            yield AuditEntry(Act.GRANT_RENEWED, one.job, f"region:{region}", now, one.organisation, body)


def _unreadable(work: UnitOfWork, region: RegionCode, since: datetime) -> tuple[str, ...]:
    attempts = [f"attempt:{one}" for one in work.attempts.fenced_in(region, since)]
    return (*attempts, *(f"artifact:{one}" for one in work.fencing.closed_in(region, since)))


def _is_due(attempt: LiveAttempt, now: datetime) -> bool:
    """Tell whether enough of an attempt's time has passed to write down and sign a new end for it.

    Where more than a life is left, a floor has raised the class since, and the region has to hear of the shorter one.
    """
    left_s = (attempt.alive_until - now).total_seconds()
    return not attempt.ttl_s * (1 - SPENT) <= left_s <= attempt.ttl_s


def _unknown(held_there: Sequence[LiveFence], live: Sequence[LiveAttempt], settled: set[AttemptId]) -> tuple[str, ...]:
    """Return what the supervisor holds and nobody wants to run: of an older fence, or ended without its word."""
    fences = {one.id: one.fence for one in live}
    held = [one for one in held_there if one.attempt_id not in settled]
    return tuple(one.attempt_id for one in held if fences.get(AttemptId(one.attempt_id)) != one.fence)


def _stop(attempt: LiveAttempt) -> StopOrder:
    return StopOrder(
        attempt_id=attempt.id,
        grace_s=attempt.stop_grace_s,
        reason=attempt.stop_reason or Reason.CANCELLED_BY_USER,
    )
