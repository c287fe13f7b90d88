"""Which derogations cover which waiting jobs: read anew for each snapshot, for uses are counted down between epochs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from nordan_core.domain.ids import JobId
from nordan_core.domain.queueing import QueuedJob
from nordan_core.granted import granted
from nordan_core.residency.derogations import Bearings, Covering, coverings
from nordan_core.residency.places import Atlas
from nordan_core.store.unit_of_work import UnitOfWork


def read_coverings(
    work: UnitOfWork, jobs: Iterable[QueuedJob], atlas: Atlas, now: datetime
) -> dict[JobId, tuple[Covering, ...]]:
    """Return what covers each job, of all that is approved, not over and not used up; most jobs are left out."""
    derogations = granted((one for one in work.derogations.open(now) if not one.is_used_up), atlas)
    if not derogations:
        return {}
    projects = {one.project for one in derogations}
    about = [job for job in jobs if job.project in projects]
    datasets = work.derogations.datasets_of(job.id for job in about)
    found = {job.id: coverings(derogations, Bearings(job.project, job.id, datasets.get(job.id, {}))) for job in about}
    return {job: covered for job, covered in found.items() if covered}
