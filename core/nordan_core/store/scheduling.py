"""What the scheduler loads and writes back: the queue, the free capacity, decisions, reasons.

Reads are small and separate, so that the cycle can keep what has not changed: job rows are fetched once per version.
Everything is found by state; no reader follows a serial.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Row, text
from sqlmodel import Session

from nordan_core.domain.ids import (
    ArtifactId,
    AttemptId,
    JobId,
    NodeName,
    OrganisationId,
    PoolName,
    ProjectId,
    RegionCode,
)
from nordan_core.domain.jobs import Objective, Resources
from nordan_core.domain.money import Price
from nordan_core.domain.queueing import (
    Applied,
    Decision,
    NodeFree,
    PoolState,
    QueuedJob,
    Residency,
    Unplaced,
)
from nordan_core.domain.refusals import Refusal
from nordan_core.proof.judgement import FACTS, POLICY, WORLD
from nordan_core.store.audit import Act, Audit, AuditEntry
from nordan_core.store.codec import price_cap
from nordan_core.store.placing import ACTOR, apply_decisions

#: A region that was not heard of for so long gets no new work; it speaks every 2 s.
SILENT_AFTER_S = 30.0
#: A cluster whose nodes were not reported for so long gets none either; they are reported at least every 15 s.
UNSEEN_AFTER_S = 45.0

_WAITING = text(
    """
    select j.id, j.version from job j
    where j.state in ('queued', 'recovering') and j.cancel_requested_at is null
      and (j.not_before is null or j.not_before <= clock_timestamp())
      and (j.wait_until is null or j.wait_until > clock_timestamp())
      and not exists (select 1 from attempt a where a.job_id = j.id and a.state <> 'ended')
    order by j.priority desc, j.created_at, j.id limit :limit
    """
)
_JOBS = text(
    """
    select id, organisation_id, project_id, version, policy_digest, priority, created_at, attempts_made,
           (spec ->> 'nodes')::int as nodes, spec -> 'resources' as resources, spec ->> 'objective' as objective,
           (spec ->> 'max_price_micro_eur_per_gpu_h')::bigint as max_price,
           (spec ->> 'max_price')::int as former_max_price
    from job where id = any(:ids)
    """
)
_EFFECTIVE = text("select distinct on (policy_digest) policy_digest, effective from job where id = any(:ids)")
#: What must lie in the region: every input and, to resume, the newest checkpoint. Fenced bytes count as nowhere.
_DATA = text(
    """
    with needed as (
        select i.job_id, i.artifact_id, false as is_checkpoint from job_input i where i.job_id = any(:ids)
        union all
        (select distinct on (a.job_id) a.job_id, a.id, true from artifact a
         where a.job_id = any(:resuming) and a.kind = 'checkpoint' and a.fenced_at is null
         order by a.job_id, a.created_at desc, a.id desc)
    )
    select n.job_id, n.artifact_id, n.is_checkpoint,
           array(select l.region from location l join artifact b on b.id = l.artifact_id and b.fenced_at is null
                 where l.artifact_id = n.artifact_id and l.fenced_at is null) as regions
    from needed n
    """
)
_POOLS = text(
    """
    select p.name, p.region, p.document ->> 'provider' as provider, p.accelerator,
           p.gpus_per_node, p.document ->> 'price_eur_per_gpu_h' as price, p.facts_version, p.single_tenant,
           r.offers_tenancy, r.document ->> 'executor' as executor,
           (p.document ->> 'has_made_up_gpus')::boolean as has_made_up_gpus,
           coalesce(r.seen_at > clock_timestamp() - make_interval(secs => :silent_s), false)
             and (r.document ->> 'executor' <> 'kubernetes'
                  or coalesce(r.nodes_seen_at > clock_timestamp() - make_interval(secs => :unseen_s), false)
             ) as answers,
           not exists (
               select 1 from node n where n.pool = p.name and n.free_mask <> (1::bigint << n.gpus) - 1
           ) as is_idle
    from pool p join region r on r.code = p.region
    """
)
_TENANTS = text(
    "select pool, min(organisation_id) as tenant from attempt"
    " where state <> 'ended' and pool = any(:pools) group by pool"
)
_NODES = text(
    "select name, pool, free_mask, free_cpus - shut_cpus, free_memory_mib - shut_memory_mib, version, shut_gpus"
    " from node where state = 'ready' and bit_count(free_mask::bit(64)) > shut_gpus"
)
_REASONS = text(
    """
    update job j set why = v.why, reason = v.reason
    from jsonb_to_recordset(cast(:rows as jsonb)) as v(id text, version int, reason text, why jsonb)
    where j.id = v.id and j.version = v.version and j.state in ('queued', 'recovering')
    """
)
_EXPIRED = text(
    """
    select id, project_id from job
    where state in ('queued', 'recovering') and wait_until <= clock_timestamp()
      and not exists (select 1 from attempt a where a.job_id = job.id and a.state <> 'ended')
    order by id limit :limit for update skip locked
    """
)
_ABANDONED = text(
    """
    select a.id from attempt_grant g join attempt a on a.id = g.attempt_id join job j on j.id = a.job_id
    where g.state = 'issued' and a.state = 'placed'
      and g.created_at < clock_timestamp() - make_interval(secs => :age_s)
    order by a.job_id limit :limit for update of j, a, g skip locked
    """
)
_OVERDUE = text(
    """
    select a.id from attempt_grant g join attempt a on a.id = g.attempt_id join job j on j.id = a.job_id
    where g.state in ('redeemed', 'revoked') and a.state <> 'ended'
      and g.alive_until < clock_timestamp() - make_interval(secs => :skew_s)
    order by a.job_id limit :limit for update of j, a, g skip locked
    """
)
_KNOWN_SUBJECTS = text("select distinct subject from audit_entry where subject = any(:subjects)")


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A job in the queue, by the version that its details were read at."""

    id: JobId
    version: int


@dataclass(frozen=True, slots=True)
class JobData:
    """Where a job's data lie."""

    regions: frozenset[RegionCode]
    """Regions that hold every input and the checkpoint."""
    resume_from: ArtifactId | None


class Scheduling:
    """The queue, the capacity and the decisions."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def waiting(self, limit: int) -> tuple[WaitingJob, ...]:
        """Return the jobs that may start now, in the order in which they choose: priority, then age, then id."""
        rows = self._session.execute(_WAITING, {"limit": limit})
        return tuple(WaitingJob(row.id, row.version) for row in rows)

    def jobs(self, ids: Sequence[JobId]) -> tuple[QueuedJob, ...]:
        """Return jobs as the planner sees them, without where their data lie."""
        return tuple(_queued_job(row) for row in self._session.execute(_JOBS, {"ids": list(ids)})) if ids else ()

    def effective(self, ids: Sequence[JobId]) -> dict[str, dict[str, Any]]:  # Any: JSON
        """Return the effective policy documents of jobs by policy digest, each once."""
        if not ids:
            return {}
        rows = self._session.execute(_EFFECTIVE, {"ids": list(ids)})
        return {row.policy_digest: row.effective for row in rows}

    def data(self, ids: Sequence[JobId]) -> dict[JobId, JobData]:
        """Return where the data of jobs lie; a job that needs none is left out."""
        if not ids:
            return {}
        found: dict[JobId, JobData] = {}
        for row in self._session.execute(_DATA, {"ids": list(ids), "resuming": list(ids)}):
            before = found.get(row.job_id)
            regions = frozenset(row.regions) if before is None else before.regions & frozenset(row.regions)
            checkpoint = row.artifact_id if row.is_checkpoint else (before.resume_from if before else None)
            found[row.job_id] = JobData(regions, checkpoint)
        return found

    def pools(self) -> tuple[PoolState, ...]:
        """Return all pools as they stand.

        Who holds a pool alone is read from its live attempts, not from the column that was written for it: a column
        can be late, attempts cannot.
        """
        rows = self._session.execute(_POOLS, {"silent_s": SILENT_AFTER_S, "unseen_s": UNSEEN_AFTER_S}).all()
        bound = [row.name for row in rows if not row.is_idle and (_is_single(row) or row.single_tenant)]
        found = self._session.execute(_TENANTS, {"pools": bound}) if bound else ()
        tenants = {row.pool: row.tenant for row in found}
        return tuple(_pool_state(row, tenants.get(row.name)) for row in rows)

    def nodes(self) -> tuple[NodeFree, ...]:
        """Return the nodes that take work and have a GPU that a job could get."""
        return tuple(
            NodeFree(NodeName(name), PoolName(pool), _without(mask, shut), max(0, cpus), max(0, memory_mib), version)
            for name, pool, mask, cpus, memory_mib, version, shut in self._session.execute(_NODES)
        )

    def apply(self, decisions: Sequence[Decision], residency: Mapping[str, Residency], *, at: datetime) -> Applied:
        """Write a chunk of decisions; see `store.placing`. The caller holds the residency epoch and the lead."""
        return apply_decisions(self._session, decisions, residency, at)

    def store_reasons(self, unplaced: Iterable[Unplaced]) -> None:
        """Write why jobs wait; the job's version stays, since nothing about the job itself has changed."""
        rows = [
            {"id": one.job, "version": one.version, "reason": one.reason.value, "why": refusal_documents(one.refusals)}
            for one in unplaced
        ]
        if rows:
            self._session.execute(_REASONS, {"rows": json.dumps(rows)})

    def lock_expired(self, limit: int) -> tuple[tuple[ProjectId, JobId], ...]:
        """Take waiting jobs whose `max_wait` has passed."""
        rows = self._session.execute(_EXPIRED, {"limit": limit})
        return tuple((ProjectId(row.project_id), JobId(row.id)) for row in rows)

    def lock_abandoned(self, *, age_s: float, limit: int) -> tuple[AttemptId, ...]:
        """Take attempts whose grant nobody redeemed within `age_s`; from now on nobody can."""
        rows = self._session.execute(_ABANDONED, {"age_s": age_s, "limit": limit})
        return tuple(AttemptId(row.id) for row in rows)

    def lock_overdue(self, *, skew_s: float, limit: int) -> tuple[AttemptId, ...]:
        """Take attempts whose grant ran out more than `skew_s` ago: their shims have stopped them by now."""
        rows = self._session.execute(_OVERDUE, {"skew_s": skew_s, "limit": limit})
        return tuple(AttemptId(row.id) for row in rows)

    def record_facts(self, documents: Mapping[str, Mapping[str, Any]], at: datetime) -> None:  # Any: JSON
        """Log the facts that are judged by, once per digest: certificates quote them when the world has moved on."""
        self._record(Act.FACTS_CHANGED, {facts_subject(digest): one for digest, one in documents.items()}, at)

    def record_policies(self, documents: Mapping[str, Mapping[str, Any]], at: datetime) -> None:  # Any: JSON
        """Log the policies that are judged by, once per digest: whoever replays the log judges by them again."""
        self._record(Act.POLICY_CHANGED, {f"{POLICY}{digest}": one for digest, one in documents.items()}, at)

    def record_world(self, digest: str, document: Mapping[str, Any], at: datetime) -> None:  # Any: JSON
        """Log which facts there were, so that a refusal which depends on all of them need not list them."""
        self._record(Act.FACTS_CHANGED, {f"{WORLD}{digest}": document}, at)

    def _record(self, act: Act, subjects: Mapping[str, Mapping[str, Any]], at: datetime) -> None:  # Any: JSON
        if not subjects:
            return
        known = {row.subject for row in self._session.execute(_KNOWN_SUBJECTS, {"subjects": list(subjects)})}
        Audit(self._session).write_all(
            AuditEntry(act, subject, ACTOR, at, None, dict(document))
            for subject, document in subjects.items()
            if subject not in known
        )


def facts_subject(digest: str) -> str:
    """Return the audit subject under which the facts of a digest are logged."""
    return f"{FACTS}{digest}"


def refusal_documents(refusals: Iterable[Refusal]) -> list[dict[str, Any]]:  # Any: JSON
    """Return refusals as they are stored with a job and shown to its owner."""
    return [
        {"code": one.code.value, "count": one.count, "facet": one.facet, "want": one.want, "have": one.have}
        for one in refusals
    ]


def _queued_job(row: Row[Any]) -> QueuedJob:  # Any: a row of a textual statement has no column types
    resources = row.resources
    return QueuedJob(
        id=JobId(row.id),
        organisation=OrganisationId(row.organisation_id),
        project=ProjectId(row.project_id),
        version=row.version,
        policy_digest=row.policy_digest,
        resources=Resources(
            resources["gpus"], tuple(resources["accelerators"]), resources["cpus"], resources["memory_mib"]
        ),
        nodes=row.nodes,
        created_at=row.created_at,
        priority=row.priority,
        objective=Objective(row.objective),
        max_price=price_cap(row.max_price, row.former_max_price),
    )


def _pool_state(row: Row[Any], tenant: str | None) -> PoolState:  # Any: as above
    # Where the executor cannot keep tenants apart, the first one's traces stay, so the pool stays its own.
    holder = None if row.is_idle and not _is_single(row) else (tenant or row.single_tenant)
    return PoolState(
        name=PoolName(row.name),
        region=RegionCode(row.region),
        provider=row.provider,
        accelerator=row.accelerator,
        gpus_per_node=row.gpus_per_node,
        price=Price.nearest(Decimal(row.price)),
        facts_version=row.facts_version,
        executor=row.executor,
        has_made_up_gpus=row.has_made_up_gpus,
        is_single=_is_single(row),
        is_idle=row.is_idle,
        tenant=None if holder is None else OrganisationId(holder),
        is_answering=row.answers,
    )


def _without(mask: int, shut: int) -> int:
    """Return a mask less its `shut` highest bits; it has more than those."""
    for _ in range(shut):
        mask &= ~(1 << (mask.bit_length() - 1))
    return mask


def _is_single(row: Row[Any]) -> bool:  # Any: as above
    """Tell whether a pool serves one organisation for good, because its executor cannot keep tenants apart."""
    offers = row.offers_tenancy
    return offers is not None and "shared" not in offers["levels"]
