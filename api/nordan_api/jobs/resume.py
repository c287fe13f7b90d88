"""Go on with a fenced job: its owner's choice, one more attempt, judged like the first. Nothing goes on by itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from nordan_api.context import Context
from nordan_api.derogating import Derogating
from nordan_api.jobs.policy import NamedInput, check_described_here, check_possible, policies_of
from nordan_api.jobs.service import find_job
from nordan_api.lineage.readers import input_that_narrowed
from nordan_core.domain.errors import Conflict, NotFound, Refused, Unavailable
from nordan_core.domain.jobs import Job
from nordan_core.domain.states import JobState
from nordan_core.domain.tenants import Principal, Project
from nordan_core.facts import FactsBook
from nordan_core.residency.derogations import Covering
from nordan_core.residency.widening import derogated
from nordan_core.store.audit import Act, AuditEntry
from nordan_core.store.unit_of_work import QUEUE, UnitOfWork

#: How often it is judged again because law moved meanwhile.
TRIES = 3


@dataclass(frozen=True, slots=True)
class _Case:
    job: Job
    project: Project | None
    inputs: tuple[NamedInput, ...]
    covered: tuple[Covering, ...]
    """Derogations that cover it; the scheduler uses what it needs."""
    epoch: int


def resume(context: Context, principal: Principal, project: str, job_id: str) -> Job:
    """Let a fenced job wait for a place again.

    Raises:
        Conflict: it is not fenced, or a declassification that it was accepted under was taken back.
        Refused: no pool may run it under what binds it today, or none that holds its data.
        Unavailable: law moves faster than this can be judged.
    """
    for _ in range(TRIES):
        with context.store.begin() as work:
            case = _case(context, work, principal, project, job_id)
        now = context.clock.now()
        _judge(context, principal, case, now)
        if _write(context, principal, case, now):
            with context.store.begin() as work:
                return find_job(work, principal, project, case.job.id)
    raise Unavailable("law or facts are changing right now; ask again in a moment", 1.0)


def _case(context: Context, work: UnitOfWork, principal: Principal, project: str, job_id: str) -> _Case:
    epoch = work.epoch.current()
    job = find_job(work, principal, project, job_id)
    _check_fenced(job)
    inputs = work.contents.inputs_of([job.id]).get(job.id, [])
    if name := input_that_narrowed(work, job.effective, inputs):
        raise Conflict("input_narrowed", f"input {name} has a stricter policy since; submit the job again")
    named = tuple(NamedInput(name, artifact) for name, artifact in inputs)
    derogating = Derogating(work, context.atlas, context.clock.now())
    covered = derogating.covering(job.project, job.id, frozenset(), may_take=True)
    return _Case(job, work.tenants.project(None, job.project), named, covered, epoch)


def _check_fenced(job: Job) -> None:
    if job.state is not JobState.FENCED or job.is_cancel_requested:
        raise Conflict("job_not_fenced", f"the job is {job.state}; only a fenced one waits for its owner's choice")


def _judge(context: Context, principal: Principal, case: _Case, now: datetime) -> None:
    facts = context.facts(case.epoch)
    try:
        _check(case, facts, now, ())
    except Refused as refused:
        if case.covered and _is_possible(case, facts, now, case.covered):
            return
        body: dict[str, object] = {"job": case.job.id, "reason": refused.reason.value, "epoch": facts.epoch}
        with context.store.begin() as work:
            entry = AuditEntry(Act.RESUME_REFUSED, case.job.project, principal.key, now, case.job.organisation, body)
            work.audit.write(entry)
        raise


def _check(case: _Case, facts: FactsBook, now: datetime, some: tuple[Covering, ...]) -> None:
    for stated in policies_of(case.job, case.project, facts.atlas):
        of = derogated(stated, some) if some else stated
        check_described_here(of, facts, now)
        check_possible(case.job.spec, of, case.inputs, facts, now)


def _is_possible(case: _Case, facts: FactsBook, now: datetime, some: tuple[Covering, ...]) -> bool:
    try:
        _check(case, facts, now, some)
    except Refused:
        return False
    return True


def _write(context: Context, principal: Principal, case: _Case, now: datetime) -> bool:
    """Move the job on; False when law has moved since it was judged."""
    wait_s = case.job.spec.max_wait_s
    with context.store.begin() as work:
        if work.epoch.share() != case.epoch:
            return False
        job = work.jobs.lock(case.job.project, case.job.id)
        if job is None:
            raise NotFound("job", case.job.id)
        _check_fenced(job)
        work.jobs.resume(job, None if wait_s is None else now + timedelta(seconds=wait_s), now)
        body: dict[str, object] = {"policy_digest": str(job.effective["digest"]), "epoch": case.epoch}
        work.audit.write(AuditEntry(Act.JOB_RESUMED, job.id, principal.key, now, job.organisation, body))
        work.notify(QUEUE)
    return True
