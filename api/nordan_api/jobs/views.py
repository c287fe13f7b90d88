"""How jobs look in REST answers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from nordan_api.jobs.service import JobView
from nordan_api.resting import fences_document
from nordan_core.domain.artifacts import Artifact
from nordan_core.domain.attempts import Attempt
from nordan_core.domain.jobs import Job
from nordan_core.domain.money import Cost
from nordan_core.domain.states import JobState
from nordan_core.store.codec import FORMER_MAX_PRICE, MAX_PRICE, spec_document

Json = dict[str, Any]  # Any: JSON


def job_document(view: JobView) -> Json:
    """Return one job in full."""
    job = view.job
    cost = sum((one.cost for one in view.attempts), Cost(0))
    return {
        **job_line(job),
        "project_name": view.project_name,
        "spec": _spec(job),
        "policy": _policy(job.effective),
        "attempts": [attempt_document(one) for one in view.attempts],
        "artifacts": [artifact_line(one) for one in view.artifacts],
        "status_history": [
            {"state": one.state, "reason": one.reason, "message": one.message, "at": _text(one.at)}
            for one in job.history
        ],
        "why": [dict(one) for one in job.why],
        "fence": _fence(view),
        "cost_eur": str(cost.eur),
    }


def _fence(view: JobView) -> Json | None:
    """Return what became unlawful about the last attempt, if that is why the job stands where it does."""
    last = view.attempts[-1] if view.attempts else None
    said: Any = last.verdicts.get("fence") if last is not None else None  # Any: JSON
    if said is None or last is None or view.job.state in {JobState.RECOVERING, JobState.CANCELLED}:
        return None
    where = {"attempt": last.number, "pool": last.pool, "region": last.region}
    return {**where, "at": said["at"], "epoch": said["epoch"], "refusals": said["refusals"]}


def job_line(job: Job) -> Json:
    """Return one job as a list shows it."""
    return {
        "id": job.id,
        "name": job.spec.name,
        "kind": job.spec.kind.value,
        "project": job.project,
        "state": job.state.value,
        "reason": job.reason.value if job.reason else None,
        "message": job.message,
        "priority": job.spec.priority,
        "nodes": job.spec.nodes,
        "gpus": job.spec.total_gpus,
        "created_at": _text(job.created_at),
        "started_at": next((_text(one.at) for one in job.history if one.state == "running"), None),
        "finished_at": _text(job.finished_at),
        "submitted_by": job.submitted_by,
        "version": job.version,
    }


def attempt_document(attempt: Attempt) -> Json:
    """Return one attempt."""
    return {
        "id": attempt.id,
        "number": attempt.number,
        "fence": attempt.fence,
        "state": attempt.state.value,
        "result": attempt.result.value if attempt.result else None,
        "reason": attempt.reason.value if attempt.reason else None,
        "message": attempt.message,
        "exit_code": attempt.exit_code,
        "region": attempt.region,
        "pool": attempt.pool,
        "nodes": [rank.node for rank in attempt.ranks],
        "gpus": attempt.gpus,
        "is_ready": attempt.is_ready,
        "resumed_from": attempt.resume_from,
        "created_at": _text(attempt.created_at),
        "redeemed_at": _text(attempt.redeemed_at),
        "started_at": _text(attempt.running_at),
        "ended_at": _text(attempt.ended_at),
        "price_eur_per_gpu_h": str(attempt.price.eur_per_gpu_h),
        "cost_eur": str(attempt.cost.eur),
        "running_s": attempt.usage.get("running_s", 0.0),
    }


def artifact_line(artifact: Artifact) -> Json:
    """Return one artifact without its files."""
    return {
        "id": artifact.id,
        "kind": artifact.kind.value,
        "name": artifact.name,
        "digest": artifact.digest,
        "size_bytes": artifact.manifest.size_bytes,
        "regions": list(artifact.regions),
        "attempt": artifact.attempt,
        "created_at": _text(artifact.created_at),
        "fenced_at": _text(artifact.fenced_at),
        "fences": fences_document(artifact),
    }


def _spec(job: Job) -> Json:
    document = spec_document(job.spec)
    # Values of the environment may be secrets; whoever submitted them knows them.
    document["env"] = sorted(document["env"])
    # In the unit in which a job document says it.
    del document[MAX_PRICE]
    document[FORMER_MAX_PRICE] = str(job.spec.max_price.eur_per_gpu_h) if job.spec.max_price else None
    return document


def _policy(effective: Mapping[str, Any]) -> Json:
    return {
        "effective": effective.get("policy"),
        "stated_by": effective.get("stated_by"),
        "missing": effective.get("missing"),
        "digest": effective.get("digest"),
    }


def _text(instant: datetime | None) -> str | None:
    return instant.isoformat() if instant else None
