"""What was made of what, and the declassifications that stand between.

Approving a declassification changes a policy: the caller holds and steps the residency epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text, update
from sqlmodel import Session, col

from nordan_core.domain.approvals import APPROVALS, Approval, Proposal, Signer
from nordan_core.domain.ids import ArtifactId, AttemptId, JobId, KeyId, OrganisationId, ProjectId
from nordan_core.store.derogations import approval_documents, approvals_of
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


class Lineage:
    """Reads lines of descent; writes declassifications."""

    def __init__(self, session: Session) -> None:
        self._session = session

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

    def get(self, project: ProjectId, declassification: str) -> Proposal | None:
        """Return a declassification of a project."""
        statement = select(DeclassificationRow).where(col(DeclassificationRow.project_id) == project)
        row = self._session.scalars(statement.where(col(DeclassificationRow.id) == declassification)).one_or_none()
        return _proposal(row) if row else None

    def page(self, project: ProjectId, limit: int) -> list[Proposal]:
        """Return a project's declassifications, newest first."""
        statement = select(DeclassificationRow).where(col(DeclassificationRow.project_id) == project)
        rows = self._session.scalars(statement.order_by(col(DeclassificationRow.id).desc()).limit(limit))
        return [_proposal(row) for row in rows]

    def of_artifacts(self, artifacts: Sequence[ArtifactId]) -> dict[str, list[Proposal]]:
        """Return the approved declassifications of artifacts, oldest first; most have none."""
        statement = select(DeclassificationRow).where(
            col(DeclassificationRow.artifact_id).in_(list(artifacts)),
            col(DeclassificationRow.approved_at).is_not(None),
        )
        found: dict[str, list[Proposal]] = {}
        for row in self._session.scalars(statement.order_by(col(DeclassificationRow.id))):
            found.setdefault(row.artifact_id, []).append(_proposal(row))
        return found

    def resting_on(self, key: KeyId) -> list[Proposal]:
        """Return what is approved with a key among its approvers, and what was given later to the same artifacts.

        The newest of an artifact comes first: it has to go before the one that it stands on.
        """
        rows = self._session.execute(_RESTING_ON, {"key": key}).scalars().all()
        statement = select(DeclassificationRow).where(col(DeclassificationRow.id).in_(rows))
        return [_proposal(row) for row in self._session.scalars(statement.order_by(col(DeclassificationRow.id).desc()))]

    def approve(self, proposal: Proposal, approval: Approval) -> Proposal:
        """Write one more approval; the caller has checked that it counts, and holds the residency epoch."""
        approvals = (*proposal.approvals, approval)
        approved_at = approval.at if len(approvals) >= APPROVALS else None
        self._write(proposal, approvals=approval_documents(approvals), approved_at=approved_at)
        return proposal.with_approvals(approvals, approved_at)

    def revoke(self, proposal: Proposal, by: KeyId, at: datetime) -> None:
        """Write that it counts no more; the caller holds the residency epoch."""
        self._write(proposal, revoked_at=at, revoked_by=by)

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

    def _write(self, proposal: Proposal, **values: object) -> None:
        statement = update(DeclassificationRow).where(col(DeclassificationRow.id) == proposal.id)
        self._session.execute(statement.values(**values), execution_options={"synchronize_session": False})

    def _line(self, project: ProjectId, roots: Sequence[ArtifactId], *, is_upwards: bool) -> list[Kin]:
        asked = {"project": project, "roots": list(roots), "deepest": DEEPEST, "most": MOST}
        rows = self._session.execute(_SOURCES if is_upwards else _DERIVED, asked)
        return [Kin(ArtifactId(row.id), row.depth) for row in rows]


def _proposal(row: DeclassificationRow) -> Proposal:
    return Proposal(
        id=row.id,
        organisation=OrganisationId(row.organisation_id),
        project=ProjectId(row.project_id),
        text=row.text,
        digest=row.digest,
        requested_by=Signer(KeyId(row.requested_by), KeyId(row.requested_by_member)),
        requested_at=row.requested_at,
        approvals=approvals_of(row.approvals),
        approved_at=row.approved_at,
        revoked_at=row.revoked_at,
        revoked_by=KeyId(row.revoked_by) if row.revoked_by else None,
    )
