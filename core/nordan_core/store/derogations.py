"""Derogations as they are asked for, approved, counted and revoked.

Approving and revoking step the residency epoch; the caller does it first. A use is taken under the row's lock, in the
transaction of the act that rests on it. Acts lock their rows in different orders, so none of them waits for this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import select, text, update
from sqlmodel import Session, col

from nordan_core.domain.approvals import APPROVALS, Approval, Proposal, Signer
from nordan_core.domain.ids import JobId, KeyId, OrganisationId, ProjectId
from nordan_core.store.tables.law import DerogationRow

_DATASETS = text(
    "select i.job_id, i.name, a.dataset_id from job_input i join artifact a on a.id = i.artifact_id"
    " where i.job_id = any(:jobs) and a.dataset_id is not null"
)


_LOCK_LEFT = text(
    "select id, max_uses - uses as left from derogation where id = any(:ids) and revoked_at is null"
    " order by id for update skip locked"
)


class Derogations:
    """Reads and writes derogations."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, proposal: Proposal, *, not_after: datetime, max_uses: int) -> None:
        """Insert one that was asked for."""
        self._session.add(
            DerogationRow(
                id=proposal.id,
                organisation_id=proposal.organisation,
                project_id=proposal.project,
                text=dict(proposal.text),
                digest=proposal.digest,
                not_after=not_after,
                max_uses=max_uses,
                requested_by=proposal.requested_by.key,
                requested_by_member=proposal.requested_by.member,
                requested_at=proposal.requested_at,
            )
        )
        self._session.flush()

    def get(self, project: ProjectId, derogation: str) -> Proposal | None:
        """Return a derogation of a project."""
        statement = select(DerogationRow).where(col(DerogationRow.project_id) == project)
        row = self._session.scalars(statement.where(col(DerogationRow.id) == derogation)).one_or_none()
        return _proposal(row) if row else None

    def page(self, project: ProjectId, limit: int) -> list[Proposal]:
        """Return a project's derogations, newest first."""
        statement = select(DerogationRow).where(col(DerogationRow.project_id) == project)
        rows = self._session.scalars(statement.order_by(col(DerogationRow.id).desc()).limit(limit))
        return [_proposal(row) for row in rows]

    def by_ids(self, ids: Iterable[str]) -> dict[str, Proposal]:
        """Return derogations by id, whoever owns them: for callers that were told the ids by the store itself."""
        wanted = sorted(set(ids))
        if not wanted:
            return {}
        rows = self._session.scalars(select(DerogationRow).where(col(DerogationRow.id).in_(wanted)))
        return {row.id: _proposal(row) for row in rows}

    def open(self, now: datetime, projects: Iterable[ProjectId] | None = None) -> list[Proposal]:
        """Return the approved derogations that are not over, used up or not, of some projects or of all, by id."""
        statement = select(DerogationRow).where(
            col(DerogationRow.approved_at).is_not(None),
            col(DerogationRow.revoked_at).is_(None),
            col(DerogationRow.not_after) > now,
        )
        if projects is not None:
            statement = statement.where(col(DerogationRow.project_id).in_(sorted(projects)))
        return [_proposal(row) for row in self._session.scalars(statement.order_by(col(DerogationRow.id)))]

    def resting_on(self, key: KeyId, now: datetime) -> list[Proposal]:
        """Return what is approved and not over, with a key among its approvers."""
        statement = select(DerogationRow).where(
            col(DerogationRow.approved_at).is_not(None),
            col(DerogationRow.revoked_at).is_(None),
            col(DerogationRow.not_after) > now,
            col(DerogationRow.approvals).contains([{"by": key}]),
        )
        return [_proposal(row) for row in self._session.scalars(statement.order_by(col(DerogationRow.id)))]

    def datasets_of(self, jobs: Iterable[JobId]) -> dict[JobId, dict[str, str]]:
        """Return, by job, the dataset behind each input that comes from one."""
        found: dict[JobId, dict[str, str]] = {}
        for job, name, dataset in self._session.execute(_DATASETS, {"jobs": sorted(jobs)}):
            found.setdefault(JobId(job), {})[name] = dataset
        return found

    def approve(self, proposal: Proposal, approval: Approval) -> Proposal:
        """Write one more approval; the caller has checked that it counts, and holds the residency epoch."""
        approvals = (*proposal.approvals, approval)
        approved_at = approval.at if len(approvals) >= APPROVALS else None
        statement = update(DerogationRow).where(col(DerogationRow.id) == proposal.id)
        self._session.execute(
            statement.values(approvals=approval_documents(approvals), approved_at=approved_at),
            execution_options={"synchronize_session": False},
        )
        return proposal.with_approvals(approvals, approved_at)

    def revoke(self, proposal: Proposal, by: KeyId, at: datetime) -> None:
        """Write that it counts no more; the caller holds the residency epoch."""
        statement = update(DerogationRow).where(col(DerogationRow.id) == proposal.id)
        self._session.execute(
            statement.values(revoked_at=at, revoked_by=by), execution_options={"synchronize_session": False}
        )

    def lock_left(self, ids: Iterable[str]) -> dict[str, int]:
        """Return how often each may still be used, locked until the transaction ends.

        One that was revoked, or that another transaction is using just now, is left out.
        """
        wanted = sorted(set(ids))
        if not wanted:
            return {}
        return {row.id: row.left for row in self._session.execute(_LOCK_LEFT, {"ids": wanted})}

    def take(self, uses: Mapping[str, int]) -> None:
        """Count uses of derogations that `lock_left` has locked and found to have as many left."""
        for key in sorted(uses):
            statement = update(DerogationRow).where(col(DerogationRow.id) == key)
            self._session.execute(
                statement.values(uses=DerogationRow.uses + uses[key]), execution_options={"synchronize_session": False}
            )


def approval_documents(approvals: Sequence[Approval]) -> list[dict[str, str]]:
    """Return approvals as they are stored and printed."""
    return [{"by": one.by.key, "member": one.by.member, "at": one.at.isoformat()} for one in approvals]


def approvals_of(documents: Sequence[Mapping[str, str]]) -> tuple[Approval, ...]:
    """Return approvals as values."""
    return tuple(
        Approval(Signer(KeyId(one["by"]), KeyId(one["member"])), datetime.fromisoformat(one["at"])) for one in documents
    )


def _proposal(row: DerogationRow) -> Proposal:
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
        uses=row.uses,
        max_uses=row.max_uses,
    )
