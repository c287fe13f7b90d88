"""What every text under dual control goes through: reading it, and what is asked before a member's word counts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from nordan_api.auth.callers import find_project
from nordan_api.context import Context
from nordan_core.domain.approvals import Approval, Proposal, Signer
from nordan_core.domain.errors import Conflict, Forbidden, Invalid, NotFound
from nordan_core.domain.tenants import Principal, Project
from nordan_core.store.audit import Act, AuditEntry
from nordan_core.store.proposals import Proposals
from nordan_core.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of such texts, for what is the same with all of them."""

    name: str
    kept: Callable[[UnitOfWork], Proposals]
    withdrawn: Act
    entry: Callable[[Act, Proposal, Principal, datetime], AuditEntry]
    """Returns what the log is told of an act."""

    def of(self, work: UnitOfWork, project: Project, name: str) -> Proposal:
        """Return one of a project.

        Raises:
            NotFound: it has no such one.
        """
        found = self.kept(work).get(project.id, name)
        if found is None:
            raise NotFound(self.name, name)
        return found

    def find(self, context: Context, principal: Principal, project: str, name: str) -> Proposal:
        """Return one that this caller may see.

        Raises:
            NotFound: there is no such one.
        """
        with context.store.begin() as work:
            return self.of(work, find_project(work, principal, project), name)

    def page(self, context: Context, principal: Principal, project: str, limit: int) -> list[Proposal]:
        """Return a project's, newest first."""
        with context.store.begin() as work:
            return self.kept(work).page(find_project(work, principal, project).id, limit)

    def withdraw(self, context: Context, principal: Principal, project: str, name: str) -> Proposal:
        """Take the caller's own approval back; it changes nothing else, for the second one has not come.

        Raises:
            NotFound: this caller has no such one. And whatever `word_of` raises.
        """
        with context.store.begin() as work:
            # Two words come one after the other.
            work.epoch.hold()
            found = self.of(work, find_project(work, principal, project), name)
            own = word_of(work, principal, found)
            left = self.kept(work).withdraw(found, own)
            entry = self.entry(self.withdrawn, left, principal, context.clock.now())
            work.audit.write(replace(entry, body={**entry.body, "approved_by": own.by.key}))
        return left


def shown(one: Proposal, state: str) -> dict[str, Any]:  # Any: JSON
    """Return one as members see it."""
    return {
        "id": one.id,
        "state": state,
        "text": dict(one.text),
        "digest": one.digest,
        "requested_by": one.requested_by.key,
        "requested_at": one.requested_at.isoformat(),
        "approvals": [{"by": each.by.key, "at": each.at.isoformat()} for each in one.approvals],
        "approved_at": one.approved_at.isoformat() if one.approved_at else None,
        "revoked_at": one.revoked_at.isoformat() if one.revoked_at else None,
        "revoked_by": one.revoked_by,
    }


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
