"""The scheduler's cycle: load, plan, apply, say why. Runs on the leader, woken by commits and at least each second.

It holds no transaction while it judges or plans. Every transaction compares the leader epoch; apply compares the
residency epoch too and judges again if it has moved. The relay is not a part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

import structlog

from nordan_core.clock import Clock
from nordan_core.domain.errors import Unavailable
from nordan_core.domain.ids import JobId, RegionCode
from nordan_core.domain.queueing import Applied, Decision, Residency, Unplaced
from nordan_core.residency.facts import control_plane_document, facts_document
from nordan_core.store.placing import policies_judged
from nordan_core.store.unit_of_work import Store, UnitOfWork
from nordan_scheduler.engine.plan import plan
from nordan_scheduler.faults import NO_FAULTS, Faults
from nordan_scheduler.load import Loader, Picture
from nordan_scheduler.metrics import Metrics

_log = structlog.get_logger()
CHUNK = 500
#: How often a chunk is judged again because the law moved while it was written; then it is planned anew.
JUDGE_AGAIN = 5
#: Digests of logged policies that it remembers; it asks the log again about others.
KEPT_LOGGED = 100_000
#: Wait before decisions that were dropped are planned again.
AGAIN_S = 0.02
#: Counts in a job's reasons are refreshed this often while the reasons themselves stay the same.
REFRESH_COUNTS = timedelta(seconds=10)

Item = TypeVar("Item")
WakeRegions = Callable[[Collection[RegionCode]], None]


@dataclass(frozen=True, slots=True)
class CycleReport:
    """What a cycle did."""

    waiting: int
    placed: int
    dropped: int
    duration_s: float


class Cycle:
    """Places what waits."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        loader: Loader,
        *,
        wake_regions: WakeRegions,
        metrics: Metrics,
        faults: Faults = NO_FAULTS,
    ) -> None:
        self._store = store
        self._faults = faults
        self._clock = clock
        self._loader = loader
        self._wake_regions = wake_regions
        self._metrics = metrics
        self._told: dict[JobId, tuple[Unplaced, datetime]] = {}
        self._logged_epoch = 0
        self._logged_policies: set[str] = set()

    def run(self, epoch: int) -> CycleReport:
        """Run one cycle under a leader epoch.

        Raises:
            NotLeader: another process leads; nothing was changed since.
            Unavailable: nothing can be judged yet.
        """
        started = self._clock.monotonic()
        # 1. Load what waits and what is free.
        picture = self._loader.load(lambda work: work.leadership.assert_leader(epoch))
        # 2. Log the facts that were judged by, if they are new.
        if picture.snapshot.pools and picture.epoch != self._logged_epoch:
            self._log_facts(epoch, picture.epoch)
        # 3. Plan: pure.
        decided = plan(picture.snapshot, self._clock.now(), seed=epoch)
        # 4. Apply, in chunks; each is its own transaction.
        placed, dropped = self._apply_all(epoch, picture, decided.decisions)
        # 5. Say why the others wait, where that has changed.
        self._tell(epoch, decided.unplaced)
        report = CycleReport(len(picture.snapshot.jobs), placed, dropped, self._clock.monotonic() - started)
        self._metrics.note_stale(self._loader.stale)
        self._metrics.note_cycle(report.waiting, report.placed, report.dropped, report.duration_s)
        return report

    def _apply_all(self, epoch: int, picture: Picture, decisions: Sequence[Decision]) -> tuple[int, int]:
        placed = 0
        for chunk in _chunks(decisions):
            applied = self._apply(epoch, picture, chunk)
            placed += len(applied.placed)
            self._wake_regions({one.region for one in applied.placed})
        return placed, len(decisions) - placed

    def _apply(self, epoch: int, picture: Picture, chunk: Sequence[Decision]) -> Applied:
        law_epoch, residency = picture.epoch, dict(picture.snapshot.residency)
        for _ in range(JUDGE_AGAIN):
            self._log_policies(epoch, chunk, residency)
            with self._store.begin() as work:
                current = _hold(work, epoch)
                if current == law_epoch:
                    applied = work.scheduling.apply(chunk, residency, at=self._clock.now())
                    if applied.placed:
                        self._faults.at("before_commit")
                    return applied
            # The law moved since it was judged: judge again, outside the transaction, and try once more.
            law_epoch, residency, chunk = self._judge_again(chunk)
            self._log_facts(epoch, law_epoch)
        _log.warning("law_keeps_moving", decisions=len(chunk))
        return Applied(dropped=tuple(one.job.id for one in chunk))

    def _log_facts(self, epoch: int, law_epoch: int) -> None:
        """See that the facts at hand are in the audit log before anything is done on their word."""
        book = self._loader.book(law_epoch)
        documents = {facts.digest: facts_document(facts) for facts in book.pools}
        documents[book.control_plane_digest] = control_plane_document(book.control_plane)
        with self._store.begin() as work:
            work.leadership.assert_leader(epoch)
            work.scheduling.record_facts(documents, self._clock.now())
        self._logged_epoch = book.epoch

    def _log_policies(self, epoch: int, chunk: Sequence[Decision], residency: Mapping[str, Residency]) -> None:
        """See that the policies which a chunk was judged by are in the log: floors may have given a job others."""
        named = {digest for one in chunk for digest in policies_judged(one, residency)}
        if len(self._logged_policies) > KEPT_LOGGED:
            self._logged_policies.clear()
        if missing := self._loader.law.documents(named - self._logged_policies):
            with self._store.begin() as work:
                work.leadership.assert_leader(epoch)
                work.scheduling.record_policies(missing, self._clock.now())
            self._logged_policies |= missing.keys()

    def _judge_again(self, chunk: Sequence[Decision]) -> tuple[int, dict[str, Residency], Sequence[Decision]]:
        law_epoch, book, jobs = self._loader.renew(one.job for one in chunk)
        now = self._clock.now()
        residency = {job.residency_key: self._loader.law.residency(job, book, now) for job in jobs}
        chunk = [replace(one, job=job) for one, job in zip(chunk, jobs, strict=True)]
        versions = {facts.pool: facts.facts_version for facts in book.pools}
        # What the plan knew of a pool besides the law (its price, its region) may have changed with its facts.
        same = [one for one in chunk if versions.get(one.placement.pool.name) == one.placement.pool.facts_version]
        return law_epoch, residency, same

    def _tell(self, epoch: int, unplaced: Sequence[Unplaced]) -> None:
        now = self._clock.now()
        waiting = {one.job for one in unplaced}
        self._told = {job: told for job, told in self._told.items() if job in waiting}
        changed = [one for one in unplaced if self._is_news(one, now)]
        for chunk in _chunks(changed):
            with self._store.begin() as work:
                work.leadership.assert_leader(epoch)
                work.scheduling.store_reasons(chunk)
        self._told.update((one.job, (one, now)) for one in changed)

    def _is_news(self, one: Unplaced, now: datetime) -> bool:
        if one.job not in self._told:
            return True
        before, at = self._told[one.job]
        if (before.version, before.reason) != (one.version, one.reason):
            return True
        return before.refusals != one.refusals and now - at >= REFRESH_COUNTS


class CycleStep:
    """The cycle as a leader's loop runs it: at once when woken, but never more than half of the time."""

    def __init__(self, cycle: Cycle, clock: Clock, idle_s: float, pause: Callable[[float], object]) -> None:
        self._cycle = cycle
        self._clock = clock
        self._idle_s = idle_s
        self._pause = pause
        self._rest_until = 0.0

    def __call__(self, epoch: int) -> float:
        """Run a cycle and return the longest wait until the next."""
        rest_s = self._rest_until - self._clock.monotonic()
        if rest_s > 0:
            # Wake-ups that come close together are answered by one cycle.
            self._pause(rest_s)
        try:
            report = self._cycle.run(epoch)
        except Unavailable as error:
            _log.info("cycle_waits", why=str(error))
            return self._idle_s
        self._rest_until = self._clock.monotonic() + report.duration_s
        return AGAIN_S if report.dropped else self._idle_s


def _hold(work: UnitOfWork, epoch: int) -> int:
    """Take the first two locks of the one order and return the residency epoch."""
    current = work.epoch.share()
    work.leadership.assert_leader(epoch)
    return current


def _chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
