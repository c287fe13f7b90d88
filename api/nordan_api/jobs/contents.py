"""What a job leaves behind: the way to its logs and its service, its bill, its certificate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nordan_api.access import CALL_S, READ_S, Way, grant_access
from nordan_api.context import Context
from nordan_api.derogating import Derogating
from nordan_api.jobs import service
from nordan_api.jobs.policy import policies_of
from nordan_api.jobs.service import JobView
from nordan_api.readers import check_place, check_reader
from nordan_core.domain.attempts import Attempt
from nordan_core.domain.errors import Conflict, Invalid, NotFound, Unavailable
from nordan_core.domain.jobs import Job, JobKind
from nordan_core.domain.money import Cost
from nordan_core.domain.places import Region
from nordan_core.domain.states import TERMINAL, AttemptState
from nordan_core.domain.tenants import Principal
from nordan_core.residency.layers import Effective
from nordan_core.residency.widening import derogated
from nordan_core.store.certificates import StoredCertificate
from nordan_core.wire import Access

Json = dict[str, Any]  # Any: JSON


def log_access(
    context: Context, principal: Principal, project: str, job: str, *, attempt: int | None, rank: int
) -> Access:
    """Return the way to one rank's log: of the attempt asked for, else of the newest.

    Raises:
        NotFound: no such attempt or rank. Refused: the reader sits where `access` does not allow, or the log lies
            where it may not any more.
    """
    view = service.view(context, principal, project, job)
    found = _attempt(view, attempt)
    if rank >= len(found.ranks):
        raise NotFound("rank", f"{rank} of attempt {found.number}, which has {len(found.ranks)}")
    policies = _policies(context, view.job)
    ends = (
        check_reader(context, principal, policies, subject=found.id),
        check_place(context, policies, found.region),
    )
    region = _region(context, found.region)
    way = Way(f"/v1/attempts/{found.id}/logs?rank={rank}", f"attempt:{found.id}", "read", READ_S, ends=ends)
    return grant_access(context, principal, region, way)


def service_access(context: Context, principal: Principal, project: str, job: str) -> Access:
    """Return the URL of an inference job at its region's gateway, with a token to call it.

    Raises:
        Invalid: the job is of another kind. Conflict: it has ended. Unavailable: no replica is ready yet.
    """
    view = service.view(context, principal, project, job)
    if view.job.spec.kind is not JobKind.INFERENCE:
        raise Invalid("job", f"{job} is of kind {view.job.spec.kind}; only inference jobs are called")
    if view.job.state in TERMINAL:
        raise Conflict("job_ended", f"the job has {view.job.state}")
    ready = [one for one in view.attempts if one.is_ready and one.state is AttemptState.RUNNING]
    if not ready:
        raise Unavailable("no replica is ready yet; ask again in a moment", 1.0)
    policies = _policies(context, view.job)
    ends = (
        check_reader(context, principal, policies, subject=view.job.id),
        check_place(context, policies, ready[-1].region),
    )
    region = _region(context, ready[-1].region)
    way = Way(f"/v1/services/{view.job.id}/", f"service:{view.job.id}", "call", CALL_S, ends=ends)
    return grant_access(context, principal, region, way)


def usage(context: Context, principal: Principal, project: str, job: str) -> Json:
    """Return what each attempt used and cost."""
    view = service.view(context, principal, project, job)
    return {
        "job": view.job.id,
        "items": [_usage_line(one) for one in view.attempts],
        "cost_eur": str(sum((one.cost for one in view.attempts), Cost(0)).eur),
    }


def certificate(context: Context, principal: Principal, project: str, job: str, *, redacted: bool = False) -> Json:
    """Return `{state, envelope}`; the envelope is there once the job's audit entries are sealed.

    Raises:
        Conflict: the job has not ended, or its certificate can only be shown whole.
    """
    with context.store.begin() as work:
        found = service.find_job(work, principal, project, job)
        stored = work.certificates.get(found.id)
    if found.state not in TERMINAL:
        raise Conflict("job_not_ended", f"the job is {found.state}; its certificate is written when it has ended")
    envelope = stored.envelope if stored is not None else None
    if stored is not None and envelope is not None and redacted:
        envelope = _redacted(context, stored)
    return {"job": found.id, "state": "issued" if envelope else "pending", "envelope": envelope}


def _redacted(context: Context, stored: StoredCertificate) -> Mapping[str, object] | None:
    """Return what may be shown of a certificate; the first time, ask the sealer for it."""
    if stored.has_no_redaction:
        raise Conflict(
            "not_redacted",
            "this certificate rests on a derogation, whose exact text names whom it covers, or is of an older version:"
            " it can only be shown whole",
        )
    if stored.redacted is None:
        with context.store.begin() as work:
            work.certificates.ask_redacted(stored.job)
    return stored.redacted


def _attempt(view: JobView, number: int | None) -> Attempt:
    found = [one for one in view.attempts if number is None or one.number == number]
    if not found:
        what = f"attempt {number} of job" if number is not None else "attempt yet of job"
        raise NotFound(what, view.job.id)
    return found[-1]


def _policies(context: Context, job: Job) -> tuple[Effective, ...]:
    with context.store.begin() as work:
        project = work.tenants.project(None, job.project)
        covered = Derogating(work, context.atlas, context.clock.now()).lasting(job.project, job.id)
    return tuple(derogated(of, covered) for of in policies_of(job, project, context.atlas))


def _region(context: Context, code: str) -> Region:
    with context.store.begin() as work:
        region = work.places.region(code)
    if region is None:
        raise NotFound("region", code)
    return region


def _usage_line(attempt: Attempt) -> Json:
    running_s = float(str(attempt.usage.get("running_s", 0.0)))
    return {
        "attempt": attempt.id,
        "number": attempt.number,
        "pool": attempt.pool,
        "region": attempt.region,
        "gpus": attempt.gpus,
        "running_s": running_s,
        "gpu_seconds": running_s * attempt.gpus,
        "price_eur_per_gpu_h": str(attempt.price.eur_per_gpu_h),
        "cost_eur": str(attempt.cost.eur),
        "is_final": attempt.state is AttemptState.ENDED,
    }
