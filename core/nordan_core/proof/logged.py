"""The acts in a certificate against the audit log and the grants: did the log see what the certificate claims?

Called by `certificate`. Checks yield faults as sentences, as those of `law` do. The log's head is trusted by the
certificate key, grants by the grant key, so that neither key alone can make up an attempt.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

from nordan_core.proof.checkpoint import Checkpoint, verify_checkpoint
from nordan_core.proof.errors import TokenError
from nordan_core.proof.keys import KeyRing
from nordan_core.proof.leaf import commitment
from nordan_core.proof.merkle import verify_inclusion
from nordan_core.proof.records import AttemptRecord, Certificate, Document, EntryRecord, JudgementRecord
from nordan_core.proof.redaction import is_committed, leaf_data
from nordan_core.proof.tokens import SKEW_S, GrantClaims, read_grant

Faults = Iterator[str]
Keys = KeyRing

#: Names of acts as the control plane logs them (`nordan_core.store.audit.Act`).
ACCEPTED = "job_accepted"
ISSUED = "grant_issued"
REDEEMED = "grant_redeemed"
STORED = "artifact_stored"
ENTERED = "exec_opened"
ENDINGS = frozenset({"attempt_ended", "attempt_fenced"})
_SKEW = timedelta(seconds=SKEW_S)


@dataclass(frozen=True, slots=True)
class Session:
    """Leave that somebody was given to run commands inside an attempt."""

    attempt_id: str
    rank: object
    by: str
    """Id of the key."""
    territory: str | None
    """Where its holder sits, as it was on record; None: it was not."""
    at: datetime
    entry: Document = field(repr=False)
    """What the log says of it."""


@dataclass(frozen=True, slots=True)
class _Step:
    """An act that the log must hold exactly once for an attempt."""

    name: str
    acts: frozenset[str]
    at: datetime
    judgement: JudgementRecord | None
    """What was judged in that act."""


def checkpoint_faults(certificate: Certificate, keys: Keys) -> Faults:
    """The log's head must be signed by the certificate key."""
    head = verify_checkpoint(certificate.audit.checkpoint, keys)
    if head.size == 0:
        yield "the log's head is that of an empty log"


def inclusion_faults(certificate: Certificate, keys: Keys) -> Faults:
    """Each entry must lie under the signed head, in a place of its own."""
    head = verify_checkpoint(certificate.audit.checkpoint, keys)
    entries = certificate.audit.entries
    if len({entry.index for entry in entries}) != len(entries):
        yield "two entries claim the same place in the log"
    for entry in entries:
        if bool(entry.opened) != bool(certificate.redaction_of):
            yield f"entry {entry.index} is {'redacted' if entry.opened else 'whole'}, and the certificate is not"
        if not _is_included(entry, head):
            yield f"entry {entry.index} is not in the log under its signed head"


def act_faults(certificate: Certificate) -> Faults:
    """The log's entries must tell of exactly these attempts and outputs: same fence, region, pool, bytes."""
    entries = [record.entry for record in certificate.audit.entries]
    for entry in entries:
        if entry.get("subject") != certificate.job.id:
            yield f"entry {entry.get('id')} is about {entry.get('subject')}, not about this job"
    yield from _acceptance_faults(certificate, [entry for entry in entries if entry.get("act") == ACCEPTED])
    yield from _numbering_faults(certificate)
    for attempt in certificate.attempts:
        about = [entry for entry in entries if _attempt_in(entry) == attempt.attempt_id]
        yield from _attempt_faults(certificate, attempt, about)
    yield from _output_faults(certificate, [entry for entry in entries if entry.get("act") == STORED])
    known = {None, *(attempt.attempt_id for attempt in certificate.attempts)}
    for stranger in sorted({str(name) for entry in entries if (name := _attempt_in(entry)) not in known}):
        yield f"the log tells of the attempt {stranger}, which the certificate leaves out"


def order_faults(certificate: Certificate) -> Faults:
    """What happened must have happened in an order that is possible."""
    job = certificate.job
    for attempt in certificate.attempts:
        steps = (
            job.submitted_at,
            attempt.placed_at,
            attempt.redeemed_at,
            attempt.started_at,
            attempt.ended_at,
            job.finished_at,
        )
        known = [instant for instant in steps if instant is not None]
        if any(later < earlier - _SKEW for earlier, later in pairwise(known)):
            yield f"the instants of attempt {attempt.number} are not in order"
        if attempt.started_at is not None and attempt.redeemed_at is None:
            yield f"attempt {attempt.number} started without having been redeemed"


def sessions_of(certificate: Certificate) -> Iterator[Session]:
    """Yield the openings of interactive sessions that the log tells of.

    Raises:
        ValueError: an entry about one cannot be read.
    """
    for record in certificate.audit.entries:
        if record.entry.get("act") == ENTERED:
            body = _body(record.entry)
            territory = body.get("territory")
            yield Session(
                attempt_id=str(body.get("attempt")),
                rank=body.get("rank"),
                by="somebody" if is_committed(record.entry.get("actor")) else str(record.entry.get("actor")),
                territory=None if territory is None else str(territory),
                at=datetime.fromisoformat(str(record.entry.get("at"))),
                entry=record.entry,
            )


def grant_faults(certificate: Certificate, keys: Keys) -> Faults:
    """Each attempt that a supervisor took must have its grant, signed by the grant key, for exactly this placement."""
    for attempt in certificate.attempts:
        if attempt.redeemed_at is None and attempt.grant is None:
            continue
        if attempt.redeemed_at is None or attempt.grant is None:
            yield f"attempt {attempt.number} has a redemption without a grant, or a grant without a redemption"
            continue
        try:
            claims = read_grant(attempt.grant, keys=keys, now=attempt.redeemed_at)
        except TokenError as error:
            yield f"the grant of attempt {attempt.number} does not hold: {error}"
            continue
        yield from _claim_faults(certificate, attempt, claims)


def _is_included(record: EntryRecord, head: Checkpoint) -> bool:
    data = leaf_data(record) if record.opened else commitment(bytes.fromhex(record.salt), record.entry, record.form)
    proof = [bytes.fromhex(digest) for digest in record.proof]
    return verify_inclusion(data, record.index, head.size, proof, head.root)


def _acceptance_faults(certificate: Certificate, accepted: list[Document]) -> Faults:
    if len(accepted) != 1:
        yield f"the log has {len(accepted)} entries of the job's acceptance; there must be one"
        return
    accepted_under = _body(accepted[0]).get("policy_digest")
    if accepted_under not in certificate.policies:
        yield "the policy that the job was accepted under is not in the certificate"
    spec = _body(accepted[0]).get("spec_digest", certificate.job.spec_digest)
    if spec != certificate.job.spec_digest:
        yield "the job document that the log says was accepted is another one"
    judged_under = {judgement.policy_digest for one in certificate.attempts for judgement in one.judgements}
    if certificate.job.policy_digest not in {accepted_under, *judged_under}:
        yield "the job's policy is neither the one that it was accepted under nor one that was judged"


def _numbering_faults(certificate: Certificate) -> Faults:
    numbers = [attempt.number for attempt in certificate.attempts]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"the attempts are numbered {numbers}; one is missing or out of order"
    fences = [attempt.fence for attempt in certificate.attempts]
    if fences != sorted(set(fences)):
        yield f"the fences {fences} do not rise"
    if len({attempt.attempt_id for attempt in certificate.attempts}) != len(numbers):
        yield "an attempt is named twice"


def _output_faults(certificate: Certificate, stored: list[Document]) -> Faults:
    logged = {(body.get("digest"), body.get("attempt")) for body in map(_body, stored) if body.get("kind") == "output"}
    claimed = {(output.digest, output.attempt_id) for output in certificate.outputs}
    for output in certificate.outputs:
        if (output.digest, output.attempt_id) not in logged:
            yield f"the log has no entry for output {output.name} with these bytes, from this attempt"
    for digest, maker in sorted((str(one), str(two)) for one, two in logged - claimed):
        yield f"the log has an output {digest[:12]}… of attempt {maker}, which the certificate leaves out"


def _attempt_faults(certificate: Certificate, attempt: AttemptRecord, entries: list[Document]) -> Faults:
    if attempt.redeemed_at is None and any(entry.get("act") == REDEEMED for entry in entries):
        yield f"the log has a redemption of attempt {attempt.number}, which the certificate denies"
    for step in _steps(attempt):
        found = [entry for entry in entries if entry.get("act") in step.acts]
        if len(found) != 1:
            yield f"the log has {len(found)} entries for the {step.name} of attempt {attempt.number}; there must be one"
        for entry in found:
            yield from _entry_faults(certificate, attempt, step, entry)


def _steps(attempt: AttemptRecord) -> Iterator[_Step]:
    by_stage = {judgement.stage: judgement for judgement in attempt.judgements if judgement.stage != "renew"}
    yield _Step("grant", frozenset({ISSUED}), attempt.placed_at, by_stage.get("apply"))
    if attempt.redeemed_at is not None:
        yield _Step("redemption", frozenset({REDEEMED}), attempt.redeemed_at, by_stage.get("redeem"))
    yield _Step("end", ENDINGS, attempt.ended_at, None)


def _entry_faults(certificate: Certificate, attempt: AttemptRecord, step: _Step, entry: Document) -> Faults:
    claimed: dict[str, object] = {"fence": attempt.fence, "region": attempt.region, "pool": attempt.pool}
    if step.acts is ENDINGS:
        claimed["result"] = attempt.result.value
    said = _body(entry)
    if step.judgement is not None:
        said = {**_mapping(said.get("verdict")), **said}
        claimed |= {"policy_digest": step.judgement.policy_digest, "epoch": step.judgement.epoch}
        if "atlas" in said:
            claimed["atlas"] = step.judgement.atlas_digest
        if "facts" in said:
            claimed["facts"] = step.judgement.facts_digest
        else:
            claimed["facts_version"] = certificate.facts[step.judgement.facts_digest].get("facts_version")
    for name, want in claimed.items():
        if said.get(name) != want:
            yield f"attempt {attempt.number} claims {name} {want}; the log's {entry.get('act')} says {said.get(name)}"
    logged = datetime.fromisoformat(str(entry.get("at")))
    if abs(logged - step.at) > _SKEW:
        yield f"attempt {attempt.number} claims {step.at}; the log's {entry.get('act')} says {logged}"


def _claim_faults(certificate: Certificate, attempt: AttemptRecord, claims: GrantClaims) -> Faults:
    redeemed = next((one for one in attempt.judgements if one.stage == "redeem"), None)
    pairs: dict[str, tuple[object, object]] = {
        "attempt": (claims.attempt_id, attempt.attempt_id),
        "job": (claims.job_id, certificate.job.id),
        "region": (claims.region, attempt.region),
        "pool": (claims.pool, attempt.pool),
        "nodes": (claims.nodes, attempt.nodes),
        "fence": (claims.fence, attempt.fence),
        "policy": (claims.policy_digest, redeemed.policy_digest if redeemed else None),
        "epoch": (claims.epoch, redeemed.epoch if redeemed else None),
    }
    for name, (granted, claimed) in pairs.items():
        if granted != claimed:
            yield f"attempt {attempt.number} claims {name} {claimed}; its grant says {granted}"
    # Whole seconds on the wire may add one to the difference.
    if (claims.expires_at - claims.issued_at).total_seconds() > attempt.bound_s + 1:
        yield f"the grant of attempt {attempt.number} outlives the stated bound of {attempt.bound_s:g} s"


def _body(entry: Document) -> Mapping[str, object]:
    return _mapping(entry.get("body"))


def _attempt_in(entry: Document) -> object:
    return _body(entry).get("attempt")


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
