"""Write decisions: attempt, lease, grant, allocation, audit entry and outbox row together, or none of them.

Locks come in the one order: residency epoch and lead (taken by the caller), jobs, nodes, pools, each ascending. Under
the locks each decision is checked against the rows as they are now; one that no longer fits is dropped alone. Nobody
ever waits for a derogation's row: one that is being used elsewhere is not used here. A chunk costs a fixed number of
statements, whatever its size.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, false, insert, or_, select, text
from sqlmodel import Session, SQLModel, col

from nordan_core.domain.ids import GrantId, JobId
from nordan_core.domain.places import NodeState
from nordan_core.domain.queueing import Applied, Decision, Derogated, Placed, Residency
from nordan_core.domain.states import WAITING, AttemptState, AttemptView, JobState, check_job_move, job_state
from nordan_core.identifiers import new_id
from nordan_core.proof.judgement import Question
from nordan_core.store.audit import Act, Audit, AuditEntry
from nordan_core.store.derogations import Derogations
from nordan_core.store.outbox import Outbox
from nordan_core.store.tables.jobs import AttemptRow, GrantRow, JobRow, LeaseRow
from nordan_core.store.tables.places import NodeRow

#: Life of a grant without renewal: how long an attempt may go on when its region has fallen silent.
GRANT_TTL_S = 900.0
GRANT_TTL_SENSITIVE_S = 45.0
SENSITIVE = frozenset({"confidential", "restricted"})
ACTOR = "scheduler"

_LIVE = text("select job_id from attempt where job_id = any(:ids) and state <> 'ended'")
_TAKE_NODES = text(
    """
    update node n set free_mask = v.mask, free_cpus = v.cpus, free_memory_mib = v.memory
    from jsonb_to_recordset(cast(:rows as jsonb)) as v(pool text, name text, mask bigint, cpus int, memory int)
    where n.pool = v.pool and n.name = v.name
    """
)
_LOCK_POOLS = text(
    "select name from pool where name = any(:pools) and (single_tenant is not null or name = any(:bound))"
    " order by name for no key update"
)
_BIND_POOLS = text(
    """
    update pool p set single_tenant = v.tenant
    from jsonb_to_recordset(cast(:rows as jsonb)) as v(name text, tenant text)
    where p.name = v.name and (p.single_tenant is not null or v.tenant is not null)
    """
)
_MOVE_JOBS = text(
    """
    update job j set state = v.state, reason = null, message = '', why = '[]', attempts_made = v.number,
           history = j.history || v.line, version = j.version + 1
    from jsonb_to_recordset(cast(:rows as jsonb)) as v(id text, state text, number int, line jsonb)
    where j.id = v.id
    """
)


@dataclass(frozen=True, slots=True)
class _Job:
    """What a decision is checked against, from the locked row."""

    state: JobState
    version: int
    attempts_made: int
    klass: str
    is_cancel_requested: bool


#: A node by pool and name: two clusters may use one name.
_NodeKey = tuple[str, str]


@dataclass(slots=True)
class _Node:
    """What is still free on a locked node while a chunk is written."""

    row: NodeRow
    mask: int
    cpus: int
    memory_mib: int


@dataclass(frozen=True, slots=True)
class _Start:
    """A decision that holds, with the locked job and the names of what is written for it."""

    decision: Decision
    job: _Job
    number: int
    attempt: str
    grant: GrantId
    after: JobState


def apply_decisions(
    session: Session, decisions: Sequence[Decision], residency: Mapping[str, Residency], at: datetime
) -> Applied:
    """Write those of the decisions whose rows still match, and name the others."""
    # 1. Lock jobs, then nodes, each in ascending order.
    jobs = _lock_jobs(session, decisions)
    nodes = _lock_nodes(session, decisions)
    left = Derogations(session).lock_left(name for one in decisions for name in _derogations(one, residency))
    # 2. Keep what holds against the rows as they are now.
    found = (_check(one, jobs, nodes, residency, at, left=left) for one in decisions)
    starts = [start for start in found if start is not None]
    if starts:
        # 3. Write, a statement per table.
        _write(session, starts, nodes, residency, at)
    started = {start.decision.job.id for start in starts}
    dropped = tuple(one.job.id for one in decisions if one.job.id not in started)
    placed = tuple(Placed(start.decision.job.id, start.grant, start.decision.placement.pool.region) for start in starts)
    return Applied(placed, dropped)


def _lock_jobs(session: Session, decisions: Sequence[Decision]) -> dict[JobId, _Job]:
    ids = sorted({one.job.id for one in decisions})
    columns = (JobRow.id, JobRow.state, JobRow.version, JobRow.attempts_made, JobRow.klass, JobRow.cancel_requested_at)
    statement = select(*(col(one) for one in columns)).where(col(JobRow.id).in_(ids)).order_by(col(JobRow.id))
    rows = {
        JobId(key): _Job(JobState(state), version, made, klass, cancelled_at is not None)
        for key, state, version, made, klass, cancelled_at in session.execute(statement.with_for_update())
    }
    # A recovering job may have a live attempt; a queued one never has.
    recovering = [job for job, row in rows.items() if row.state is JobState.RECOVERING]
    for row in session.execute(_LIVE, {"ids": recovering}) if recovering else ():
        rows.pop(row.job_id, None)
    return rows


def _lock_nodes(session: Session, decisions: Sequence[Decision]) -> dict[_NodeKey, _Node]:
    names: dict[str, set[str]] = {}
    for one in decisions:
        names.setdefault(one.placement.pool.name, set()).update(rank.node for rank in one.placement.ranks)
    of_pools = [and_(col(NodeRow.pool) == pool, col(NodeRow.name).in_(names[pool])) for pool in names]
    statement = (
        select(NodeRow).where(or_(false(), *of_pools)).order_by(col(NodeRow.pool), col(NodeRow.name)).with_for_update()
    )
    rows = session.scalars(statement)
    return {(row.pool, row.name): _Node(row, row.free_mask, row.free_cpus, row.free_memory_mib) for row in rows}


def _check(
    decision: Decision,
    jobs: Mapping[JobId, _Job],
    nodes: Mapping[_NodeKey, _Node],
    residency: Mapping[str, Residency],
    at: datetime,
    *,
    left: dict[str, int],
) -> _Start | None:
    """Take a decision's GPUs and uses of derogations if all of it still holds; else leave everything as it was."""
    job = jobs.get(decision.job.id)
    if job is None or not _may_start(job, decision) or not _is_lawful(decision, residency, at):
        return None
    pool = decision.placement.pool.name
    if not all(_has_room(nodes.get((pool, rank.node)), decision, rank.gpu_mask) for rank in decision.placement.ranks):
        return None
    if any(nodes[pool, rank.node].row.version != rank.node_version for rank in decision.placement.ranks):
        return None
    used = _derogations(decision, residency)
    if any(left.get(name, 0) < 1 for name in used):
        return None
    left.update((name, left[name] - 1) for name in used)
    need = decision.job.resources
    for rank in decision.placement.ranks:
        node = nodes[pool, rank.node]
        node.mask &= ~rank.gpu_mask
        node.cpus -= need.cpus
        node.memory_mib -= need.memory_mib
    number = job.attempts_made + 1
    placed = [AttemptView(AttemptState.ENDED)] * (number - 1) + [AttemptView(AttemptState.PLACED)]
    after = job_state(placed)
    check_job_move(job.state, after)
    return _Start(decision, job, number, new_id("att"), GrantId(new_id("grt")), after)


def _may_start(job: _Job, decision: Decision) -> bool:
    return job.version == decision.job.version and job.state in WAITING and not job.is_cancel_requested


def _is_lawful(decision: Decision, residency: Mapping[str, Residency], at: datetime) -> bool:
    said = residency.get(decision.job.residency_key)
    if said is None or decision.placement.pool.name not in said.allowed:
        return False
    return said.good_until is None or at < said.good_until


def policies_judged(decision: Decision, residency: Mapping[str, Residency]) -> tuple[str, ...]:
    """Return the digests of the policies that a decision was judged by."""
    said, by = residency.get(decision.job.residency_key), _derogated(decision, residency)
    if by is not None:
        return by.policies
    return said.policies if said is not None else ()


def _derogated(decision: Decision, residency: Mapping[str, Residency]) -> Derogated | None:
    said = residency.get(decision.job.residency_key)
    return said.derogated.get(decision.placement.pool.name) if said is not None else None


def _derogations(decision: Decision, residency: Mapping[str, Residency]) -> tuple[str, ...]:
    by = _derogated(decision, residency)
    return by.ids if by is not None else ()


def _has_room(node: _Node | None, decision: Decision, mask: int) -> bool:
    need = decision.job.resources
    return (
        node is not None
        and node.row.state == NodeState.READY
        and node.mask & mask == mask
        # What the node lacks or foreign pods use is counted, not named: which GPUs it is does not matter.
        and node.mask.bit_count() - node.row.shut_gpus >= mask.bit_count()
        and node.cpus - node.row.shut_cpus >= need.cpus
        and node.memory_mib - node.row.shut_memory_mib >= need.memory_mib
    )


def _write(
    session: Session,
    starts: Sequence[_Start],
    nodes: Mapping[_NodeKey, _Node],
    residency: Mapping[str, Residency],
    at: datetime,
) -> None:
    touched = sorted(
        {(start.decision.placement.pool.name, rank.node) for start in starts for rank in start.decision.placement.ranks}
    )
    _send(session, _TAKE_NODES, [_node_values(nodes[key]) for key in touched])
    tenants = {start.decision.placement.pool.name: start.decision.placement.tenant for start in starts}
    bound = [pool for pool, tenant in tenants.items() if tenant is not None]
    session.execute(_LOCK_POOLS, {"pools": list(tenants), "bound": bound})
    _send(session, _BIND_POOLS, [{"name": pool, "tenant": tenants[pool]} for pool in sorted(tenants)])
    _insert(session, AttemptRow, [_attempt_values(start, residency, at) for start in starts])
    _insert(session, LeaseRow, [_lease_values(start, at) for start in starts])
    _insert(session, GrantRow, [_grant_values(start, residency, at) for start in starts])
    _send(session, _MOVE_JOBS, [_job_values(start, at) for start in starts])
    Derogations(session).take(Counter(name for start in starts for name in _derogations(start.decision, residency)))
    Audit(session).write_all(_entry(start, residency, at) for start in starts)
    Outbox(session).add((start.grant, start.decision.placement.pool.region) for start in starts)


def _send(session: Session, statement: Any, rows: list[dict[str, Any]]) -> None:  # Any: textual SQL, JSON rows
    session.execute(statement, {"rows": json.dumps(rows)})


def _insert(session: Session, table: type[SQLModel], rows: list[dict[str, Any]]) -> None:  # Any: column values
    session.connection().execute(insert(table), rows)


def _node_values(node: _Node) -> dict[str, Any]:
    row = node.row
    return {"pool": row.pool, "name": row.name, "mask": node.mask, "cpus": node.cpus, "memory": node.memory_mib}


def _attempt_values(start: _Start, residency: Mapping[str, Residency], at: datetime) -> dict[str, Any]:
    job, place = start.decision.job, start.decision.placement
    return {
        "id": start.attempt,
        "job_id": job.id,
        "organisation_id": job.organisation,
        "number": start.number,
        "fence": start.number,
        "pool": place.pool.name,
        "region": place.pool.region,
        "placement": [
            {"rank": one.rank, "node": one.node, "gpu_mask": one.gpu_mask, "gpus": one.gpu_mask.bit_count()}
            for one in place.ranks
        ],
        "cpus_per_rank": job.resources.cpus,
        "memory_mib_per_rank": job.resources.memory_mib,
        "state": AttemptState.PLACED.value,
        "message": "",
        "resume_from": job.resume_from,
        "seq": 0,
        "is_ready": False,
        "stop_grace_s": 0.0,
        # Beside what the judge said, what a certificate says of the place and the log does not.
        "verdicts": {
            "apply": {
                **_verdict(start.decision, residency, at),
                "executor": place.pool.executor,
                "has_made_up_gpus": place.pool.has_made_up_gpus,
            }
        },
        "created_at": at,
        "usage": {},
    }


def _verdict(decision: Decision, residency: Mapping[str, Residency], at: datetime) -> dict[str, Any]:
    said = residency[decision.job.residency_key]
    by = _derogated(decision, residency)
    return {
        # Only where there are any: most judgements rest on the policy alone.
        **({} if by is None else {"policy": by.policy_digest, "derogations": list(by.ids)}),
        "question": Question.RUN.value,
        "allowed": True,
        "epoch": said.epoch,
        "policies": list(policies_judged(decision, residency)),
        "control_plane": said.control_plane,
        "facts_version": decision.placement.pool.facts_version,
        "facts": said.facts.get(decision.placement.pool.name, ""),
        "atlas": said.atlas,
        "good_until": said.good_until.isoformat() if said.good_until else None,
        "at": at.isoformat(),
    }


def _lease_values(start: _Start, at: datetime) -> dict[str, Any]:
    job, pool = start.decision.job, start.decision.placement.pool
    return {
        "attempt_id": start.attempt,
        "organisation_id": job.organisation,
        "project_id": job.project,
        "provider": pool.provider,
        "price_micro_eur_per_gpu_h": pool.price.micro_eur_per_gpu_h,
        "price_micro_eur_per_gpu_s": pool.price.micro_eur_per_gpu_s,
        "gpus": job.nodes * job.resources.gpus,
        "opened_at": at,
        "gpu_seconds": 0.0,
        "cost_micro_eur": 0,
    }


def _grant_values(start: _Start, residency: Mapping[str, Residency], at: datetime) -> dict[str, Any]:
    # A floor may have raised the class since the job was accepted.
    said = residency[start.decision.job.residency_key]
    is_sensitive = start.job.klass in SENSITIVE or said.is_sensitive
    return {
        "id": start.grant,
        "attempt_id": start.attempt,
        "region": start.decision.placement.pool.region,
        "fence": start.number,
        "state": "issued",
        "ttl_s": GRANT_TTL_SENSITIVE_S if is_sensitive else GRANT_TTL_S,
        "created_at": at,
    }


def _job_values(start: _Start, at: datetime) -> dict[str, Any]:
    line = {
        "state": start.after.value,
        "reason": None,
        "message": f"attempt {start.number} placed in {start.decision.placement.pool.name}",
        "at": at.isoformat(),
    }
    return {"id": start.decision.job.id, "state": start.after.value, "number": start.number, "line": [line]}


def _entry(start: _Start, residency: Mapping[str, Residency], at: datetime) -> AuditEntry:
    job, place = start.decision.job, start.decision.placement
    by = _derogated(start.decision, residency)
    return AuditEntry(
        act=Act.GRANT_ISSUED,
        subject=job.id,
        actor=ACTOR,
        at=at,
        organisation=job.organisation,
        body={
            "attempt": start.attempt,
            "number": start.number,
            "fence": start.number,
            "grant": start.grant,
            "region": place.pool.region,
            "pool": place.pool.name,
            "nodes": [rank.node for rank in place.ranks],
            "policy_digest": job.policy_digest if by is None else by.policy_digest,
            "verdict": _verdict(start.decision, residency, at),
        },
    )
