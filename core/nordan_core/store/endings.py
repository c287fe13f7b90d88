"""Close attempts: the one transaction that gives GPUs back, closes lease and grant and moves the job on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, func, insert, select, text, update
from sqlmodel import Session, col

from nordan_core.domain.attempts import Ending, held_by
from nordan_core.domain.fences import fence_sentence
from nordan_core.domain.ids import JobId
from nordan_core.domain.money import Price
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import (
    TERMINAL,
    AttemptResult,
    AttemptState,
    AttemptView,
    JobState,
    check_job_move,
    job_state,
)
from nordan_core.store.audit import Act, Audit, AuditEntry
from nordan_core.store.tables.jobs import AttemptRow, CertificateRow, GrantRow, JobRow, LeaseRow

#: Waits between tries double from here to `_BACKOFF_MAX_S`.
_BACKOFF_S = 0.5
_BACKOFF_MAX_S = 60.0
_NOT_YET_RUNNING = frozenset({JobState.STARTING, JobState.RECOVERING})
_RETRYABLE_RESULTS = frozenset({AttemptResult.FAILED, AttemptResult.LOST, AttemptResult.PREEMPTED})
_JOB, _ATTEMPT = JobRow.metadata.tables["job"], AttemptRow.metadata.tables["attempt"]
_LEASE, _GRANT = LeaseRow.metadata.tables["lease"], GrantRow.metadata.tables["attempt_grant"]


@dataclass(frozen=True, slots=True)
class _Closing:
    """One ending with the rows that it touches, all locked."""

    ending: Ending
    attempt: AttemptRow
    job: JobRow
    lease: LeaseRow
    after: JobState
    not_before: datetime | None


def close_attempts(session: Session, endings: Sequence[Ending], now: datetime, *, actor: str) -> list[JobId]:
    """End attempts that still live and return the jobs that became final. See `Attempts.close`."""
    # 1. Lock jobs ascending; what has ended already is left as it is.
    closings = _lock(session, endings, now)
    if not closings:
        return []
    # 2. Attempts, grants, leases, jobs.
    connection = session.connection()
    connection.execute(_CLOSE_ATTEMPT, [_attempt_values(one, now) for one in closings])
    connection.execute(_CLOSE_LEASE, [_lease_values(one, now) for one in closings])
    ids = [one.attempt.id for one in closings]
    session.execute(update(GrantRow).where(col(GrantRow.attempt_id).in_(ids)).values(state="closed"))
    connection.execute(_MOVE_JOB, [_job_values(one, now) for one in closings])
    # 3. Capacity, nodes ascending.
    _give_back(session, closings)
    # 4. What follows: certificates, audit, a nudge to the scheduler.
    final = [one for one in closings if one.after in TERMINAL]
    if final:
        rows = [{"job_id": one.job.id, "created_at": now} for one in final]
        connection.execute(insert(CertificateRow.metadata.tables["certificate"]), rows)
    Audit(session).write_all(_entry(one, now, actor) for one in closings)
    session.execute(text("select pg_notify('nordan_queue', '')"))
    return [JobId(one.job.id) for one in final]


def _lock(session: Session, endings: Sequence[Ending], now: datetime) -> list[_Closing]:
    by_id = {ending.attempt: ending for ending in endings}
    # The job stands first: rows are locked in the order of FROM, and a cancellation holds the job alone.
    statement = (
        select(AttemptRow, JobRow, LeaseRow)
        .select_from(JobRow)
        .join(AttemptRow, col(AttemptRow.job_id) == col(JobRow.id))
        .join(LeaseRow, col(LeaseRow.attempt_id) == col(AttemptRow.id))
        .where(col(AttemptRow.id).in_(list(by_id)), col(AttemptRow.state) != AttemptState.ENDED.value)
        .order_by(col(AttemptRow.job_id))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    closings = []
    for attempt, job, lease in session.execute(statement):
        ending = _as_asked(by_id[attempt.id], attempt)
        is_retryable = _is_retryable(job, attempt, ending)
        after = job_state(
            [AttemptView(AttemptState.ENDED, ending.result, is_retryable)],
            is_cancel_requested=job.cancel_requested_at is not None,
        )
        check_job_move(JobState(job.state), after)
        wait = min(_BACKOFF_MAX_S, _BACKOFF_S * 2.0 ** (attempt.number - 1))
        not_before = now + timedelta(seconds=wait) if after is JobState.RECOVERING else None
        closings.append(_Closing(ending, attempt, job, lease, after, not_before))
    return closings


def _as_asked(ending: Ending, attempt: AttemptRow) -> Ending:
    """Return the ending as fenced if the attempt had become unlawful, however it came to its end.

    The judge's words stand before those of the region, which knows only that it had to stop.
    """
    if attempt.stop_reason != Reason.FENCED.value:
        return ending
    said = attempt.verdicts.get("fence")
    message = ending.message if said is None else fence_sentence(said)
    return replace(ending, result=AttemptResult.FENCED, reason=Reason.FENCED, message=message)


def _is_retryable(job: JobRow, attempt: AttemptRow, ending: Ending) -> bool:
    retry: Mapping[str, Any] = job.spec["retry"]
    return (
        ending.result in _RETRYABLE_RESULTS
        and ending.reason is not None
        and ending.reason.value in retry["on"]
        and attempt.number <= retry["limit"]
    )


_CLOSE_ATTEMPT = (
    update(_ATTEMPT)
    .where(_ATTEMPT.c.id == bindparam("key"))
    .values(
        state=AttemptState.ENDED.value,
        result=bindparam("new_result"),
        reason=bindparam("new_reason"),
        message=bindparam("new_message"),
        exit_code=bindparam("new_exit_code"),
        usage=bindparam("new_usage"),
        verdicts=_ATTEMPT.c.verdicts.concat(bindparam("said", type_=_ATTEMPT.c.verdicts.type)),
        # A short job is never seen running: its start is worked out from how long it ran.
        running_at=func.coalesce(_ATTEMPT.c.running_at, bindparam("began")),
        ended_at=bindparam("now"),
        is_ready=False,
    )
)
_CLOSE_LEASE = (
    update(_LEASE)
    .where(_LEASE.c.attempt_id == bindparam("key"))
    .values(
        closed_at=bindparam("now"),
        close_reason=bindparam("why"),
        gpu_seconds=bindparam("seconds"),
        cost_micro_eur=bindparam("cost"),
        energy_wh=bindparam("energy"),
    )
)
_MOVE_JOB = (
    update(_JOB)
    .where(_JOB.c.id == bindparam("key"))
    .values(
        state=bindparam("new_state"),
        reason=bindparam("new_reason"),
        message=bindparam("new_message"),
        history=_JOB.c.history.concat(bindparam("line", type_=_JOB.c.history.type)),
        not_before=bindparam("wait"),
        wait_until=bindparam("patience"),
        finished_at=bindparam("finished"),
        version=_JOB.c.version + 1,
    )
)


def _attempt_values(closing: _Closing, now: datetime) -> dict[str, Any]:
    ending = closing.ending
    return {
        "key": closing.attempt.id,
        "new_result": ending.result.value,
        "new_reason": ending.reason.value if ending.reason else None,
        "new_message": ending.message,
        "new_exit_code": ending.exit_code,
        "said": {} if ending.fence is None else {"fence": dict(ending.fence)},
        "began": _began(closing, now),
        "new_usage": {"running_s": ending.running_s, "ranks": [dict(rank) for rank in ending.ranks]},
        "now": now,
    }


def _began(closing: _Closing, now: datetime) -> datetime | None:
    """Return when an attempt that ran at all began at the latest; never before it was redeemed."""
    redeemed, running_s = closing.attempt.redeemed_at, closing.ending.running_s
    if redeemed is None or running_s <= 0:
        return None
    return max(redeemed, now - timedelta(seconds=running_s))


def _lease_values(closing: _Closing, now: datetime) -> dict[str, Any]:
    ending, lease = closing.ending, closing.lease
    price = Price.stored(lease.price_micro_eur_per_gpu_h, lease.price_micro_eur_per_gpu_s)
    return {
        "key": closing.attempt.id,
        "now": now,
        "why": ending.reason.value if ending.reason else ending.result.value,
        "seconds": ending.running_s * lease.gpus,
        "cost": price.cost(lease.gpus, ending.running_s).micro_eur,
        "energy": ending.energy_wh,
    }


def _job_values(closing: _Closing, now: datetime) -> dict[str, Any]:
    ending, after = closing.ending, closing.after
    reason = _job_reason(ending, after)
    lines = [{"state": after.value, "reason": reason, "message": ending.message, "at": now.isoformat()}]
    began = _began(closing, now)
    if began is not None and JobState(closing.job.state) in _NOT_YET_RUNNING:
        lines.insert(0, {"state": JobState.RUNNING.value, "reason": None, "message": "", "at": began.isoformat()})
    return {
        "key": closing.job.id,
        "new_state": after.value,
        "new_reason": reason,
        "new_message": ending.message,
        "line": lines,
        "wait": closing.not_before,
        "patience": _patience(closing, now),
        "finished": now if after in TERMINAL else None,
    }


def _patience(closing: _Closing, now: datetime) -> datetime | None:
    """Return until when the job waits for a place: one that had its place begins to wait anew."""
    max_wait_s = closing.job.spec["max_wait_s"]
    if max_wait_s is None or closing.after is not JobState.RECOVERING:
        return closing.job.wait_until
    return now + timedelta(seconds=max_wait_s)


def _job_reason(ending: Ending, after: JobState) -> str | None:
    if after is JobState.CANCELLED:
        return Reason.CANCELLED_BY_USER.value
    return ending.reason.value if ending.reason else None


def _give_back(session: Session, closings: Sequence[_Closing]) -> None:
    masks: dict[tuple[str, str], int] = {}
    cpus: Counter[tuple[str, str]] = Counter()
    memory: Counter[tuple[str, str]] = Counter()
    for closing in closings:
        for rank in closing.attempt.placement:
            node = (closing.attempt.pool, rank["node"])
            masks[node] = masks.get(node, 0) | rank["gpu_mask"]
            cpus[node] += closing.attempt.cpus_per_rank
            memory[node] += closing.attempt.memory_mib_per_rank
    session.connection().execute(
        _GIVE_BACK,
        [
            {"pool": pool, "node": node, "mask": mask, "cpus": cpus[pool, node], "memory": memory[pool, node]}
            for (pool, node), mask in sorted(masks.items())
        ],
    )
    pools = sorted({closing.attempt.pool for closing in closings})
    # Locked first: the second statement then sees every attempt that was placed there before.
    session.execute(_LOCK_BOUND, {"pools": pools})
    session.execute(_FREE_BOUND, {"pools": pools})


_GIVE_BACK = text(
    "update node set free_mask = free_mask | :mask, free_cpus = free_cpus + :cpus,"
    " free_memory_mib = free_memory_mib + :memory where pool = :pool and name = :node"
)
_LOCK_BOUND = text(
    "select name from pool where name = any(:pools) and single_tenant is not null order by name for update"
)
#: A pool that a job had to itself is free again when nothing runs there; one whose executor cannot keep tenants apart
#: stays with its organisation, since the files of the first would be open to the second.
_FREE_BOUND = text(
    "update pool set single_tenant = null from region where region.code = pool.region and name = any(:pools)"
    " and single_tenant is not null and coalesce(region.offers_tenancy -> 'levels' ? 'shared', true) and not exists"
    " (select 1 from attempt where attempt.pool = pool.name and attempt.state <> 'ended')"
)


def _entry(closing: _Closing, now: datetime, actor: str) -> AuditEntry:
    ending, attempt = closing.ending, closing.attempt
    rested_on = sorted(held_by(attempt.verdicts))
    act = Act.ATTEMPT_FENCED if ending.result is AttemptResult.FENCED else Act.ATTEMPT_ENDED
    return AuditEntry(
        act=act,
        subject=closing.job.id,
        actor=actor,
        at=now,
        organisation=closing.job.organisation_id,
        body={
            "attempt": attempt.id,
            "number": attempt.number,
            "fence": attempt.fence,
            "region": attempt.region,
            "pool": attempt.pool,
            "result": ending.result.value,
            "reason": ending.reason.value if ending.reason else None,
            **({"derogations": rested_on} if rested_on else {}),
        },
    )
