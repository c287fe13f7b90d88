"""Builds residency certificates from the store: what the sealer signs.

`gather` reads, inside the sealer's transaction; `sign` builds from what was read, with none open. Facts are quoted as
they were when they were judged, from the log, so a certificate does not depend on what the world looks like now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any

import structlog

from nordan_core.domain.approvals import Proposal
from nordan_core.domain.artifacts import Artifact
from nordan_core.domain.attempts import Attempt, held_by, words_of
from nordan_core.domain.contents import ArtifactKind
from nordan_core.domain.errors import NordanError
from nordan_core.domain.ids import AttemptId, JobId, PoolName
from nordan_core.domain.jobs import Job
from nordan_core.domain.places import Pool
from nordan_core.facts import FactsBook, FactsCache
from nordan_core.proof.canonical import digest_of
from nordan_core.proof.certificate import complete, open_certificate, sign_certificate, sign_redacted
from nordan_core.proof.keys import KeyRing, SigningKey
from nordan_core.proof.leaf import form_of
from nordan_core.proof.logged import ACCEPTED
from nordan_core.proof.merkle import inclusion_nodes, inclusion_proof
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
from nordan_core.proof.succession import Purpose, Statement
from nordan_core.residency.effective_text import parse_effective
from nordan_core.residency.facts import control_plane_document
from nordan_core.residency.facts_text import parse_pool_facts
from nordan_core.residency.layers import OWNERS, Effective
from nordan_core.residency.places import Atlas
from nordan_core.residency.policy import parse_policy, policy_digest
from nordan_core.signing import chain_of
from nordan_core.store.codec import spec_document
from nordan_core.store.ledger import Head, LoggedEntry
from nordan_core.store.scheduling import facts_subject
from nordan_core.store.unit_of_work import Store, UnitOfWork
from nordan_scheduler.derogations_used import Used

_log = structlog.get_logger()
#: In the order in which they happen; later judgements of one kind replace earlier ones.

Json = Mapping[str, Any]  # Any: JSON
#: What a job's rows may be unfit with: its certificate waits, those of others do not.
_UNFIT = (NordanError, ValueError, TypeError, LookupError, ArithmeticError, AssertionError)


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything that some jobs' certificates are made of."""

    epoch: int
    jobs: Mapping[JobId, Job]
    attempts: Mapping[JobId, Sequence[Attempt]]
    lives_s: Mapping[AttemptId, float]
    inputs: Mapping[str, Sequence[tuple[str, Artifact]]]
    outputs: tuple[Artifact, ...]
    facts: Mapping[str, Json]
    """Facts of pools and of the control plane by digest, as they were logged."""
    derogations: Mapping[str, Proposal]
    """Those that attempts rested on."""
    pools: Mapping[PoolName, Pool]
    entries: Mapping[str, Sequence[LoggedEntry]]
    head: Head
    nodes: Mapping[tuple[int, int], bytes]
    successions: tuple[Statement, ...]
    """How both signing keys came to be."""
    atlases: Mapping[str, Atlas]
    """Those that attempts were judged under, and the one in force, by digest."""
    in_force: Atlas

    def atlas(self, job: JobId) -> Atlas:
        """Return the atlas that a job's last judgement was made under; the one in force where there was none."""
        said = [one for attempt in self.attempts[job] for _, one in words_of(attempt.verdicts)]
        return self.atlases.get(said[-1]["atlas"], self.in_force) if said else self.in_force


class Certifier:
    """Makes certificates; the key is the sealer's."""

    def __init__(self, store: Store, facts: FactsCache) -> None:
        self._store = store
        self._facts = facts
        self._version = version("nordan")

    def gather(self, work: UnitOfWork, jobs: Sequence[JobId]) -> Batch | None:
        """Read what the certificates of these jobs need; their entries are all sealed."""
        head = work.ledger.head()
        if head is None or not jobs:
            return None
        attempts = work.certificates.attempts(jobs)
        entries = work.ledger.of_subjects(jobs)
        leaves = [one.leaf_index for group in entries.values() for one in group if one.leaf_index is not None]
        outputs = work.contents.artifacts(work.certificates.outputs(jobs))
        shelf = self._facts.atlases
        in_force = shelf.within(work)
        return Batch(
            epoch=work.epoch.current(),
            jobs=work.jobs.region_jobs(jobs),
            attempts=attempts,
            lives_s=work.certificates.grant_lives(jobs),
            inputs=work.contents.inputs_of(jobs),
            outputs=tuple(outputs.values()),
            facts=_logged_facts(work, [*_judged_by(attempts), *_accepted_by(entries)]),
            derogations=work.derogations.by_ids(_derogations(attempts)),
            pools={pool.name: pool for pool in work.places.pools()},
            entries=entries,
            head=head,
            nodes=work.ledger.nodes(sorted({named for leaf in leaves for named in _nodes_of(leaf, head.size)})),
            successions=tuple(one for purpose in Purpose for one in chain_of(work, purpose).statements),
            atlases={**shelf.by_digest(work, _atlases(attempts, entries)), in_force.digest: in_force},
            in_force=in_force,
        )

    def sign(self, batch: Batch, key: SigningKey) -> dict[JobId, dict[str, object]]:
        """Return the signed certificates of a batch; a job that the store does not allow one for is left out."""
        book = self._facts.at(batch.epoch, self._store)
        signed: dict[JobId, dict[str, object]] = {}
        for job in batch.jobs.values():
            try:
                built = self._build(job, batch, book)
                certificate = complete(built, batch.atlas(job.id), batch.atlases.values())
                signed[job.id] = sign_certificate(certificate, key)
            except _UNFIT as error:
                _log.error("certificate_not_issued", job=job.id, error=type(error).__name__)
        return signed

    def redacted(self, envelope: Mapping[str, object], key: SigningKey, issuers: KeyRing) -> dict[str, object] | None:
        """Return what may be shown of an issued certificate, signed; None where its log can only be shown whole.

        `issuers` are all keys that ever signed certificates.
        """
        try:
            certificate = open_certificate(envelope, issuers)
            with self._store.look() as work:
                known = self._facts.atlases.by_digest(work, _named_in(certificate))
            return sign_redacted(certificate, known[certificate.versions.atlas_digest], key, known.values())
        except _UNFIT as error:
            _log.warning("certificate_not_redacted", error=type(error).__name__)
            return None

    def _build(self, job: Job, batch: Batch, book: FactsBook) -> Certificate:
        assert job.finished_at is not None, "only jobs that have ended want a certificate"
        policy = str(job.effective["digest"])
        attempts = tuple(self._attempt(one, policy, batch, book) for one in batch.attempts[job.id])
        atlas = batch.atlas(job.id)
        accepted = parse_effective(job.effective, atlas)
        used = Used(job, batch.attempts[job.id], batch.derogations, batch.inputs.get(job.id, ()), atlas)
        judged = {judgement.facts_digest for one in attempts for judgement in one.judgements}
        return Certificate(
            job=JobRecord(
                id=job.id,
                project=job.project,
                kind=job.spec.kind,
                state=job.state,
                spec_digest=_spec_digest(batch.entries[job.id], job),
                policy_digest=policy,
                submitted_at=job.created_at,
                finished_at=job.finished_at,
            ),
            control_plane=_control_plane(batch.entries[job.id], batch, book),
            versions=VersionsRecord(self._version, atlas.version, atlas.digest),
            policies={policy: job.effective, **used.policies()},
            facts={digest: batch.facts[digest] for digest in sorted(judged)},
            attempts=attempts,
            inputs=tuple(
                _input(name, artifact, accepted, atlas)
                for name, artifact in batch.inputs.get(job.id, ())
                if _has_policy(artifact)
            ),
            outputs=tuple(_output(one) for one in batch.outputs if one.job == job.id),
            derogations=used.documents(),
            gaps=(),
            assumptions=(),
            audit=AuditRecord(batch.head.envelope, tuple(_entry(one, batch) for one in batch.entries[job.id])),
            successions=batch.successions,
        )

    def _attempt(self, attempt: Attempt, policy: str, batch: Batch, book: FactsBook) -> AttemptRecord:
        assert attempt.ended_at is not None, "attempts of a finished job have ended"
        assert attempt.result is not None, "and what has ended has a result"
        judgements = _judgements(attempt, policy)
        last = judgements[-1]
        facts = parse_pool_facts(batch.facts[last.facts_digest], batch.atlases.get(last.atlas_digest, batch.in_force))
        redeemed: Any = attempt.verdicts.get("redeem") or {}  # Any: JSON
        return AttemptRecord(
            attempt_id=attempt.id,
            number=attempt.number,
            fence=attempt.fence,
            region=attempt.region,
            pool=attempt.pool,
            nodes=tuple(rank.node for rank in attempt.ranks),
            place=place_of(facts),
            executor=attempt.at_apply("executor", book.executors[attempt.region]),
            has_made_up_gpus=attempt.at_apply("has_made_up_gpus", batch.pools[attempt.pool].has_made_up_gpus),
            placed_at=attempt.created_at,
            redeemed_at=attempt.redeemed_at,
            started_at=attempt.running_at,
            ended_at=attempt.ended_at,
            result=attempt.result,
            reason=attempt.reason.value if attempt.reason else None,
            bound_s=batch.lives_s[attempt.id],
            grant=redeemed.get("grant") if attempt.redeemed_at is not None else None,
            judgements=judgements,
        )


def _input(name: str, artifact: Artifact, accepted: Effective, atlas: Atlas) -> InputRecord:
    # As it spoke when the job was accepted: it may have been declassified since.
    spoke = [layer for layer in accepted.layers if layer.kind in OWNERS and layer.name == name]
    policy = spoke[0].policy if spoke else parse_policy(artifact.policy, atlas)
    return InputRecord(name, artifact.id, artifact.digest, policy_digest(policy))


def _derogations(attempts: Mapping[JobId, Sequence[Attempt]]) -> set[str]:
    every = [one for group in attempts.values() for one in group]
    return {name for one in every for name in held_by(one.verdicts)}


def _judged_by(attempts: Mapping[JobId, Sequence[Attempt]]) -> list[object]:
    every = [one for group in attempts.values() for one in group]
    return [said.get("facts") for one in every for _, said in words_of(one.verdicts)]


def _accepted_by(entries: Mapping[str, Sequence[LoggedEntry]]) -> list[object]:
    return [one.body.get("control_plane") for group in entries.values() for one in group if one.act == ACCEPTED]


def _atlases(attempts: Mapping[JobId, Sequence[Attempt]], entries: Mapping[str, Sequence[LoggedEntry]]) -> set[str]:
    """Return the digests of the atlases that attempts and the other acts about jobs were judged under."""
    said = [one for group in attempts.values() for attempt in group for _, one in words_of(attempt.verdicts)]
    said += [one for group in entries.values() for entry in group for one in _judgements_in(entry.body)]
    return {str(one["atlas"]) for one in said if "atlas" in one}


def _named_in(certificate: Certificate) -> set[str]:
    judged = {one.atlas_digest for attempt in certificate.attempts for one in attempt.judgements}
    acts = [one for record in certificate.audit.entries for one in _judgements_in(_mapping(record.entry.get("body")))]
    return {certificate.versions.atlas_digest, *judged, *(str(one["atlas"]) for one in acts if "atlas" in one)}


def _judgements_in(body: Mapping[str, Any]) -> list[Json]:
    """Return the judgements listed in the body of an entry."""
    judged = body.get("judged")
    return [one for one in judged if isinstance(one, Mapping)] if isinstance(judged, list) else []


def _mapping(value: object) -> Json:
    return value if isinstance(value, Mapping) else {}


def _logged_facts(work: UnitOfWork, named: Sequence[object]) -> dict[str, Json]:
    digests = {one for one in named if isinstance(one, str)}
    found = work.ledger.of_subjects(facts_subject(digest) for digest in sorted(digests))
    return {digest: found[facts_subject(digest)][0].body for digest in digests if facts_subject(digest) in found}


def _control_plane(entries: Sequence[LoggedEntry], batch: Batch, book: FactsBook) -> Json:
    """Return the control plane's facts as they were when it took the job; what it is now, if nobody wrote them down."""
    logged = batch.facts.get(str(_accepted(entries).body.get("control_plane")))
    return control_plane_document(book.control_plane) if logged is None else logged


def _spec_digest(entries: Sequence[LoggedEntry], job: Job) -> str:
    """Return the digest that the log has: what is stored may be read into another form than it was accepted in."""
    return str(_accepted(entries).body.get("spec_digest") or digest_of(spec_document(job.spec)))


def _accepted(entries: Sequence[LoggedEntry]) -> LoggedEntry:
    [accepted] = [one for one in entries if one.act == ACCEPTED]
    return accepted


def _judgements(attempt: Attempt, policy: str) -> tuple[JudgementRecord, ...]:
    return tuple(
        JudgementRecord(
            stage=stage,  # type: ignore[arg-type]  # `words_of` yields the literals
            at=datetime.fromisoformat(said["at"]),
            epoch=said["epoch"],
            policy_digest=said.get("policy", policy),
            facts_digest=said["facts"],
            atlas_digest=said["atlas"],
            good_until=datetime.fromisoformat(said["good_until"]) if said["good_until"] else None,
        )
        for stage, said in words_of(attempt.verdicts)
    )


def _has_policy(artifact: Artifact) -> bool:
    """Tell whether an input speaks in the policy; a job's own files do not."""
    return artifact.kind is not ArtifactKind.FILES


def _output(artifact: Artifact) -> OutputRecord:
    assert artifact.attempt is not None, "outputs come from attempts"
    return OutputRecord(artifact.name, artifact.id, artifact.digest, artifact.policy, artifact.attempt)


def _entry(entry: LoggedEntry, batch: Batch) -> EntryRecord:
    assert entry.leaf_index is not None, "the sealer certifies jobs whose entries are sealed"
    proof = inclusion_proof(entry.leaf_index, batch.head.size, lambda level, index: batch.nodes[level, index])
    document = entry.document()
    form = form_of(entry.salt, document, batch.nodes[0, entry.leaf_index])
    return EntryRecord(entry.leaf_index, entry.salt.hex(), document, tuple(digest.hex() for digest in proof), form)


def _nodes_of(leaf: int, size: int) -> tuple[tuple[int, int], ...]:
    return ((0, leaf), *inclusion_nodes(leaf, size))
