"""Takes the snapshot that the engine plans on: short reads, then the judge, outside any transaction.

What a job asks for is read once per version; where its data lie, and all capacity, are read each time. Once a minute
everything is read again, and what that catches is counted: it must be nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field, replace

import structlog

from nordan_core.clock import Clock
from nordan_core.domain.ids import JobId, ProjectId
from nordan_core.domain.queueing import NodeFree, PoolState, QueuedJob
from nordan_core.domain.tenants import Project
from nordan_core.facts import FactsBook, FactsCache
from nordan_core.store.scheduling import JobData, WaitingJob
from nordan_core.store.unit_of_work import Store, UnitOfWork
from nordan_scheduler.derogating import read_coverings
from nordan_scheduler.engine.snapshot import Snapshot
from nordan_scheduler.law import Law

_log = structlog.get_logger()
#: Jobs that one plan looks at; the others are further back in the queue.
QUEUE_LIMIT = 2_000
REREAD_S = 60.0

Guard = Callable[[UnitOfWork], None]
"""Called first in the transaction; raises when the caller may not go on."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A snapshot with the residency epoch and the facts that it was judged under."""

    snapshot: Snapshot
    epoch: int
    taken_at: float
    """On the monotonic clock."""


@dataclass(slots=True)
class _Read:
    """What one transaction brought."""

    epoch: int
    waiting: tuple[WaitingJob, ...]
    pools: tuple[PoolState, ...]
    nodes: tuple[NodeFree, ...]
    data: dict[JobId, JobData] = field(default_factory=dict)


class Loader:
    """Loads snapshots for one owner; not for sharing between threads."""

    def __init__(self, store: Store, clock: Clock, facts: FactsCache) -> None:
        self._store = store
        self._clock = clock
        self._facts = facts
        self._jobs: dict[JobId, QueuedJob] = {}
        self._with_data: set[JobId] = set()
        self._projects: dict[ProjectId, Project] = {}
        self._derogations: dict[JobId, tuple[str, ...]] = {}
        self._floors_epoch = 0
        self._reread_at = clock.monotonic() + REREAD_S
        self.law = Law(facts.atlases.newest)
        self.stale = 0
        """Job rows that a full re-read found changed under an unchanged version."""

    def load(self, guard: Guard | None = None) -> Picture:
        """Return the present picture.

        Raises:
            Unavailable: jobs wait, but nobody has said yet where the control plane stands.
        """
        # 1. One short transaction.
        taken_at, now = self._clock.monotonic(), self._clock.now()
        with self._store.begin() as work:
            if guard is not None:
                guard(work)
            read = self._read(work)
        jobs = tuple(self.as_today(self._with_regions(self._jobs[one.id], read.data)) for one in read.waiting)
        # 2. The judge, once per policy.
        by_key = {job.residency_key: job for job in jobs}
        book = self._facts.at(read.epoch, self._store) if by_key else None
        residency = {key: self.law.residency(job, book, now) for key, job in by_key.items()} if book else {}
        snapshot = Snapshot(jobs, read.pools, read.nodes, residency, now)
        # Floors were read at this epoch; a book of a newer one does not make them newer.
        return Picture(snapshot, read.epoch, taken_at)

    def renew(self, jobs: Iterable[QueuedJob]) -> tuple[int, FactsBook, tuple[QueuedJob, ...]]:
        """Return the present residency epoch, its facts, and the jobs under today's floors and derogations."""
        kept = tuple(jobs)
        with self._store.begin() as work:
            epoch = work.epoch.share()
            self._read_under(work, epoch)
            self._learn_policies(work)
            self._read_floors(work, epoch, {job.project for job in kept})
            self._read_derogations(work, kept)
        return epoch, self._facts.at(epoch, self._store), tuple(self.as_today(job) for job in kept)

    def as_today(self, job: QueuedJob) -> QueuedJob:
        """Return a job under the floors and derogations of the last reading."""
        floors = self.law.floors_digest(job.policy_digest, self._projects.get(job.project))
        derogations = self._derogations.get(job.id, ())
        if (job.floors_digest, job.derogations) == (floors, derogations):
            return job
        return replace(job, floors_digest=floors, derogations=derogations)

    def book(self, epoch: int) -> FactsBook:
        """Return the facts at a residency epoch, or at the newer one that has replaced it."""
        return self._facts.at(epoch, self._store)

    def _read(self, work: UnitOfWork) -> _Read:
        epoch = work.epoch.current()
        self._read_under(work, epoch)
        waiting = work.scheduling.waiting(QUEUE_LIMIT)
        self._read_jobs(work, waiting)
        self._read_floors(work, epoch, {self._jobs[one.id].project for one in waiting})
        self._read_derogations(work, [self._jobs[one.id] for one in waiting])
        return _Read(
            epoch=epoch,
            waiting=waiting,
            pools=work.scheduling.pools(),
            nodes=work.scheduling.nodes(),
            data=work.scheduling.data(sorted(self._with_data)),
        )

    def _read_under(self, work: UnitOfWork, epoch: int) -> None:
        """Read policies anew when another atlas came into force; none does without a step of the epoch."""
        if epoch == self._floors_epoch:
            return
        atlas = self._facts.atlases.within(work)
        if atlas.digest != self.law.atlas.digest:
            self.law = Law(atlas)

    def _read_jobs(self, work: UnitOfWork, waiting: Sequence[WaitingJob]) -> None:
        before = self._jobs
        everything = self._is_reread_due()
        known = {one.id for one in waiting if one.id in before and before[one.id].version == one.version}
        wanted = [one.id for one in waiting if everything or one.id not in known]
        fresh = {job.id: job for job in work.scheduling.jobs(wanted)}
        self._count_stale(fresh, known)
        self._jobs = {one.id: fresh.get(one.id) or before[one.id] for one in waiting}
        self._with_data &= known
        self._with_data |= work.scheduling.data(wanted).keys()
        self._learn_policies(work)

    def _is_reread_due(self) -> bool:
        if self._clock.monotonic() < self._reread_at:
            return False
        self._reread_at = self._clock.monotonic() + REREAD_S
        return True

    def _count_stale(self, fresh: dict[JobId, QueuedJob], known: set[JobId]) -> None:
        changed = [job for job in known if job in fresh and fresh[job] != self._jobs[job]]
        if changed:
            self.stale += len(changed)
            _log.error("queue_was_stale", jobs=len(changed))

    def _learn_policies(self, work: UnitOfWork) -> None:
        by_digest = {job.policy_digest: job.id for job in self._jobs.values()}
        unknown = self.law.unknown(by_digest)
        if unknown:
            self.law.learn(work.scheduling.effective([by_digest[digest] for digest in sorted(unknown)]))

    def _read_floors(self, work: UnitOfWork, epoch: int, projects: Set[ProjectId]) -> None:
        """Know the floors of these projects at an epoch; a floor never changes without a step of it."""
        if epoch != self._floors_epoch:
            self._projects, self._floors_epoch = {}, epoch
            self.law.floors_moved()
        if unknown := projects - self._projects.keys():
            self._projects.update(work.tenants.projects_by_id(unknown))

    def _read_derogations(self, work: UnitOfWork, jobs: Iterable[QueuedJob]) -> None:
        found = read_coverings(work, jobs, self.law.atlas, self._clock.now())
        self._derogations = {job: self.law.cover(covered) for job, covered in found.items()}

    @staticmethod
    def _with_regions(job: QueuedJob, data: dict[JobId, JobData]) -> QueuedJob:
        found = data.get(job.id)
        return job if found is None else replace(job, data_regions=found.regions, resume_from=found.resume_from)
