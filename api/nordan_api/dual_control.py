"""What every text under dual control goes through before a member's approval counts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

from nordan_core.domain.approvals import Approval, Proposal, Signer
from nordan_core.domain.errors import Conflict, Forbidden, Invalid
from nordan_core.domain.tenants import Principal, Project
from nordan_core.store.unit_of_work import UnitOfWork


def signer(work: UnitOfWork, principal: Principal) -> Signer:
    """Return a caller's key with the member that it belongs to."""
    return Signer(principal.key, work.tenants.member_of(principal.key))


def still_counting(work: UnitOfWork, found: Proposal) -> Proposal:
    """Return it without the approvals of keys that were revoked since; the log keeps those."""
    left = work.tenants.not_revoked(one.by.key for one in found.approvals)
    return found.with_approvals(tuple(one for one in found.approvals if one.by.key in left), found.approved_at)


def approval_of(work: UnitOfWork, principal: Principal, found: Proposal, digest: object, now: datetime) -> Approval:
    """Return a caller's approval of the text that has this digest; `found` holds the approvals that still count.

    Raises:
        Invalid: no digest, or another text's. Forbidden: the caller is of another organisation, asked for it, has
            approved it before, or lost the key meanwhile. Conflict: it is revoked, or approved already.
    """
    _check_open(principal, found)
    if not isinstance(digest, str):
        raise Invalid("digest", "give the digest of the text that you approve")
    if digest != found.digest:
        raise Invalid("digest", "this is the digest of another text; read it again")
    if not work.tenants.not_revoked([principal.key]):
        raise Forbidden("this key was revoked")
    approval = Approval(signer(work, principal), now)
    if why_not := found.why_not_approved_by(approval.by):
        raise Forbidden(why_not)
    return approval


def word_of(work: UnitOfWork, principal: Principal, found: Proposal) -> Approval:
    """Return a caller's own approval, which they may withdraw until the second one comes.

    Raises:
        Forbidden: the caller is of another organisation. Conflict: it is revoked, or approved already, so that only
            revoking it as a whole helps; or this member has not approved it.
    """
    _check_open(principal, found)
    member = signer(work, principal).member
    own = next((one for one in found.approvals if one.by.member == member), None)
    if own is None:
        raise Conflict("not_approved", "this member has not approved it, so there is no word to withdraw")
    return own


def closed_by_floors(project: Project) -> Iterator[tuple[str, Collection[str]]]:
    """Yield the facets that nobody may widen in a project, by who says so."""
    for who, floor in (
        (f"organisation {project.organisation_name}", project.organisation_floor),
        (f"project {project.name}", project.floor),
    ):
        yield who, closed_by(floor)


def closed_by(policy: Mapping[str, Any]) -> Collection[str]:  # Any: JSON
    """Return the facets that a policy document lets nobody widen."""
    closed = policy.get("non_derogable")
    return closed if isinstance(closed, list) else ()


def _check_open(principal: Principal, found: Proposal) -> None:
    if principal.organisation != found.organisation:
        raise Forbidden("only members of the organisation whose data it is approve this")
    if found.revoked_at is not None:
        raise Conflict("revoked", "it is revoked; ask for another")
    if found.approved_at is not None:
        raise Conflict("approved", "two members have approved it already; revoking takes it back")
