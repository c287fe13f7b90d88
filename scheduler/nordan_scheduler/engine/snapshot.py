"""The engine's input: one consistent picture of queue, pools, nodes and law. The cycle and the port make it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from nordan_core.domain.queueing import NodeFree, PoolState, QueuedJob, Residency

#: Stands in for a policy that was not judged: it lets nothing through.
UNJUDGED = Residency(frozenset())


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What there is to plan with. The order of jobs, pools and nodes carries no meaning."""

    jobs: tuple[QueuedJob, ...]
    pools: tuple[PoolState, ...]
    nodes: tuple[NodeFree, ...]
    residency: Mapping[str, Residency]
    """The judge's word by policy digest."""
    taken_at: datetime

    def verdict(self, job: QueuedJob, now: datetime) -> Residency:
        """Return the judge's word on a job's policy; one that is missing or out of date lets nothing through."""
        found = self.residency.get(job.residency_key, UNJUDGED)
        return UNJUDGED if found.good_until is not None and found.good_until <= now else found
