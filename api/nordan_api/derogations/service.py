"""Derogations as members handle them: one asks, two others approve the digest, any approver takes it back.

Approving for the second time and revoking change what is lawful: both hold the residency epoch and step it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from nordan_api.auth.callers import find_project
from nordan_api.context import Context
from nordan_api.dual_control import Kind, approval_of, closed_by, closed_by_floors, signer, still_counting
from nordan_core.domain.approvals import Proposal
from nordan_core.domain.errors import Conflict, Invalid, NotFound
from nordan_core.domain.ids import KeyId
from nordan_core.domain.tenants import Principal, Project
from nordan_core.identifiers import new_id
from nordan_core.residency.derogations import (
    Derogation,
    SubjectKind,
    derogation_document,
    parse_derogation,
    read_facet,
    read_subject,
)
from nordan_core.residency.reading import print_instant, read_list
from nordan_core.store.audit import Act, AuditEntry
from nordan_core.store.unit_of_work import QUEUE, UnitOfWork

Json = dict[str, Any]  # Any: JSON
FIELDS = (
    *("facet", "to", "subjects", "not_before", "not_after", "max_uses", "break_glass"),
    *("basis", "reason", "ticket"),
)


def request(context: Context, principal: Principal, project_name: str, asked: Json) -> Proposal:
    """Ask for a derogation; it changes nothing until two other members have approved it.

    Raises:
        PolicyError: the text cannot be accepted. NotFound: this caller has no such project, dataset or job. Conflict:
            the facet is non-derogable for one of the subjects.
    """
    with context.store.begin() as work:
        now = context.clock.now()
        project = find_project(work, principal, project_name)
        text = {**_text(work, project, asked, now), "requested_by": principal.key}
        derogation = parse_derogation(text, context.atlas)
        if derogation.not_after <= now:
            raise Invalid("not_after", "it would be over before anybody could approve it")
        _check_derogable(work, project, derogation)
        proposal = Proposal(
            id=derogation.id,
            organisation=project.organisation,
            project=project.id,
            text=derogation_document(derogation),
            digest=derogation.digest,
            requested_by=signer(work, principal),
            requested_at=now,
            max_uses=derogation.max_uses,
        )
        work.derogations.add(proposal, not_after=derogation.not_after, max_uses=derogation.max_uses)
        work.audit.write(_entry(Act.DEROGATION_REQUESTED, proposal, principal, now))
    return proposal


def approve(context: Context, principal: Principal, project_name: str, derogation: str, digest: object) -> Proposal:
    """Approve the text that has this digest; the second approval lets it count.

    Raises:
        Invalid: no digest, or another text's. NotFound: this caller has no such derogation. Forbidden: the caller is
            of another organisation, asked for it, or has approved it before. Conflict: it is revoked, over, or
            approved already.
    """
    with context.store.begin() as work:
        # First in the lock order; two approvals come one after the other.
        work.epoch.hold()
        now = context.clock.now()
        project = find_project(work, principal, project_name)
        found = still_counting(work, KIND.of(work, project, derogation))
        approval = approval_of(work, principal, found, digest, now)
        if parse_derogation(found.text, context.atlas).not_after <= now:
            raise Conflict("expired", "the derogation is over; ask for another")
        approved = work.derogations.approve(found, approval)
        if approved.is_approved:
            _law_changed(work)
        work.audit.write(_entry(Act.DEROGATION_APPROVED, approved, principal, now))
    return approved


def revoke(context: Context, principal: Principal, project_name: str, derogation: str) -> Proposal:
    """Take a derogation back; work that rests on it is judged without it at once. Revoking twice changes nothing.

    Raises:
        NotFound: this caller has no such derogation.
    """
    with context.store.begin() as work:
        work.epoch.hold()
        now = context.clock.now()
        found = KIND.of(work, find_project(work, principal, project_name), derogation)
        if found.revoked_at is not None:
            return found
        return _taken_back(work, found, principal, now)


def withdraw(context: Context, work: UnitOfWork, principal: Principal, key: KeyId) -> None:
    """Take back what counts by an approval with a key that is revoked; the caller holds the residency epoch."""
    now = context.clock.now()
    for found in work.derogations.resting_on(key, now):
        _taken_back(work, found, principal, now)


def state_of(proposal: Proposal, not_after: datetime, now: datetime) -> str:
    """Return what has become of it, in one word."""
    if proposal.revoked_at is not None:
        return "revoked"
    if now >= not_after:
        return "expired"
    if proposal.approved_at is None:
        return "requested"
    return "used_up" if proposal.is_used_up else "approved"


def _text(work: UnitOfWork, project: Project, asked: Json, now: datetime) -> Json:
    return {
        "id": new_id("drg"),
        "project": project.id,
        "facet": read_facet(asked.get("facet")),
        "to": asked.get("to"),
        "subjects": list(_subjects(work, project, asked.get("subjects"))),
        "not_before": asked.get("not_before", print_instant(now)),
        "not_after": asked.get("not_after"),
        "max_uses": asked.get("max_uses", 1),
        "break_glass": asked.get("break_glass", False),
        "basis": asked.get("basis"),
        "reason": asked.get("reason"),
        "ticket": asked.get("ticket"),
    }


def _subjects(work: UnitOfWork, project: Project, value: object) -> Iterator[str]:
    """Yield subjects by id: members name datasets and projects, the text names what stays the same."""
    for place, one in enumerate(read_list(value, "subjects")):
        kind, name = read_subject(one, f"subjects.{place}")
        yield f"{kind}/{_id_of(work, project, kind, name)}"


def _id_of(work: UnitOfWork, project: Project, kind: SubjectKind, name: str) -> str:
    if kind is SubjectKind.PROJECT:
        found: str | None = project.id if name in {project.id, project.name} else None
    elif kind is SubjectKind.DATASET:
        dataset = work.contents.dataset(project.id, name)
        found = dataset.id if dataset is not None else None
    else:
        job = work.jobs.get(project.id, name)
        found = job.id if job is not None else None
    if found is None:
        raise NotFound(kind.value, name[:100])
    return found


def _check_derogable(work: UnitOfWork, project: Project, derogation: Derogation) -> None:
    """Refuse what would change nothing: whoever closed the facet is asked, not got round."""
    for who, closed in _closing(work, project, derogation):
        if derogation.facet in closed:
            raise Conflict("non_derogable", f"{who} makes {derogation.facet} non-derogable; nobody may widen it")


def _closing(work: UnitOfWork, project: Project, derogation: Derogation) -> Iterator[tuple[str, Collection[str]]]:
    yield from closed_by_floors(project)
    for one in derogation.subjects:
        if one.kind is SubjectKind.DATASET:
            dataset = work.contents.dataset(project.id, one.id)
            yield f"dataset {one.id}", closed_by(dataset.policy) if dataset is not None else ()


def _taken_back(work: UnitOfWork, found: Proposal, principal: Principal, now: datetime) -> Proposal:
    work.derogations.revoke(found, principal.key, now)
    if found.is_approved:
        _law_changed(work)
    revoked = replace(found, revoked_at=now, revoked_by=KeyId(principal.key))
    work.audit.write(_entry(Act.DEROGATION_REVOKED, revoked, principal, now))
    return revoked


def _law_changed(work: UnitOfWork) -> None:
    work.epoch.step()
    # Jobs that waited for it may start.
    work.notify(QUEUE)


def _entry(act: Act, proposal: Proposal, by: Principal, now: datetime) -> AuditEntry:
    body: dict[str, object] = {
        "digest": proposal.digest,
        "project": proposal.project,
        "facet": proposal.text["facet"],
        "subjects": proposal.text["subjects"],
        "not_after": proposal.text["not_after"],
        "approvals": len(proposal.approvals),
    }
    return AuditEntry(act, proposal.id, by.key, now, proposal.organisation, body)


KIND = Kind("derogation", lambda work: work.derogations, Act.DEROGATION_WITHDRAWN, _entry)
"""Reading them, and taking one's own word back, is the same for all kinds."""
