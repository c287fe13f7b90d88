"""Attempts, grants and leases as the regions move them on: redemption, reports, renewal, end.

The end of an attempt is written here and nowhere else, whoever found it out: a report, a cancellation, the reaper.
Locks are taken in the one order: residency epoch, leader, jobs ascending, nodes ascending. PostgreSQL locks the rows
of one result in the order of FROM, so the job stands first in each statement that locks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, func, select, text, update
from sqlmodel import Session, col

from nordan_core.domain.attempts import Attempt, Ending, RankPlacement, RedeemableGrant
from nordan_core.domain.ids import AttemptId, GrantId, JobId, OrganisationId, PoolName, ProjectId, RegionCode
from nordan_core.domain.money import Cost, Price
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import (
    AttemptResult,
    AttemptState,
    AttemptView,
    JobState,
    check_attempt_move,
    check_job_move,
    job_state,
)
from nordan_core.store.endings import close_attempts
from nordan_core.store.tables.jobs import AttemptRow, GrantRow, JobRow, LeaseRow

_GRANT, _ATTEMPT = GrantRow.metadata.tables["attempt_grant"], AttemptRow.metadata.tables["attempt"]
_UPDATE_GRANT = (
    update(_GRANT)
    .where(_GRANT.c.id == bindparam("key"))
    .values(
        state="redeemed",
        redemption_id=bindparam("redemption"),
        supervisor_id=bindparam("supervisor"),
        redeemed_at=bindparam("at"),
        ttl_s=bindparam("ttl"),
        alive_until=bindparam("alive"),
    )
)
_UPDATE_REDEEMED = (
    update(_ATTEMPT)
    .where(_ATTEMPT.c.id == bindparam("key"))
    .values(state=AttemptState.REDEEMED.value, redeemed_at=bindparam("at"), verdicts=bindparam("verdicts"))
)


#: As many statements for a thousand reports as for one.
_ADVANCE = text(
    """
    update attempt a set seq = v.seq, is_ready = v.is_ready, state = v.state,
           running_at = case when v.state = 'running' then coalesce(a.running_at, :at) else a.running_at end
    from jsonb_to_recordset(cast(:rows as jsonb)) as v(id text, seq bigint, is_ready boolean, state text)
    where a.id = v.id
    """
)
_FOLLOW = text(
    """
    update job j set state = v.state, reason = null, message = '', history = j.history || v.line,
           version = j.version + 1
    from jsonb_to_recordset(cast(:rows as jsonb)) as v(id text, state text, line jsonb)
    where j.id = v.id
    """
)


@dataclass(frozen=True, slots=True)
class LockedAttempt:
    """An attempt whose job is locked in this transaction, with what a report about it is decided on."""

    attempt: Attempt
    seq: int
    """Number of the last report that was stored."""
    stop_reason: Reason | None
    """Why the control plane wants it stopped."""
    job_state: JobState
    is_cancel_requested: bool


@dataclass(frozen=True, slots=True)
class Advance:
    """What a report that is not the last one says of a locked attempt."""

    locked: LockedAttempt
    seq: int
    state: AttemptState
    is_ready: bool

    def row(self) -> dict[str, Any]:  # Any: JSON
        """Return what is stored of it.

        Raises:
            IllegalMove: the state table forbids it.
        """
        before = self.locked.attempt.state
        if self.state is not before:
            check_attempt_move(before, self.state)
        return {"id": self.locked.attempt.id, "seq": self.seq, "is_ready": self.is_ready, "state": self.state.value}

    def job_row(self, now: datetime) -> dict[str, Any] | None:  # Any: JSON
        """Return what it means for the job; None where that stays as it is.

        Raises:
            IllegalMove: the state table forbids it.
        """
        attempt = self.locked.attempt
        before = [AttemptView(AttemptState.ENDED)] * (attempt.number - 1)
        after = job_state([*before, AttemptView(self.state)], is_cancel_requested=self.locked.is_cancel_requested)
        if after is self.locked.job_state:
            return None
        check_job_move(self.locked.job_state, after)
        line = {"state": after.value, "reason": None, "message": "", "at": now.isoformat()}
        return {"id": attempt.job, "state": after.value, "line": [line]}


@dataclass(frozen=True, slots=True)
class LiveAttempt:
    """What a renewal is decided on."""

    id: AttemptId
    job: JobId
    project: ProjectId
    organisation: OrganisationId
    number: int
    fence: int
    pool: PoolName
    ttl_s: float
    alive_until: datetime
    verdicts: dict[str, Any]  # Any: JSON
    stop_reason: Reason | None
    stop_grace_s: float

    def stopped(self, reason: Reason, grace_s: float) -> LiveAttempt:
        """Return it as it is once it has to stop for this reason."""
        return replace(self, stop_reason=reason, stop_grace_s=grace_s)

    def living(self, ttl_s: float) -> LiveAttempt:
        """Return it with so long a life from each renewal."""
        return replace(self, ttl_s=ttl_s)


class Attempts:
    """Reads and moves attempts."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def of_job(self, job: JobId) -> list[Attempt]:
        """Return a job's attempts in order of number, with price and cost."""
        statement = (
            select(AttemptRow, LeaseRow)
            .join(LeaseRow, col(LeaseRow.attempt_id) == col(AttemptRow.id), isouter=True)
            .where(col(AttemptRow.job_id) == job)
            .order_by(col(AttemptRow.number))
        )
        return [attempt_of(row, lease) for row, lease in self._session.execute(statement)]

    def lock_grants(self, region: RegionCode, grants: Iterable[GrantId]) -> dict[GrantId, RedeemableGrant]:
        """Return grants of a region with their attempts, jobs locked in ascending order; unknown ids are left out."""
        statement = (
            select(GrantRow, AttemptRow)
            .select_from(JobRow)
            .join(AttemptRow, col(AttemptRow.job_id) == col(JobRow.id))
            .join(GrantRow, col(GrantRow.attempt_id) == col(AttemptRow.id))
            .where(col(GrantRow.id).in_(list(grants)), col(GrantRow.region) == region)
            .order_by(col(AttemptRow.job_id))
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        return {GrantId(grant.id): _redeemable(grant, row) for grant, row in self._session.execute(statement)}

    def mark_redeemed(
        self, grants: Sequence[tuple[RedeemableGrant, str, dict[str, Any]]], supervisor: str, now: datetime
    ) -> None:
        """Write redemptions of locked grants: (grant, redemption id, what the judge said)."""
        connection = self._session.connection()
        if not grants:
            return
        connection.execute(
            _UPDATE_GRANT,
            [
                {
                    "key": grant.id,
                    "redemption": redemption,
                    "supervisor": supervisor,
                    "at": now,
                    "ttl": grant.ttl_s,
                    "alive": now + timedelta(seconds=grant.ttl_s),
                }
                for grant, redemption, _ in grants
            ],
        )
        connection.execute(
            _UPDATE_REDEEMED,
            [
                {"key": grant.attempt.id, "at": now, "verdicts": {**grant.attempt.verdicts, "redeem": verdict}}
                for grant, _, verdict in grants
            ],
        )

    def lock_reported(self, region: RegionCode, attempts: Iterable[AttemptId]) -> dict[AttemptId, LockedAttempt]:
        """Return attempts of a region, their jobs locked in ascending order."""
        statement = (
            select(AttemptRow, col(JobRow.state), col(JobRow.cancel_requested_at))
            .select_from(JobRow)
            .join(AttemptRow, col(AttemptRow.job_id) == col(JobRow.id))
            .where(col(AttemptRow.id).in_(list(attempts)), col(AttemptRow.region) == region)
            .order_by(col(AttemptRow.job_id))
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        return {
            AttemptId(row.id): LockedAttempt(
                attempt=attempt_of(row),
                seq=row.seq,
                stop_reason=Reason(row.stop_reason) if row.stop_reason else None,
                job_state=JobState(job_state),
                is_cancel_requested=cancelled_at is not None,
            )
            for row, job_state, cancelled_at in self._session.execute(statement)
        }

    def advance(self, advances: Sequence[Advance], now: datetime) -> None:
        """Store reports that are not the last ones, each of another attempt, and what they mean for the jobs.

        Raises:
            IllegalMove: the state table forbids one.
        """
        if not advances:
            return
        rows = [one.row() for one in advances]
        jobs = [row for one in advances if (row := one.job_row(now)) is not None]
        self._session.execute(_ADVANCE, {"rows": json.dumps(rows), "at": now})
        if jobs:
            self._session.execute(_FOLLOW, {"rows": json.dumps(jobs)})

    def close(self, endings: Sequence[Ending], now: datetime, *, actor: str) -> list[JobId]:
        """End attempts: give GPUs back, close leases and grants, derive the jobs' states. Ended ones are left alone.

        Returns the jobs that reached a final state.
        """
        return close_attempts(self._session, endings, now, actor=actor)

    def live_in(self, region: RegionCode) -> list[LiveAttempt]:
        """Return the redeemed attempts of a region that have not ended, with what a renewal is judged on."""
        columns = (
            *(AttemptRow.id, AttemptRow.job_id, JobRow.project_id, JobRow.organisation_id, AttemptRow.number),
            *(AttemptRow.fence, AttemptRow.pool, GrantRow.ttl_s, GrantRow.alive_until),
            *(AttemptRow.verdicts, AttemptRow.stop_reason, AttemptRow.stop_grace_s),
        )
        statement = (
            select(*(col(one) for one in columns))
            .select_from(AttemptRow)
            .join(GrantRow, col(GrantRow.attempt_id) == col(AttemptRow.id))
            .join(JobRow, col(JobRow.id) == col(AttemptRow.job_id))
            .where(col(AttemptRow.region) == region, col(AttemptRow.state) != AttemptState.ENDED.value)
            .where(col(GrantRow.state).in_(["redeemed", "revoked"]))
            .order_by(col(AttemptRow.id))
        )
        return [
            LiveAttempt(
                AttemptId(row.id),
                JobId(row.job_id),
                ProjectId(row.project_id),
                OrganisationId(row.organisation_id),
                row.number,
                row.fence,
                PoolName(row.pool),
                row.ttl_s,
                row.alive_until,
                row.verdicts,
                Reason(row.stop_reason) if row.stop_reason else None,
                row.stop_grace_s,
            )
            for row in self._session.execute(statement)
        ]

    def renew(self, attempts: Sequence[LiveAttempt], now: datetime) -> None:
        """Move on the instants until which these attempts may live; never back: the region may not hear of it."""
        by_ttl: dict[float, list[str]] = {}
        for attempt in attempts:
            by_ttl.setdefault(attempt.ttl_s, []).append(attempt.id)
        for ttl_s, ids in sorted(by_ttl.items()):
            statement = update(GrantRow).where(col(GrantRow.attempt_id).in_(ids), col(GrantRow.state) == "redeemed")
            until = func.greatest(col(GrantRow.alive_until), now + timedelta(seconds=ttl_s))
            self._session.execute(statement.values(alive_until=until))

    def note_renewals(self, said: Iterable[tuple[Sequence[AttemptId], Mapping[str, Any]]]) -> None:
        """Store what the judge said at renewal, for attempts whose epoch had moved: the same change for many."""
        for attempts, change in said:
            renewed = _ATTEMPT.c.verdicts.concat(dict(change))
            statement = update(AttemptRow).where(col(AttemptRow.id).in_(list(attempts)))
            self._session.execute(statement.values(verdicts=renewed))

    def ask_to_stop(self, attempt: AttemptId, reason: Reason, grace_s: float) -> None:
        """Want an attempt stopped; sent down with each sync until it ended. The first reason stands, law excepted.

        Whoever fences does so by `Fencing.attempts`.
        """
        statement = update(AttemptRow).where(col(AttemptRow.id) == attempt, col(AttemptRow.stop_reason).is_(None))
        self._session.execute(statement.values(stop_reason=reason.value, stop_grace_s=grace_s))

    def fenced_in(self, region: RegionCode, since: datetime) -> list[AttemptId]:
        """Return the attempts of a region that became unlawful and live, or ended after an instant."""
        statement = select(col(AttemptRow.id)).where(
            col(AttemptRow.region) == region,
            (col(AttemptRow.stop_reason) == Reason.FENCED.value)
            | (col(AttemptRow.result) == AttemptResult.FENCED.value),
            col(AttemptRow.ended_at).is_(None) | (col(AttemptRow.ended_at) > since),
        )
        return [AttemptId(one) for one in self._session.scalars(statement.order_by(col(AttemptRow.id)))]

    def ended_among(self, region: RegionCode, attempts: Iterable[AttemptId]) -> set[AttemptId]:
        """Return those of the given attempts that are of this region and have ended."""
        wanted = list(attempts)
        if not wanted:
            return set()
        statement = select(col(AttemptRow.id)).where(
            col(AttemptRow.id).in_(wanted),
            col(AttemptRow.region) == region,
            col(AttemptRow.state) == AttemptState.ENDED.value,
        )
        return {AttemptId(one) for one in self._session.scalars(statement)}


def attempt_of(row: AttemptRow, lease: LeaseRow | None = None) -> Attempt:
    """Return the domain object of a row."""
    return Attempt(
        id=AttemptId(row.id),
        job=JobId(row.job_id),
        number=row.number,
        fence=row.fence,
        pool=PoolName(row.pool),
        region=RegionCode(row.region),
        ranks=tuple(RankPlacement(one["rank"], one["node"], one["gpu_mask"]) for one in row.placement),
        state=AttemptState(row.state),
        created_at=row.created_at,
        result=AttemptResult(row.result) if row.result else None,
        reason=Reason(row.reason) if row.reason else None,
        message=row.message,
        exit_code=row.exit_code,
        resume_from=row.resume_from,
        is_ready=row.is_ready,
        redeemed_at=row.redeemed_at,
        running_at=row.running_at,
        ended_at=row.ended_at,
        usage=row.usage,
        verdicts=row.verdicts,
        price=Price.stored(lease.price_micro_eur_per_gpu_h, lease.price_micro_eur_per_gpu_s) if lease else Price(0),
        cost=Cost(lease.cost_micro_eur) if lease else Cost(0),
    )


def _redeemable(grant: GrantRow, row: AttemptRow) -> RedeemableGrant:
    return RedeemableGrant(
        id=GrantId(grant.id),
        attempt=attempt_of(row),
        state=grant.state,
        ttl_s=grant.ttl_s,
        redemption_id=grant.redemption_id,
        alive_until=grant.alive_until,
        is_stopping=row.stop_reason is not None,
        ended_for=row.reason,
    )
