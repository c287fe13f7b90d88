"""Builds whole residency certificates as a control plane would: law, grants, a log with other tenants' acts in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from nordan_core.atlas.loader import default_atlas
from nordan_core.domain.jobs import JobKind
from nordan_core.domain.states import AttemptResult, JobState
from nordan_core.proof.certificate import complete, sign_certificate, verify_certificate
from nordan_core.proof.checkpoint import Checkpoint, sign_checkpoint
from nordan_core.proof.keys import SigningKey, trusted
from nordan_core.proof.leaf import BY_FIELD, SALT_BYTES, commitment, entry_document
from nordan_core.proof.merkle import append, inclusion_proof
from nordan_core.proof.place import place_of
from nordan_core.proof.records import (
    AttemptRecord,
    AuditRecord,
    Certificate,
    EntryRecord,
    InputRecord,
    JobRecord,
    JudgementRecord,
    OutputRecord,
    VersionsRecord,
)
from nordan_core.proof.report import VerificationReport
from nordan_core.proof.tokens import GrantClaims, mint_grant
from nordan_core.residency.effective_text import effective_document
from nordan_core.residency.facts import PoolFacts, facts_document
from nordan_core.residency.facts_text import parse_pool_facts
from nordan_core.residency.judge import judge
from nordan_core.residency.layers import Effective, Layer, LayerKind, effective, output_policy
from nordan_core.residency.policy import parse_policy, policy_digest, policy_document

ATLAS = default_atlas()
GRANT_KEY = SigningKey.create()
CERTIFICATE_KEY = SigningKey.create()
START = datetime(2026, 11, 21, 12, 0, 0, 250_000, tzinfo=UTC)

ENTITIES: list[dict[str, object]] = [
    {
        "name": "auvergne-calcul",
        "seat": "FR",
        "presences": ["SE"],
        "owners": [{"owner": "famille-marchand", "capital_percent": 88, "votes_percent": 89, "control": True}],
    },
    {"name": "famille-marchand", "seat": "FR", "presences": [], "owners": []},
]
POOL: dict[str, object] = {
    "pool": "fr-bru-1-h100",
    "region": "fr-bru-1",
    "territory": "FR",
    "access_territories": ["FR"],
    "provider": "auvergne-calcul",
    "operator": "auvergne-calcul",
    "host": None,
    "endpoints": [{"kind": kind, "territory": "FR", "operator": "auvergne-calcul"} for kind in ("store", "log", "key")],
    "certifications": [],
    "tenancy": ["dedicated", "single"],
    "evidence": "E1",
    "facts_version": 3,
    "valid_until": "2027-12-31T00:00:00Z",
    "entities": ENTITIES,
}
OWNER_POLICY: dict[str, object] = {
    "residency": ["FR", "SE"],
    "forbid_exposure": ["US"],
    "class": "confidential",
    "egress": "unenforced",
}


def digest(text: str) -> str:
    """Return some digest that is the same for the same text."""
    return sha256(text.encode()).hexdigest()


def an_effective(owner: Mapping[str, object] = OWNER_POLICY, job: Mapping[str, object] | None = None) -> Effective:
    """Build the effective policy of a job that reads one dataset."""
    layers = [
        Layer(LayerKind.PROJECT, "default", parse_policy({"residency": ["EU"], "class": "internal"}, ATLAS)),
        Layer(LayerKind.INPUT, "patients", parse_policy(owner, ATLAS)),
        Layer(LayerKind.JOB, "digits", parse_policy(job or {}, ATLAS)),
    ]
    return effective(layers, has_content=True)


def a_pool(**changes: object) -> PoolFacts:
    """Build facts of a French pool; changes are fields of its document."""
    return parse_pool_facts({**POOL, **changes}, ATLAS)


def a_judgement(policy: Effective, facts: PoolFacts, stage: str, at: datetime) -> JudgementRecord:
    """Judge as the control plane does, and note it whatever the answer."""
    return JudgementRecord(
        stage=stage,  # type: ignore[arg-type]  # tests may name a stage that there is not
        at=at,
        epoch=7,
        policy_digest=policy.digest,
        facts_digest=facts.digest,
        atlas_digest=ATLAS.digest,
        good_until=judge(policy, facts, ATLAS, at).good_until,
    )


def an_attempt(
    number: int, policy: Effective, facts: PoolFacts, *, result: AttemptResult = AttemptResult.SUCCEEDED
) -> AttemptRecord:
    """Build an attempt that was redeemed and ran for 40 seconds, a minute after the one before it."""
    placed = START + timedelta(minutes=number)
    redeemed = placed + timedelta(seconds=0.3)
    attempt = AttemptRecord(
        attempt_id=f"att_{number}",
        number=number,
        fence=number,
        region=facts.region,
        pool=facts.pool,
        nodes=("node-1", "node-2"),
        place=place_of(facts),
        executor="local",
        has_made_up_gpus=True,
        placed_at=placed,
        redeemed_at=redeemed,
        started_at=redeemed + timedelta(seconds=1),
        ended_at=placed + timedelta(seconds=41),
        result=result,
        reason=None if result is AttemptResult.SUCCEEDED else "node_lost",
        bound_s=45.0,
        grant=None,
        judgements=(a_judgement(policy, facts, "apply", placed), a_judgement(policy, facts, "redeem", redeemed)),
    )
    return replace(attempt, grant=a_grant(attempt))


def a_grant(attempt: AttemptRecord, key: SigningKey = GRANT_KEY, **changes: object) -> str:
    """Sign the grant that an attempt must have had; changes are claims that it lies about."""
    assert attempt.redeemed_at is not None
    redeemed = attempt.judgements[1]
    claims = GrantClaims(
        grant_id=f"grt_{attempt.number}",
        attempt_id=attempt.attempt_id,
        job_id="job_1",
        region=attempt.region,
        pool=attempt.pool,
        nodes=attempt.nodes,
        fence=attempt.fence,
        redemption_id="ab" * 16,
        issued_at=attempt.redeemed_at,
        expires_at=attempt.redeemed_at + timedelta(seconds=attempt.bound_s),
        policy_digest=redeemed.policy_digest,
        epoch=redeemed.epoch,
    )
    return mint_grant(replace(claims, **changes), key)  # type: ignore[arg-type]  # tests name the claims


def acts_of(certificate: Certificate) -> list[dict[str, object]]:
    """Return the entries that the control plane logs for what a certificate tells, in order of time."""
    accepted = {"policy_digest": certificate.job.policy_digest, "spec_digest": certificate.job.spec_digest}
    entries = [_entry("job_accepted", certificate.job.submitted_at, accepted)]
    for attempt in certificate.attempts:
        place = {
            "attempt": attempt.attempt_id,
            "number": attempt.number,
            "fence": attempt.fence,
            "region": attempt.region,
            "pool": attempt.pool,
        }
        by_stage = {one.stage: one for one in attempt.judgements}
        entries.append(_entry("grant_issued", attempt.placed_at, {**place, **_said(by_stage["apply"])}))
        if attempt.redeemed_at is not None:
            judged = by_stage["redeem"]
            facts = certificate.facts[judged.facts_digest]
            said = {
                "policy_digest": judged.policy_digest,
                "epoch": judged.epoch,
                "facts_version": facts["facts_version"],
            }
            entries.append(_entry("grant_redeemed", attempt.redeemed_at, {**place, **said}))
        entries += [
            _entry("artifact_stored", attempt.ended_at, {**place, "kind": "output", "digest": output.digest})
            for output in certificate.outputs
            if output.attempt_id == attempt.attempt_id
        ]
        ended = {**place, "result": attempt.result.value, "reason": attempt.reason}
        entries.append(_entry("attempt_ended", attempt.ended_at, ended))
    return entries


def logged(certificate: Certificate, acts: Sequence[dict[str, object]] | None = None) -> Certificate:
    """Return the certificate with a log that holds these acts (by default its own) among those of other tenants."""
    own = acts_of(certificate) if acts is None else list(acts)
    everybodys: list[dict[str, object]] = []
    for index, act in enumerate(own):
        everybodys += [_entry("read_allowed", START, {"n": index}, subject="job_of_somebody_else"), act]
    salts = [sha256(b"salt %d" % index).digest()[:SALT_BYTES] for index in range(len(everybodys))]
    grown = append(0, [commitment(salt, act) for salt, act in zip(salts, everybodys, strict=True)], _nothing)
    nodes = {(node.level, node.index): node.hash for node in grown.nodes}
    records = tuple(
        EntryRecord(
            index=index,
            salt=salts[index].hex(),
            entry=everybodys[index],
            proof=tuple(item.hex() for item in inclusion_proof(index, grown.size, lambda *at: nodes[at])),
            form=BY_FIELD,
        )
        for index in range(1, len(everybodys), 2)
    )
    head = Checkpoint("cell.example", grown.size, grown.root, certificate.job.finished_at)
    return replace(certificate, audit=AuditRecord(sign_checkpoint(head, CERTIFICATE_KEY), records))


@dataclass
class Story:
    """What happened, in the parts that tests vary; `certificate()` tells it on paper."""

    policy: Effective = field(default_factory=an_effective)
    pools: Sequence[PoolFacts] = field(default_factory=lambda: (a_pool(), a_pool()))
    """The pool of each attempt."""

    def certificate(self) -> Certificate:
        """Build the certificate of a job that was lost once for each pool but the last, and then succeeded."""
        last = len(self.pools)
        attempts = tuple(
            an_attempt(
                number, self.policy, pool, result=AttemptResult.SUCCEEDED if number == last else AttemptResult.LOST
            )
            for number, pool in enumerate(self.pools, start=1)
        )
        owner = next(layer.policy for layer in self.policy.layers if layer.kind is LayerKind.INPUT)
        certificate = Certificate(
            job=JobRecord(
                id="job_1",
                project="prj_1",
                kind=JobKind.TRAINING,
                state=JobState.SUCCEEDED,
                spec_digest=digest("spec"),
                policy_digest=self.policy.digest,
                submitted_at=START,
                finished_at=attempts[-1].ended_at if attempts else START,
            ),
            control_plane={"territory": "FR", "operator": "auvergne-calcul", "entities": ENTITIES},
            versions=VersionsRecord("0.1.0", ATLAS.version, ATLAS.digest),
            policies={self.policy.digest: effective_document(self.policy)},
            facts={pool.digest: facts_document(pool) for pool in self.pools},
            attempts=attempts,
            inputs=(InputRecord("patients", "art_1", digest("patients"), policy_digest(owner)),),
            outputs=tuple(
                OutputRecord("model", "art_2", digest("model"), self.born(), attempt.attempt_id)
                for attempt in attempts[-1:]
            ),
            derogations=(),
            gaps=(),
            assumptions=(),
            audit=AuditRecord({}, ()),
        )
        return complete(logged(certificate), ATLAS)

    def born(self) -> dict[str, object]:
        """Return the policy document that the job's outputs are born with."""
        return policy_document(output_policy(self.policy))


def verified(certificate: Certificate, key: SigningKey = CERTIFICATE_KEY) -> VerificationReport:
    """Sign and verify."""
    return verify_envelope(sign_certificate(certificate, key))


def verify_envelope(envelope: Mapping[str, object] | bytes) -> VerificationReport:
    """Verify with the keys and the atlas that everything here was made with."""
    return verify_certificate(
        envelope,
        grant_keys=trusted(GRANT_KEY.public),
        certificate_keys=trusted(CERTIFICATE_KEY.public),
        atlas=ATLAS,
    )


def failing(report: VerificationReport) -> dict[str, str]:
    """Return the checks that failed, with their sentences."""
    return {check.name: check.detail for check in report.checks if not check.ok}


def with_attempt(
    certificate: Certificate, number: int, change: Callable[[AttemptRecord], AttemptRecord]
) -> Certificate:
    """Return the certificate with one attempt changed and nothing else."""
    attempts = tuple(change(one) if one.number == number else one for one in certificate.attempts)
    return replace(certificate, attempts=attempts)


def _said(judgement: JudgementRecord) -> dict[str, object]:
    verdict = {
        "allowed": True,
        "epoch": judgement.epoch,
        "facts": judgement.facts_digest,
    }
    return {"policy_digest": judgement.policy_digest, "verdict": verdict}


def _entry(act: str, at: datetime, body: Mapping[str, object], *, subject: str = "job_1") -> dict[str, object]:
    return entry_document(
        entry_id="aud_" + digest(f"{act} {at} {body}")[:8],
        act=act,
        subject=subject,
        actor="key_1",
        at=at,
        organisation="org_1",
        body=body,
    )


def _nothing(level: int, index: int) -> bytes:
    raise AssertionError(f"an empty tree has no node {level}/{index}")
