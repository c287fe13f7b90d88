"""Which derogations cover what is there already: read anew for each look, since uses are counted between epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from nordan_core.domain.fences import LivePresence, RestGroup
from nordan_core.domain.ids import AttemptId
from nordan_core.granted import granted
from nordan_core.policies import DATA
from nordan_core.residency.derogations import Bearings, Covering, Derogation, coverings
from nordan_core.residency.places import Atlas
from nordan_core.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class Leave:
    """The derogations of one look."""

    attempts: Mapping[AttemptId, tuple[Covering, ...]] = field(default_factory=dict)
    """What covers an attempt: what it rests on already, and what is not used up. Most attempts are left out."""
    open: tuple[Derogation, ...] = ()

    def data(self, group: RestGroup) -> tuple[Covering, ...]:
        """Return what covers bytes: they may lie there as long as it lasts, used up or not."""
        if not self.open:
            return ()
        return coverings(
            self.open, Bearings(group.project, None, {} if group.dataset is None else {DATA: group.dataset})
        )


def read_leave(work: UnitOfWork, live: Sequence[LivePresence], atlas: Atlas, now: datetime) -> Leave:
    """Return what is approved and not over, and what of it covers which attempts."""
    proposals = work.derogations.open(now)
    if not proposals:
        return Leave()
    used_up = {one.id for one in proposals if one.is_used_up}
    derogations = granted(proposals, atlas)
    projects = {one.project for one in derogations}
    about = [one for one in live if one.project in projects]
    held = work.fencing.held([one.attempt for one in about])
    datasets = work.derogations.datasets_of(one.job for one in about)
    found = {}
    for one in about:
        usable = [it for it in derogations if it.id not in used_up or it.id in held.get(one.attempt, ())]
        found[one.attempt] = coverings(usable, Bearings(one.project, one.job, datasets.get(one.job, {})))
    return Leave({attempt: covered for attempt, covered in found.items() if covered}, derogations)
