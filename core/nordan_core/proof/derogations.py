"""The derogations in a certificate: each that a judgement rested on is there, was approved as it stands, and in time.

Called by `certificate`. That each counts at the instant of the judgement, and reaches no further than its text, is seen
when the judgement is taken again (`law`).
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from nordan_core.domain.approvals import APPROVALS
from nordan_core.proof.law import Law
from nordan_core.proof.records import AttemptRecord, DerogationRecord, JudgementRecord
from nordan_core.proof.tokens import SKEW_S
from nordan_core.residency.derogations import Derogation, parse_derogation
from nordan_core.residency.widening import derogated

Faults = Iterator[str]
_SKEW = timedelta(seconds=SKEW_S)


def derogation_faults(law: Law) -> Faults:
    """What judgements rested on must be listed, digest and approvals right; nothing else may be."""
    listed = {str(record.text.get("id")): record for record in law.certificate.derogations}
    if len(listed) != len(law.certificate.derogations):
        yield "a derogation is listed twice"
    for record in law.certificate.derogations:
        yield from _record_faults(record, parse_derogation(record.text, law.atlas))
    used: set[str] = set()
    for attempt, judgement in _judgements(law):
        policy = law.policy(judgement.policy_digest)
        if policy.derogations and derogated(policy, ()).digest != law.certificate.job.policy_digest:
            yield f"attempt {attempt.number} was judged by another policy than the job's, not by derogations alone"
        for one in policy.derogations:
            used.add(one.derogation.id)
            yield from _use_faults(attempt, judgement.at, one.derogation, listed.get(one.derogation.id))
    for name in sorted(listed.keys() - used):
        yield f"derogation {name} is listed, but no judgement rested on it"


def _judgements(law: Law) -> Iterator[tuple[AttemptRecord, JudgementRecord]]:
    for attempt in law.certificate.attempts:
        for judgement in attempt.judgements:
            yield attempt, judgement


def _record_faults(record: DerogationRecord, derogation: Derogation) -> Faults:
    name = derogation.id
    if derogation.digest != record.digest:
        yield f"the text of derogation {name} is not the one that was approved"
    if derogation.requested_by != record.requested_by.by:
        yield f"derogation {name} was asked for by another than its text says"
    members = [one.member for one in record.approvals]
    if len(set(members)) < APPROVALS or len(set(members)) != len(members):
        yield f"derogation {name} has {len(set(members))} approvers; it takes {APPROVALS}, each once"
    if record.requested_by.member in members:
        yield f"derogation {name} was approved by who asked for it"


def _use_faults(
    attempt: AttemptRecord, at: datetime, derogation: Derogation, record: DerogationRecord | None
) -> Faults:
    name = derogation.id
    if record is None or record.digest != derogation.digest:
        yield f"attempt {attempt.number} rested on derogation {name}, which is not listed as it was used"
        return
    approved = sorted(one.at for one in record.approvals)[:APPROVALS]
    if not approved or at < approved[-1] - _SKEW:
        yield f"attempt {attempt.number} rested on derogation {name} before it was approved"
    if record.revoked_at is not None and at > record.revoked_at + _SKEW:
        yield f"attempt {attempt.number} rested on derogation {name} after it was revoked"
