"""What floors and datasets said at each time, and who made them say so. Nothing here is ever changed or deleted.

Whoever changes a policy notes it in the same transaction, under the residency epoch, which keeps two writers apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlmodel import Session, col

from nordan_core.domain.ids import KeyId
from nordan_core.residency.canonical import digest_of
from nordan_core.store.tables.law import PolicyVersionRow


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """One version of a policy document."""

    subject: str
    """Id of the organisation, project or dataset."""
    number: int
    policy: Mapping[str, object]
    digest: str
    """SHA-256 of the canonical form, as `residency.policy.policy_digest` gives it."""
    author: KeyId
    at: datetime


class PolicyVersions:
    """Reads and writes versions of policies."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def note(self, subject: str, policy: Mapping[str, object], *, author: KeyId, at: datetime) -> None:
        """Write what a subject says from now on; what it said already is no new version."""
        newest = select(PolicyVersionRow).where(col(PolicyVersionRow.subject) == subject)
        before = self._session.scalars(newest.order_by(col(PolicyVersionRow.number).desc()).limit(1)).one_or_none()
        digest = digest_of(dict(policy))
        if before is not None and before.digest == digest:
            return
        number = 1 if before is None else before.number + 1
        row = PolicyVersionRow(subject=subject, number=number, policy=dict(policy), digest=digest, author=author, at=at)
        self._session.add(row)
        self._session.flush()

    def of(self, subjects: Iterable[str]) -> dict[str, list[PolicyVersion]]:
        """Return the versions of subjects, newest first."""
        statement = (
            select(PolicyVersionRow)
            .where(col(PolicyVersionRow.subject).in_(sorted(subjects)))
            .order_by(col(PolicyVersionRow.subject), col(PolicyVersionRow.number).desc())
        )
        found: dict[str, list[PolicyVersion]] = {}
        for row in self._session.scalars(statement):
            version = PolicyVersion(row.subject, row.number, row.policy, row.digest, KeyId(row.author), row.at)
            found.setdefault(row.subject, []).append(version)
        return found
