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

from nordan_core.domain.artifacts import Artifact
from nordan_core.domain.attempts import Attempt
from nordan_core.domain.contents import ArtifactKind
from nordan_core.domain.errors import NordanError
from nordan_core.domain.ids import AttemptId, JobId, PoolName
from nordan_core.domain.jobs import Job
from nordan_core.domain.places import Pool
from nordan_core.facts import FactsBook, FactsCache
from nordan_core.proof.canonical import digest_of
from nordan_core.proof.certificate import complete, sign_certificate
from nordan_core.proof.keys import SigningKey
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
from nordan_core.residency.facts import control_plane_document
from nordan_core.residency.facts_text import parse_pool_facts
from nordan_core.residency.places import Atlas
from nordan_core.residency.policy import parse_policy, policy_digest
from nordan_core.store.codec import spec_document
from nordan_core.store.ledger import Head, LoggedEntry
from nordan_core.store.scheduling import facts_subject
from nordan_core.store.unit_of_work import Store, UnitOfWork

_log = structlog.get_logger()
#: In the order in which they happen; later judgements of one kind replace earlier ones.
STAGES = ("apply", "redeem", "renew")

Json = Mapping[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that one job's certificate is made of."""

    job: Job
    attempts: tuple[Attempt, ...]
    lives_s: Mapping[AttemptId, float]
    inputs: tuple[tuple[str, Artifact], ...]
    outputs: tuple[Artifact, ...]
    facts: Mapping[str, Json]
    """Pool facts by digest, as they were logged."""
    pools: Mapping[PoolName, Pool]
    entries: tuple[LoggedEntry, ...]
    head: Head
    nodes: Mapping[tuple[int, int], bytes]


class Certifier:
    """Makes certificates; the key is the sealer's."""

    def __init__(self, store: Store, atlas: Atlas, facts: FactsCache) -> None:
        self._store = store
        self._atlas = atlas
        self._facts = facts

    def gather(self, work: UnitOfWork, jobs: Sequence[JobId]) -> list[Material]:
        """Read what the certificates of these jobs need; their entries are all sealed."""
        head = work.ledger.head()
        if head is None:
            return []
        found = work.jobs.region_jobs(jobs)
        attempts = {job: tuple(work.attempts.of_job(job)) for job in found}
        entries = work.ledger.of_subjects(found)
        facts = _logged_facts(work, [one for group in attempts.values() for one in group])
        leaves = [one.leaf_index for group in entries.values() for one in group if one.leaf_index is not None]
        nodes = work.ledger.nodes(sorted({named for leaf in leaves for named in inclusion_nodes(leaf, head.size)}))
        inputs, lives_s = work.contents.inputs_of(list(found)), work.certificates.grant_lives(list(found))
        pools = {pool.name: pool for pool in work.places.pools()}
        return [
            Material(
                job=job,
                attempts=attempts[name],
                lives_s=lives_s,
                inputs=tuple(inputs.get(name, ())),
                outputs=tuple(work.contents.of_job(name, ArtifactKind.OUTPUT)),
                facts=facts,
                pools=pools,
                entries=tuple(entries.get(name, ())),
                head=head,
                nodes=nodes,
            )
            for name, job in found.items()
        ]

    def sign(self, material: Material, key: SigningKey) -> dict[str, object] | None:
        """Return a job's signed certificate; None when something in the store does not allow one."""
        with self._store.begin() as work:
            epoch = work.epoch.current()
        try:
            certificate = complete(self._build(material, self._facts.at(epoch, self._store)), self._atlas)
            return sign_certificate(certificate, key)
        except (NordanError, ValueError, LookupError) as error:
            _log.error("certificate_not_issued", job=material.job.id, error=type(error).__name__, detail=str(error))
            return None

    def _build(self, material: Material, book: FactsBook) -> Certificate:
        job = material.job
        assert job.finished_at is not None, "only jobs that have ended want a certificate"
        policy = str(job.effective["digest"])
        attempts = tuple(self._attempt(one, policy, material, book) for one in material.attempts)
        judged = {judgement.facts_digest for one in attempts for judgement in one.judgements}
        return Certificate(
            job=JobRecord(
                id=job.id,
                project=job.project,
                kind=job.spec.kind,
                state=job.state,
                spec_digest=digest_of(spec_document(job.spec)),
                policy_digest=policy,
                submitted_at=job.created_at,
                finished_at=job.finished_at,
            ),
            control_plane=control_plane_document(book.control_plane),
            versions=VersionsRecord(version("nordan"), self._atlas.version, self._atlas.digest),
            policies={policy: job.effective},
            facts={digest: material.facts[digest] for digest in sorted(judged)},
            attempts=attempts,
            inputs=tuple(self._input(name, artifact) for name, artifact in material.inputs if _has_policy(artifact)),
            outputs=tuple(_output(artifact) for artifact in material.outputs),
            derogations=(),
            gaps=(),
            assumptions=(),
            audit=AuditRecord(material.head.envelope, tuple(_entry(one, material) for one in material.entries)),
        )

    def _attempt(self, attempt: Attempt, policy: str, material: Material, book: FactsBook) -> AttemptRecord:
        assert attempt.ended_at is not None, "attempts of a finished job have ended"
        assert attempt.result is not None, "and what has ended has a result"
        judgements = _judgements(attempt, policy)
        facts = parse_pool_facts(material.facts[judgements[-1].facts_digest], self._atlas)
        redeemed: Any = attempt.verdicts.get("redeem") or {}  # Any: JSON
        return AttemptRecord(
            attempt_id=attempt.id,
            number=attempt.number,
            fence=attempt.fence,
            region=attempt.region,
            pool=attempt.pool,
            nodes=tuple(rank.node for rank in attempt.ranks),
            place=place_of(facts),
            executor=book.executors[attempt.region],
            has_made_up_gpus=material.pools[attempt.pool].has_made_up_gpus,
            placed_at=attempt.created_at,
            redeemed_at=attempt.redeemed_at,
            started_at=attempt.running_at,
            ended_at=attempt.ended_at,
            result=attempt.result,
            reason=attempt.reason.value if attempt.reason else None,
            bound_s=material.lives_s[attempt.id],
            grant=redeemed.get("grant") if attempt.redeemed_at is not None else None,
            judgements=judgements,
        )

    def _input(self, name: str, artifact: Artifact) -> InputRecord:
        policy = parse_policy(artifact.policy, self._atlas)
        return InputRecord(name, artifact.id, artifact.digest, policy_digest(policy))


def _logged_facts(work: UnitOfWork, attempts: Sequence[Attempt]) -> dict[str, Json]:
    digests = {
        str(said["facts"]) for one in attempts for said in _said(one).values() if isinstance(said.get("facts"), str)
    }
    found = work.ledger.of_subjects(facts_subject(digest) for digest in sorted(digests))
    return {digest: found[facts_subject(digest)][0].body for digest in digests if facts_subject(digest) in found}


def _said(attempt: Attempt) -> dict[str, Json]:
    """Return what the judge said by stage, in the order in which the stages happen."""
    verdicts: Mapping[str, Any] = attempt.verdicts  # Any: JSON
    return {stage: verdicts[stage] for stage in STAGES if stage in verdicts}


def _judgements(attempt: Attempt, policy: str) -> tuple[JudgementRecord, ...]:
    return tuple(
        JudgementRecord(
            stage=stage,  # type: ignore[arg-type]  # STAGES holds the literals
            at=datetime.fromisoformat(said["at"]),
            epoch=said["epoch"],
            policy_digest=policy,
            facts_digest=said["facts"],
            atlas_digest=said["atlas"],
            good_until=datetime.fromisoformat(said["good_until"]) if said["good_until"] else None,
        )
        for stage, said in _said(attempt).items()
    )


def _has_policy(artifact: Artifact) -> bool:
    """Tell whether an input speaks in the policy; a job's own files do not."""
    return artifact.kind is not ArtifactKind.FILES


def _output(artifact: Artifact) -> OutputRecord:
    assert artifact.attempt is not None, "outputs come from attempts"
    return OutputRecord(artifact.name, artifact.id, artifact.digest, artifact.policy, artifact.attempt)


def _entry(entry: LoggedEntry, material: Material) -> EntryRecord:
    assert entry.leaf_index is not None, "the sealer certifies jobs whose entries are sealed"
    proof = inclusion_proof(entry.leaf_index, material.head.size, lambda level, index: material.nodes[level, index])
    return EntryRecord(entry.leaf_index, entry.salt.hex(), entry.document(), tuple(digest.hex() for digest in proof))
