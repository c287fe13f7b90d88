"""Derogations as they are asked for, approved, counted and revoked.

Approving and revoking step the residency epoch; the caller does it first. A use is taken under the row's lock, in the
transaction of the act that rests on it. Acts lock their rows in different orders, so none of them waits for this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import select, text, update
from sqlmodel import Session, col

from nordan_core.domain.approvals import Proposal
from nordan_core.domain.ids import JobId, KeyId, ProjectId
from nordan_core.store.proposals import Proposals
from nordan_core.store.tables.law import DerogationRow

_DATASETS = text(
    "select i.job_id, i.name, a.dataset_id from job_input i join artifact a on a.id = i.artifact_id"
    " where i.job_id = any(:jobs) and a.dataset_id is not null"
)


_LOCK_LEFT = text(
    "select id, max_uses - uses as left from derogation where id = any(:ids) and revoked_at is null"
    " order by id for update skip locked"
)


class Derogations(Proposals):
    """Reads and writes derogations."""

    def __init__(self, session: Session) -> None:
        super().__init__(session, DerogationRow)

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

    def by_ids(self, ids: Iterable[str]) -> dict[str, Proposal]:
        """Return derogations by id, whoever owns them: for callers that were told the ids by the store itself."""
        wanted = sorted(set(ids))
        if not wanted:
            return {}
        return {one.id: one for one in self.found(select(DerogationRow).where(col(DerogationRow.id).in_(wanted)))}

    def open(self, now: datetime, projects: Iterable[ProjectId] | None = None) -> list[Proposal]:
        """Return the approved derogations that are not over, used up or not, of some projects or of all, by id."""
        statement = select(DerogationRow).where(
            col(DerogationRow.approved_at).is_not(None),
            col(DerogationRow.revoked_at).is_(None),
            col(DerogationRow.not_after) > now,
        )
        if projects is not None:
            statement = statement.where(col(DerogationRow.project_id).in_(sorted(projects)))
        return self.found(statement.order_by(col(DerogationRow.id)))

    def resting_on(self, key: KeyId, now: datetime) -> list[Proposal]:
        """Return what is approved and not over, with a key among its approvers."""
        statement = select(DerogationRow).where(
            col(DerogationRow.approved_at).is_not(None),
            col(DerogationRow.revoked_at).is_(None),
            col(DerogationRow.not_after) > now,
            col(DerogationRow.approvals).contains([{"by": key}]),
        )
        return self.found(statement.order_by(col(DerogationRow.id)))

    def datasets_of(self, jobs: Iterable[JobId]) -> dict[JobId, dict[str, str]]:
        """Return, by job, the dataset behind each input that comes from one."""
        found: dict[JobId, dict[str, str]] = {}
        for job, name, dataset in self._session.execute(_DATASETS, {"jobs": sorted(jobs)}):
            found.setdefault(JobId(job), {})[name] = dataset
        return found

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
