"""Who comes first: priority, then age, then id, so that two equal plans never differ by chance."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from nordan_core.domain.ids import JobId
from nordan_core.domain.queueing import QueuedJob


def order(jobs: Iterable[QueuedJob]) -> list[QueuedJob]:
    """Return the jobs in the order in which they choose: highest priority, then oldest, then id."""
    return sorted(jobs, key=_key)


def _key(job: QueuedJob) -> tuple[int, datetime, JobId]:
    return (-job.priority, job.created_at, job.id)
