"""Declassifications as members handle them: one asks with evidence, two others approve, any approver takes it back.

The second approval gives the artifact its new policy; revoking gives it back the one that it was born with. Both hold
the residency epoch and step it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from nordan_api.auth.callers import find_project
from nordan_api.context import Context
from nordan_api.dual_control import Kind, approval_of, closed_by_floors, signer, still_counting
from nordan_api.jobs.policy import check_described_here, effective_of_data
from nordan_api.lineage.readers import fence_readers
from nordan_core.domain.approvals import Proposal
from nordan_core.domain.contents import ArtifactKind
from nordan_core.domain.errors import Conflict, Invalid, NotFound
from nordan_core.domain.ids import ArtifactId, KeyId, ProjectId
from nordan_core.domain.tenants import Principal, Project
from nordan_core.identifiers import new_id
from nordan_core.residency.declassification import (
    Declassification,
    declassification_document,
    parse_declassification,
    widened,
)
from nordan_core.store.audit import Act, AuditEntry
from nordan_core.store.unit_of_work import QUEUE, UnitOfWork

Json = dict[str, Any]  # Any: JSON
FIELDS = ("policy", "evidence", "basis", "reason", "ticket")


def request(context: Context, principal: Principal, project_name: str, artifact: str, asked: Json) -> Proposal:
    """Ask that an artifact may have a wider policy; it changes nothing until two other members have approved it.

    Raises:
        PolicyError: the text cannot be accepted. NotFound: this caller has no such artifact. Invalid: it is a dataset,
            whose policy is its owner's word, or a job's files. Conflict: a floor closed a facet that it would widen.
    """
    now = context.clock.now()
    with context.store.begin() as work:
        project = find_project(work, principal, project_name)
        found = work.contents.artifact(project.id, artifact)
        if found is None:
            raise NotFound("artifact", artifact)
        if found.kind not in {ArtifactKind.OUTPUT, ArtifactKind.CHECKPOINT}:
            raise Invalid("artifact", f"{found.id} is a {found.kind}; only what a job made is declassified")
        text = {
            "id": new_id("dcl"),
            "project": project.id,
            "artifact": found.id,
            "bytes": found.digest,
            "from": dict(found.policy),
            "to": asked.get("policy"),
            "requested_by": principal.key,
            **{name: asked.get(name) for name in ("evidence", "basis", "reason", "ticket")},
        }
        one = parse_declassification(text, context.atlas)
        _check_not_closed(project, one)
        proposal = Proposal(
            id=one.id,
            organisation=project.organisation,
            project=project.id,
            text=declassification_document(one),
            digest=one.digest,
            requested_by=signer(work, principal),
            requested_at=now,
        )
        work.lineage.add(proposal, found.id)
        work.audit.write(_entry(Act.DECLASSIFICATION_REQUESTED, proposal, principal, now))
    return proposal


def approve(context: Context, principal: Principal, project_name: str, name: str, digest: object) -> Proposal:
    """Approve the text that has this digest; the second approval gives the artifact its new policy.

    Raises:
        NotFound: this caller has no such declassification. Conflict: the artifact has another policy by now, or a
            floor closed a facet that it would widen. Refused: the control plane itself is outside the new policy's
            `describe`. And whatever `approval_of` raises.
    """
    with context.store.begin() as work:
        # First in the lock order; two approvals come one after the other.
        epoch = work.epoch.hold()
        now = context.clock.now()
        project = find_project(work, principal, project_name)
        found = still_counting(work, KIND.of(work, project, name))
        approved = work.lineage.approve(found, approval_of(work, principal, found, digest, now))
        one = parse_declassification(found.text, context.atlas)
        _check_not_closed(project, one)
        if approved.is_approved:
            of = effective_of_data(project, name, dict(_policy(found, "to")), context.atlas)
            check_described_here(of, context.facts_cache.within(work, epoch), now)
            _replace(work, project.id, ArtifactId(one.artifact), _policy(found, "from"), _policy(found, "to"))
        work.audit.write(_entry(Act.DECLASSIFICATION_APPROVED, approved, principal, now))
    return approved


def revoke(context: Context, principal: Principal, project_name: str, name: str) -> Proposal:
    """Take a declassification back; what it was given for has its former policy again, what was made of it has not.

    Jobs that were accepted under the wider policy and have not ended are fenced.

    Raises:
        NotFound: this caller has no such declassification. Conflict: a later one stands on it.
    """
    with context.store.begin() as work:
        work.epoch.hold()
        project = find_project(work, principal, project_name)
        found = KIND.of(work, project, name)
        if found.revoked_at is not None:
            return found
        return _taken_back(context, work, found, principal)


def withdraw(context: Context, work: UnitOfWork, principal: Principal, key: KeyId) -> None:
    """Take back what counts by an approval with a key that is revoked; the caller holds the residency epoch.

    A later one of the same artifact stands on it, and falls with it.
    """
    for found in work.lineage.resting_on(key):
        _taken_back(context, work, found, principal)


def _taken_back(context: Context, work: UnitOfWork, found: Proposal, principal: Principal) -> Proposal:
    now = context.clock.now()
    work.lineage.revoke(found, principal.key, now)
    if found.is_approved:
        artifact = ArtifactId(str(found.text["artifact"]))
        wider, atlas = _policy(found, "to"), context.atlas.digest
        _replace(work, found.project, artifact, wider, _policy(found, "from"))
        fence_readers(work, artifact, wider, epoch=work.epoch.current(), atlas=atlas, now=now)
    revoked = replace(found, revoked_at=now, revoked_by=KeyId(principal.key))
    work.audit.write(_entry(Act.DECLASSIFICATION_REVOKED, revoked, principal, now))
    return revoked


def _check_not_closed(project: Project, one: Declassification) -> None:
    """Refuse what a floor in force closes, as for derogations: its owner is asked, not got round."""
    for who, closed in closed_by_floors(project):
        for facet in widened(one, closed):
            message = f"{who} makes {facet} non-derogable; nobody may widen it or leave it out"
            raise Conflict("non_derogable", message)


def _replace(work: UnitOfWork, project: ProjectId, artifact: ArtifactId, before: Json, after: Json) -> None:
    found = work.contents.artifact(project, artifact)
    if found is None or dict(found.policy) != before:
        raise Conflict("policy_changed", f"{artifact} has another policy by now; ask anew")
    work.lineage.set_policy(artifact, after)
    work.epoch.step()
    work.notify(QUEUE)


def _policy(proposal: Proposal, which: str) -> Json:
    policy = proposal.text[which]
    assert isinstance(policy, dict), "as it was parsed"
    return policy


def _entry(act: Act, proposal: Proposal, by: Principal, now: datetime) -> AuditEntry:
    text = proposal.text
    body: dict[str, object] = {
        "digest": proposal.digest,
        "project": proposal.project,
        "artifact": text["artifact"],
        "bytes": text["bytes"],
        "evidence": text["evidence"]["digest"] if isinstance(text["evidence"], dict) else None,
        "approvals": len(proposal.approvals),
    }
    return AuditEntry(act, proposal.id, by.key, now, proposal.organisation, body)


KIND = Kind("declassification", lambda work: work.lineage, Act.DECLASSIFICATION_WITHDRAWN, _entry)
"""Reading them, and taking one's own word back, is the same for all kinds."""
