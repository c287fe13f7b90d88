"""Texts under dual control as they are stored: asked for, approved, withdrawn from, revoked.

What all kinds of them share; `derogations` and `lineage` add what each kind is for. Approving and revoking change what
is lawful: the caller holds the residency epoch and steps it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select, update
from sqlmodel import Session, col

from nordan_core.domain.approvals import APPROVALS, Approval, Proposal, Signer
from nordan_core.domain.ids import KeyId, OrganisationId, ProjectId
from nordan_core.store.tables.law import DeclassificationRow, DerogationRow

Row = DerogationRow | DeclassificationRow


class Proposals:
    """Reads and writes one kind of them."""

    def __init__(self, session: Session, table: type[Row]) -> None:
        self._session = session
        self._table = table

    def get(self, project: ProjectId, name: str) -> Proposal | None:
        """Return one of a project."""
        found = self.found(self._of(project).where(col(self._table.id) == name))
        return found[0] if found else None

    def page(self, project: ProjectId, limit: int) -> list[Proposal]:
        """Return a project's, newest first."""
        return self.found(self._of(project).order_by(col(self._table.id).desc()).limit(limit))

    def approve(self, proposal: Proposal, approval: Approval) -> Proposal:
        """Write one more approval; the caller has checked that it counts, and holds the residency epoch."""
        approvals = (*proposal.approvals, approval)
        approved_at = approval.at if len(approvals) >= APPROVALS else None
        self._write(proposal, approvals=approval_documents(approvals), approved_at=approved_at)
        return proposal.with_approvals(approvals, approved_at)

    def withdraw(self, proposal: Proposal, approval: Approval) -> Proposal:
        """Take one approval away before the last that is needed came; the caller holds the residency epoch."""
        left = tuple(one for one in proposal.approvals if one != approval)
        self._write(proposal, approvals=approval_documents(left))
        return proposal.with_approvals(left, None)

    def revoke(self, proposal: Proposal, by: KeyId, at: datetime) -> None:
        """Write that it counts no more; the caller holds the residency epoch."""
        self._write(proposal, revoked_at=at, revoked_by=by)

    def found(self, statement: Select[Any]) -> list[Proposal]:  # Any: rows of either table
        """Return what a statement selects, as values."""
        return [_proposal(row) for row in self._session.scalars(statement)]

    def _of(self, project: ProjectId) -> Select[Any]:  # Any: as above
        return select(self._table).where(col(self._table.project_id) == project)

    def _write(self, proposal: Proposal, **values: object) -> None:
        statement = update(self._table).where(col(self._table.id) == proposal.id)
        self._session.execute(statement.values(**values), execution_options={"synchronize_session": False})


def approval_documents(approvals: Iterable[Approval]) -> list[dict[str, str]]:
    """Return approvals as they are stored and printed."""
    return [{"by": one.by.key, "member": one.by.member, "at": one.at.isoformat()} for one in approvals]


def _approvals(documents: Sequence[dict[str, str]]) -> tuple[Approval, ...]:
    return tuple(
        Approval(Signer(KeyId(one["by"]), KeyId(one["member"])), datetime.fromisoformat(one["at"])) for one in documents
    )


def _proposal(row: Row) -> Proposal:
    uses, max_uses = (row.uses, row.max_uses) if isinstance(row, DerogationRow) else (0, 0)
    return Proposal(
        id=row.id,
        organisation=OrganisationId(row.organisation_id),
        project=ProjectId(row.project_id),
        text=row.text,
        digest=row.digest,
        requested_by=Signer(KeyId(row.requested_by), KeyId(row.requested_by_member)),
        requested_at=row.requested_at,
        approvals=_approvals(row.approvals),
        approved_at=row.approved_at,
        revoked_at=row.revoked_at,
        revoked_by=KeyId(row.revoked_by) if row.revoked_by else None,
        uses=uses,
        max_uses=max_uses,
    )
