"""Dual control: what one member asks for, two others approve over the digest of the exact text.

Derogations and declassifications are kept in this form. A member counts once, however many keys they hold: a key made
by another key belongs to whoever holds that one, up to a key that an administrator handed out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from nordan_core.domain.ids import KeyId, OrganisationId, ProjectId

APPROVALS = 2


@dataclass(frozen=True, slots=True)
class Signer:
    """A key, and the key of the member that it belongs to."""

    key: KeyId
    member: KeyId


@dataclass(frozen=True, slots=True)
class Approval:
    """One member's word for a text."""

    by: Signer
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A text that was asked for, and what became of it."""

    id: str
    organisation: OrganisationId
    project: ProjectId
    text: Mapping[str, object]
    digest: str
    """SHA-256 of the text: what approvers approve."""
    requested_by: Signer
    requested_at: datetime
    approvals: tuple[Approval, ...] = ()
    approved_at: datetime | None = None
    """When the last approval that was needed came."""
    revoked_at: datetime | None = None
    revoked_by: KeyId | None = None
    uses: int = 0
    max_uses: int = 0
    """How often it may be used; 0 where uses are not counted."""

    @property
    def is_approved(self) -> bool:
        """Return whether it holds, as far as people have to say."""
        return self.approved_at is not None and self.revoked_at is None

    @property
    def is_used_up(self) -> bool:
        """Return whether nothing more may rest on it."""
        return self.uses >= self.max_uses

    def with_approvals(self, approvals: tuple[Approval, ...], approved_at: datetime | None) -> Proposal:
        """Return it with these approvals."""
        return replace(self, approvals=approvals, approved_at=approved_at)

    def why_not_approved_by(self, signer: Signer) -> str:
        """Return why this member's word does not count, or an empty text."""
        if signer.member == self.requested_by.member:
            return "who asked cannot approve; keys that one member made count as that member"
        if any(one.by.member == signer.member for one in self.approvals):
            return "this member has approved it already; the second word must be another member's"
        return ""
