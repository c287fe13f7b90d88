"""Clears away what nobody else will: attempts whose grant ran out, grants that nobody takes, jobs that waited too long.

Runs on the leader each second. Whether a deadline has passed is asked of the database's clock, on rows that are
locked, so a renewal under way is never overrun.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import structlog

from nordan_core.clock import Clock
from nordan_core.domain.attempts import Ending
from nordan_core.domain.ids import AttemptId, GrantId, RegionCode
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptResult, JobState
from nordan_core.store.audit import Act, AuditEntry
from nordan_core.store.unit_of_work import Store, UnitOfWork
from nordan_scheduler.metrics import Metrics

_log = structlog.get_logger()
INTERVAL_S = 1.0
BATCH = 200
ACTOR = "reaper"
#: Clocks of control plane and regions are right within this; only then does a passed deadline mean a stopped process.
SKEW_S = 5.0
#: A grant that nobody redeemed is announced again after this, then after twice as long each time.
RENUDGE_S = 5.0
RENUDGE_MAX_S = 60.0
#: A grant that nobody redeemed by then is taken back, so that the job can start elsewhere.
ABANDONED_S = 300.0
HOUSEKEEPING_S = 600.0
KEEP_ANSWERS = timedelta(hours=48)


class Reaper:
    """The leader's broom."""

    def __init__(self, store: Store, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._nudges = _Backoff()
        self._housekeeping_at = clock.monotonic()

    def step(self, epoch: int) -> float:
        """Do one round and return the wait until the next."""
        # 1. Attempts that stopped by themselves, because nobody renewed their grants.
        overdue = self._end_overdue(epoch)
        # 2. Grants that no region has taken for long.
        abandoned = self._end_abandoned(epoch)
        # 3. Grants that were not taken yet: say again that they are there.
        self._nudge_again(epoch)
        # 4. Jobs whose owner would wait no longer.
        expired = self._fail_expired(epoch)
        # 5. Rows that have had their time.
        if self._clock.monotonic() >= self._housekeeping_at:
            self._housekeeping_at = self._clock.monotonic() + HOUSEKEEPING_S
            self._forget_old_rows(epoch)
        return 0.0 if BATCH in {overdue, abandoned, expired} else INTERVAL_S

    def _end_overdue(self, epoch: int) -> int:
        with self._store.begin() as work:
            _hold(work, epoch)
            overdue = work.scheduling.lock_overdue(skew_s=SKEW_S, limit=BATCH)
            self._close(work, overdue, "the grant ran out: the region did not answer, and the attempt stopped itself")
        return self._note("overdue", len(overdue))

    def _end_abandoned(self, epoch: int) -> int:
        with self._store.begin() as work:
            _hold(work, epoch)
            abandoned = work.scheduling.lock_abandoned(age_s=ABANDONED_S, limit=BATCH)
            self._close(work, abandoned, f"the region did not take the grant within {ABANDONED_S:g} s")
        return self._note("abandoned", len(abandoned))

    def _close(self, work: UnitOfWork, attempts: Iterable[AttemptId], message: str) -> None:
        endings = [Ending(one, AttemptResult.LOST, Reason.GRANT_EXPIRED, message) for one in attempts]
        if endings:
            work.attempts.close(endings, self._clock.now(), actor=ACTOR)

    def _nudge_again(self, epoch: int) -> None:
        with self._store.begin() as work:
            work.leadership.assert_leader(epoch)
            waiting = work.outbox.unredeemed(age_s=RENUDGE_S, limit=10 * BATCH)
            due = self._nudges.due(waiting, self._clock.monotonic())
            work.outbox.add(due)
        self._note("nudged_again", len(due))

    def _fail_expired(self, epoch: int) -> int:
        now = self._clock.now()
        with self._store.begin() as work:
            work.leadership.assert_leader(epoch)
            expired = work.scheduling.lock_expired(BATCH)
            for project, name in expired:
                job = work.jobs.lock(project, name)
                assert job is not None, "its row is locked"
                message = f"no place was found within max_wait of {job.spec.max_wait_s:g} s"
                work.jobs.move(job, JobState.FAILED, Reason.MAX_WAIT, message, now)
                body: dict[str, object] = {"reason": Reason.MAX_WAIT.value}
                work.audit.write(AuditEntry(Act.JOB_EXPIRED, job.id, ACTOR, now, job.organisation, body))
        return self._note("expired", len(expired))

    def _forget_old_rows(self, epoch: int) -> None:
        now = self._clock.now()
        with self._store.begin() as work:
            work.leadership.assert_leader(epoch)
            answers = work.idempotency.forget_before(now - KEEP_ANSWERS)
            uploads = work.contents.forget_uploads(now)
        self._note("answers", answers)
        self._note("uploads", uploads)

    def _note(self, what: str, count: int) -> int:
        if count:
            self._metrics.note_reaped(what, count)
            _log.info("reaped", what=what, count=count)
        return count


def _hold(work: UnitOfWork, epoch: int) -> None:
    """Take the first two locks of the one order, so that no change of the world meets the end of an attempt."""
    work.epoch.share()
    work.leadership.assert_leader(epoch)


class _Backoff:
    """When each unredeemed grant was last announced, and how long to wait until the next time."""

    def __init__(self) -> None:
        self._next: dict[GrantId, tuple[float, float]] = {}

    def due(self, waiting: Iterable[tuple[GrantId, RegionCode]], now: float) -> tuple[tuple[GrantId, RegionCode], ...]:
        """Return those that are to be announced now; grants that no longer wait are forgotten."""
        regions = dict(waiting)
        self._next = {grant: when for grant, when in self._next.items() if grant in regions}
        due = [(grant, region) for grant, region in regions.items() if now >= self._next.get(grant, (0.0, 0.0))[0]]
        for grant, _ in due:
            wait_s = min(2 * self._next.get(grant, (0.0, RENUDGE_S / 2))[1], RENUDGE_MAX_S)
            self._next[grant] = (now + wait_s, wait_s)
        return tuple(due)
