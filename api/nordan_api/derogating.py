"""Which derogations cover what is judged in a transaction, and the uses that an act takes of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from nordan_core.domain.approvals import Proposal
from nordan_core.domain.errors import Unavailable
from nordan_core.domain.ids import JobId, ProjectId
from nordan_core.granted import granted
from nordan_core.policies import DATA
from nordan_core.residency.derogations import Bearings, Covering, Derogation, coverings
from nordan_core.residency.layers import Effective
from nordan_core.residency.places import Atlas
from nordan_core.residency.widening import derogated
from nordan_core.store.unit_of_work import UnitOfWork

AGAIN_S = 0.5
"""Long enough for the act that is using a derogation to be over."""


class DerogationInUse(Unavailable):
    """Another act is using a derogation just now, so it is not known whether a use is left."""


class Derogating:
    """The derogations of one transaction, each project's read and parsed once."""

    def __init__(self, work: UnitOfWork, atlas: Atlas, now: datetime) -> None:
        self._work = work
        self._atlas = atlas
        self._now = now
        self._open: dict[ProjectId, list[Proposal]] = {}
        self._granted: dict[ProjectId, tuple[Derogation, ...]] = {}
        self._at_rest: dict[tuple[ProjectId, str | None, str], tuple[Covering, ...]] = {}
        self._taken: dict[str, int] = {}

    def covering(self, project: ProjectId, job: JobId, held: frozenset[str], *, may_take: bool) -> tuple[Covering, ...]:
        """Return what covers an attempt of a job: those that it rests on already and, where it may, any not used up."""
        usable = {one.id for one in self._of(project) if one.id in held or (may_take and not self._is_used_up(one))}
        if not usable:
            return ()
        datasets = self._work.derogations.datasets_of([job])
        return coverings(self._read(project, usable), Bearings(project, job, datasets.get(job, {})))

    def lasting(self, project: ProjectId, job: JobId) -> tuple[Covering, ...]:
        """Return what covers a job as long as it lasts, used up or not: for reading what its attempts left."""
        if not self._of(project):
            return ()
        datasets = self._work.derogations.datasets_of([job])
        return coverings(self._read(project), Bearings(project, job, datasets.get(job, {})))

    def at_rest(self, project: ProjectId, dataset: str | None, *, name: str = DATA) -> tuple[Covering, ...]:
        """Return what covers data, which speak in their policy by a name: they may lie and be read while it lasts.

        Uses are counted by attempts alone; each put, copy and read is an entry of the log anyway.
        """
        asked = project, dataset, name
        if asked not in self._at_rest:
            bearings = Bearings(project, None, {} if dataset is None else {name: dataset})
            self._at_rest[asked] = coverings(self._read(project), bearings)
        return self._at_rest[asked]

    def submitted(self, project: ProjectId, datasets: Mapping[str, str]) -> tuple[Covering, ...]:
        """Return what covers a job that has no id yet."""
        usable = {one.id for one in self._of(project) if not one.is_used_up}
        return coverings(self._read(project, usable), Bearings(project, None, datasets))

    def take(self, used: Iterable[Covering], held: frozenset[str]) -> None:
        """Count one use of each derogation that an attempt did not rest on before.

        Raises:
            DerogationInUse: another act is using one just now.
        """
        new = [one.derogation.id for one in used if one.derogation.id not in held]
        if not new:
            return
        left = self._work.derogations.lock_left(new)
        if any(left.get(name, 0) < 1 for name in new):
            raise DerogationInUse("a derogation is being used by another act; ask again in a moment", AGAIN_S)
        self._work.derogations.take(dict.fromkeys(new, 1))
        for name in new:
            self._taken[name] = self._taken.get(name, 0) + 1

    def _of(self, project: ProjectId) -> Sequence[Proposal]:
        if project not in self._open:
            self._open[project] = self._work.derogations.open(self._now, [project])
        return self._open[project]

    def _read(self, project: ProjectId, usable: Collection[str] | None = None) -> tuple[Derogation, ...]:
        """Return a project's derogations, or those of them that are usable; their texts are read once."""
        if project not in self._granted:
            self._granted[project] = granted(self._of(project), self._atlas)
        return tuple(one for one in self._granted[project] if usable is None or one.id in usable)

    def _is_used_up(self, one: Proposal) -> bool:
        return one.uses + self._taken.get(one.id, 0) >= one.max_uses


def at_rest(
    work: UnitOfWork, of: Effective, project: ProjectId, *, name: str, dataset: str | None, atlas: Atlas, now: datetime
) -> Effective:
    """Return the policy of data with every derogation that covers them."""
    return derogated(of, Derogating(work, atlas, now).at_rest(project, dataset, name=name))
