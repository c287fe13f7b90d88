"""What was made of what, and the declassifications that stand between.

Approving a declassification changes a policy: the caller holds and steps the residency epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select, text, update
from sqlmodel import Session, col

from nordan_core.domain.approvals import Proposal
from nordan_core.domain.ids import ArtifactId, AttemptId, JobId, KeyId, ProjectId
from nordan_core.store.proposals import Proposals
from nordan_core.store.tables.data import ArtifactRow
from nordan_core.store.tables.law import DeclassificationRow

MOST = 10_000
"""Artifacts that one question returns."""

_DERIVED = text(
    """
    with recursive line as (
        select id, 0 as depth from artifact where project_id = :project and id = any(:roots)
        union
        select a.id, line.depth + 1 from line join artifact a
          on a.project_id = :project and a.parents @> to_jsonb(line.id) and line.depth < :deepest
    )
    select id, min(depth) as depth from line group by id order by min(depth), id limit :most
    """
)
_SOURCES = text(
    """
    with recursive line as (
        select id, 0 as depth from artifact where project_id = :project and id = any(:roots)
        union
        select p.value, line.depth + 1 from line join artifact a on a.id = line.id,
               jsonb_array_elements_text(a.parents) p where line.depth < :deepest
    )
    select id, min(depth) as depth from line group by id order by min(depth), id limit :most
    """
)
_READERS = text(
    "select j.id, i.name from job_input i join job j on j.id = i.job_id"
    " where i.artifact_id = :artifact and j.finished_at is null order by j.id for update of j"
)
_RESTING_ON = text(
    """
    select distinct d.id from declassification d join declassification first on first.artifact_id = d.artifact_id
    where first.approvals @> jsonb_build_array(jsonb_build_object('by', cast(:key as text)))
      and first.approved_at <= d.approved_at and first.revoked_at is null and d.revoked_at is null
    """
)
_LIVE = text("select id from attempt where job_id = :job and state <> 'ended'")
DEEPEST = 1_000
"""Longest line that is followed; artifacts are made of older ones, so it ends anyway."""


@dataclass(frozen=True, slots=True)
class Kin:
    """An artifact on a line of descent, with the fewest steps to where the question began."""

    artifact: ArtifactId
    depth: int


class Lineage(Proposals):
    """Reads lines of descent; reads and writes declassifications."""

    def __init__(self, session: Session) -> None:
        super().__init__(session, DeclassificationRow)

    def derived(self, project: ProjectId, roots: Sequence[ArtifactId]) -> list[Kin]:
        """Return these artifacts and everything that was made of them, nearest first."""
        return self._line(project, roots, is_upwards=False)

    def sources(self, project: ProjectId, roots: Sequence[ArtifactId]) -> list[Kin]:
        """Return these artifacts and everything that they were made from, nearest first."""
        return self._line(project, roots, is_upwards=True)

    def add(self, proposal: Proposal, artifact: ArtifactId) -> None:
        """Insert a declassification that was asked for."""
        self._session.add(
            DeclassificationRow(
                id=proposal.id,
                organisation_id=proposal.organisation,
                project_id=proposal.project,
                artifact_id=artifact,
                text=dict(proposal.text),
                digest=proposal.digest,
                requested_by=proposal.requested_by.key,
                requested_by_member=proposal.requested_by.member,
                requested_at=proposal.requested_at,
            )
        )
        self._session.flush()

    def of_artifacts(self, artifacts: Sequence[ArtifactId]) -> dict[str, list[Proposal]]:
        """Return the approved declassifications of artifacts, oldest first; most have none."""
        statement = select(DeclassificationRow).where(
            col(DeclassificationRow.artifact_id).in_(list(artifacts)),
            col(DeclassificationRow.approved_at).is_not(None),
        )
        found: dict[str, list[Proposal]] = {}
        for one in self.found(statement.order_by(col(DeclassificationRow.id))):
            found.setdefault(str(one.text["artifact"]), []).append(one)
        return found

    def resting_on(self, key: KeyId) -> list[Proposal]:
        """Return what is approved with a key among its approvers, and what was given later to the same artifacts.

        The newest of an artifact comes first: it has to go before the one that it stands on.
        """
        rows = self._session.execute(_RESTING_ON, {"key": key}).scalars().all()
        statement = select(DeclassificationRow).where(col(DeclassificationRow.id).in_(rows))
        return self.found(statement.order_by(col(DeclassificationRow.id).desc()))

    def set_policy(self, artifact: ArtifactId, policy: Mapping[str, object]) -> None:
        """Replace an artifact's policy; the caller steps the residency epoch."""
        statement = update(ArtifactRow).where(col(ArtifactRow.id) == artifact)
        self._session.execute(statement.values(policy=dict(policy)), execution_options={"synchronize_session": False})

    def lock_readers(self, artifact: ArtifactId) -> dict[JobId, str]:
        """Return the jobs that read an artifact and are not final, locked, with the name that each has for it."""
        return {JobId(row.id): row.name for row in self._session.execute(_READERS, {"artifact": artifact})}

    def live_attempt(self, job: JobId) -> AttemptId | None:
        """Return the attempt of a locked job that has not ended."""
        found = self._session.execute(_LIVE, {"job": job}).scalar_one_or_none()
        return None if found is None else AttemptId(found)

    def _line(self, project: ProjectId, roots: Sequence[ArtifactId], *, is_upwards: bool) -> list[Kin]:
        asked = {"project": project, "roots": list(roots), "deepest": DEEPEST, "most": MOST}
        rows = self._session.execute(_SOURCES if is_upwards else _DERIVED, asked)
        return [Kin(ArtifactId(row.id), row.depth) for row in rows]
