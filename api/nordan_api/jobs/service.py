"""Submit, look at and cancel jobs. Load, then decide with no session open, then write."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from nordan_api.auth.callers import find_project
from nordan_api.context import Context
from nordan_api.derogating import Derogating
from nordan_api.evidence import Evidence
from nordan_api.idempotency import IdempotencyKey
from nordan_api.jobs.inputs import choose_files, resolve_inputs, stored_files
from nordan_api.jobs.policy import NamedInput, check_described_here, check_not_empty, check_possible, effective_of_job
from nordan_api.lineage.readers import input_that_narrowed
from nordan_core.documents import parse_job
from nordan_core.domain.artifacts import Artifact
from nordan_core.domain.attempts import Attempt, Ending
from nordan_core.domain.errors import Conflict, NotFound, Refused
from nordan_core.domain.ids import JobId
from nordan_core.domain.jobs import Job, JobSpec
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptResult, AttemptState, JobState
from nordan_core.domain.tenants import Principal, Project
from nordan_core.facts import FactsBook
from nordan_core.identifiers import new_id
from nordan_core.proof.canonical import digest_of
from nordan_core.residency.derogations import Covering, fewest
from nordan_core.residency.effective_text import effective_document
from nordan_core.residency.layers import Effective, LayerKind, layer_documents, output_policy
from nordan_core.residency.widening import derogated
from nordan_core.store.audit import Act, AuditEntry
from nordan_core.store.codec import spec_document
from nordan_core.store.idempotency import StoredAnswer
from nordan_core.store.jobs import NewJob
from nordan_core.store.unit_of_work import UnitOfWork

#: Retried by whoever sends it; a job's id, or the name of its newest.
_JOB_ID = re.compile(r"job_[0-9a-hjkmnp-tv-z]{26}")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job document with everything that a decision needs."""

    project: Project
    spec: JobSpec
    inputs: tuple[NamedInput, ...]
    effective: Effective
    facts: FactsBook
    covered: tuple[Covering, ...]
    """Derogations that cover it; the scheduler uses what it needs."""
    missing: NotFound | None = None
    """Files that it names and that were not put under its policy; said once it is known that it may run somewhere."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the store knows about a job document."""

    project: Project
    spec: JobSpec
    inputs: tuple[NamedInput, ...]
    stored: Sequence[Artifact]
    covered: tuple[Covering, ...]

    @classmethod
    def of(
        cls, work: UnitOfWork, project: Project, spec: JobSpec, derogating: Derogating, *, with_files: bool = True
    ) -> Gathered:
        """Look everything up; `derogating` is of the same unit of work.

        Raises:
            NotFound: an input that this project does not have.
        """
        inputs = resolve_inputs(work, project.id, spec)
        stored = stored_files(work, project.id, spec) if with_files else []
        datasets = {one.name: one.artifact.dataset for one in inputs if one.artifact.dataset is not None}
        return cls(project, spec, inputs, stored, derogating.submitted(project.id, datasets))

    def prepared(self, facts: FactsBook) -> Prepared:
        """Put the policies together under facts that are not older than what was looked up.

        Raises:
            Invalid: a malformed policy.
        """
        of = effective_of_job(self.project, self.spec, self.inputs, facts.atlas)
        files = choose_files(self.spec, self.stored, output_policy(of), facts.atlas)
        if isinstance(files, NotFound):
            return Prepared(self.project, self.spec, self.inputs, of, facts, self.covered, missing=files)
        inputs = self.inputs if files is None else (*self.inputs, files)
        return Prepared(self.project, self.spec, inputs, of, facts, self.covered)


@dataclass(frozen=True, slots=True)
class JobView:
    """A job with its attempts and outputs, as routes show it."""

    job: Job
    attempts: tuple[Attempt, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    project_name: str = ""


def prepare(
    context: Context, principal: Principal, project_name: str, document: dict[str, Any], *, with_files: bool = True
) -> Prepared:
    """Check a job document and gather what it will be judged on.

    A plan is asked before the files are anywhere, so it comes without them.

    Raises:
        Invalid: a malformed document or policy. NotFound: an input that this project does not have.
    """
    spec = parse_job(document)
    with context.store.look() as work:
        project = find_project(work, principal, project_name)
        derogating = Derogating(work, context.atlas, context.clock.now())
        gathered = Gathered.of(work, project, spec, derogating, with_files=with_files)
        epoch = work.epoch.current()
    return gathered.prepared(context.facts(epoch))


def judge_submission(prepared: Prepared, now: datetime) -> Effective:
    """Refuse what can never run, derogations counted in; returns the policy by which it may.

    Raises:
        Refused: with the reason, the conflict and what would help. NotFound: it may run, and its files were not put.
    """
    of = judge_policy(prepared, now)
    if prepared.missing is not None:
        raise prepared.missing
    return of


def judge_policy(prepared: Prepared, now: datetime) -> Effective:
    """Refuse what can never run, wherever its files are: the answer of a plan as of a submission.

    Raises:
        Refused: with the reason, the conflict and what would help, as if there were no derogations.
    """
    try:
        check_not_empty(prepared.effective, prepared.facts, now)
        _judge(prepared, prepared.effective, now)
    except Refused:
        some = fewest(prepared.covered, lambda some: _is_possible(prepared, some, now))
        if not some:
            raise
        return derogated(prepared.effective, some)
    return prepared.effective


def _is_possible(prepared: Prepared, some: tuple[Covering, ...], now: datetime) -> bool:
    try:
        _judge(prepared, derogated(prepared.effective, some), now)
    except Refused:
        return False
    return True


def _judge(prepared: Prepared, of: Effective, now: datetime) -> None:
    check_described_here(of, prepared.facts, now)
    check_possible(prepared.spec, of, prepared.inputs, prepared.facts, now)


def submit(
    context: Context, principal: Principal, project: str, document: dict[str, Any], key: IdempotencyKey | None
) -> StoredAnswer:
    """Accept a job or refuse it for good; either is one audit entry. Returns 202 with the job's id and state."""
    now = context.clock.now()
    # 1. A repeated request gets the answer of the first, even if the world has changed since.
    if key is not None and (answer := known_answer(context, key)) is not None:
        return answer
    # 2. Check and judge, no session open.
    prepared = prepare(context, principal, project, document)
    try:
        of = judge_submission(prepared, now)
    except Refused as refused:
        audit_refusal(context, principal, prepared, refused, now)
        raise
    # 3. Write. The certificate says where the control plane stood when it took the job, wherever it stands by then.
    evidence = Evidence(prepared.facts, now)
    judged = [evidence.anywhere(of, allowed=True)]
    evidence.record_first(context)
    accepted = Accepted.of(prepared, principal, judged, now)
    answer = StoredAnswer(202, accepted.line(), accepted.location)
    with context.store.begin() as work:
        check_inputs(work, prepared)
        if key is not None and (known := work.idempotency.claim(key.scope, key.request_digest, now)) is not None:
            return known
        insert(work, [accepted])
        if key is not None:
            work.idempotency.keep(key.scope, answer)
    return answer


def check_inputs(work: UnitOfWork, prepared: Prepared) -> None:
    """Refuse a job whose input lost a declassification since it was judged; the epoch stands still until it is stored.

    Floors and derogations are judged again at each start; what a job reads is its own, and is not.

    Raises:
        Conflict: submitted again, it is judged by what its inputs say now.
    """
    layers = prepared.effective.layers
    if not any(one.kind is LayerKind.PARENT for one in layers):
        return
    work.epoch.share()
    today = work.contents.artifacts([one.artifact.id for one in prepared.inputs])
    inputs = [(one.name, today[one.artifact.id]) for one in prepared.inputs]
    if name := input_that_narrowed(work, {"layers": layer_documents(layers)}, inputs):
        raise Conflict("input_narrowed", f"input {name} has just become stricter; submit the job again")


def known_answer(context: Context, key: IdempotencyKey) -> StoredAnswer | None:
    """Return what the first request with this key was answered."""
    with context.store.look() as work:
        return work.idempotency.answer(key.scope, key.request_digest)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job that may run somewhere, before it is stored, and what that was judged by."""

    prepared: Prepared
    job: Job
    judged: list[dict[str, Any]]

    @classmethod
    def of(cls, prepared: Prepared, principal: Principal, judged: list[dict[str, Any]], now: datetime) -> Accepted:
        """Make the job."""
        job = Job(
            id=JobId(new_id("job")),
            organisation=prepared.project.organisation,
            project=prepared.project.id,
            spec=prepared.spec,
            effective=effective_document(prepared.effective),
            state=JobState.QUEUED,
            reason=None,
            message="",
            created_at=now,
            version=1,
            submitted_by=principal.key,
        )
        return cls(prepared, job, judged)

    @property
    def location(self) -> str:
        """Return where the job is shown."""
        return f"/v1/projects/{self.job.project}/jobs/{self.job.id}"

    def line(self) -> dict[str, Any]:
        """Return what its owner is told at once."""
        return {"id": self.job.id, "name": self.job.spec.name, "state": self.job.state.value}

    def row(self) -> NewJob:
        """Return what is stored."""
        wait, of = self.prepared.spec.max_wait_s, self.prepared.effective
        return NewJob(
            self.job,
            policy_digest=of.digest,
            klass=of.class_.word,
            inputs={one.name: one.artifact.id for one in self.prepared.inputs},
            wait_until=None if wait is None else self.job.created_at + timedelta(seconds=wait),
        )

    def entry(self) -> AuditEntry:
        """Return the entry of the log."""
        job, prepared = self.job, self.prepared
        return AuditEntry(
            Act.JOB_ACCEPTED,
            job.id,
            job.submitted_by,
            job.created_at,
            job.organisation,
            {
                "policy_digest": prepared.effective.digest,
                "inputs": [one.artifact.id for one in prepared.inputs],
                "control_plane": prepared.facts.control_plane_digest,
                "spec_digest": digest_of(spec_document(job.spec)),
                "judged": self.judged,
            },
        )


def insert(work: UnitOfWork, accepted: Sequence[Accepted]) -> None:
    """Store jobs, at least one, each with its entry of the log."""
    work.jobs.add_all([one.row() for one in accepted])
    work.audit.write_all(one.entry() for one in accepted)


def audit_refusal(context: Context, principal: Principal, prepared: Prepared, refused: Refused, now: datetime) -> None:
    """Write down that a job was refused; no transaction may be open."""
    evidence, of = Evidence(prepared.facts, now), prepared.effective
    is_here = refused.reason is not Reason.CONTROL_PLANE_OUTSIDE_DESCRIBE
    is_somewhere = refused.reason is not Reason.RESIDENCY_UNSATISFIABLE
    judged = [evidence.anywhere(of, allowed=is_somewhere) if is_here else evidence.describe(of, allowed=False)]
    evidence.record_first(context)
    with context.store.begin() as work:
        work.audit.write(
            AuditEntry(
                Act.JOB_REFUSED,
                prepared.project.id,
                principal.key,
                now,
                prepared.project.organisation,
                {"policy_digest": of.digest, "reason": refused.reason.value, "judged": judged},
            )
        )


def view(context: Context, principal: Principal, project: str, job_id: str) -> JobView:
    """Return one job with attempts and outputs.

    Raises:
        NotFound: this caller has no such job.
    """
    with context.store.look() as work:
        owner = find_project(work, principal, project)
        job = _job_of(work, owner, job_id)
        attempts, artifacts = work.attempts.of_job(job.id), work.contents.of_job(job.id)
        return JobView(job, tuple(attempts), tuple(artifacts), owner.name)


def find_job(work: UnitOfWork, principal: Principal, project: str, job_id: str) -> Job:
    """Return a job by id, or the newest of that name.

    Raises:
        NotFound: this caller has no such job.
    """
    return _job_of(work, find_project(work, principal, project), job_id)


def _job_of(work: UnitOfWork, owner: Project, job_id: str) -> Job:
    if _JOB_ID.fullmatch(job_id):
        job = work.jobs.get(owner.id, job_id)
    else:
        newest = work.jobs.page(owner.id, states=(), name=job_id, before=None, limit=1)
        job = newest[0] if newest else None
    if job is None:
        raise NotFound("job", job_id)
    return job


def cancel(context: Context, principal: Principal, project: str, job_id: str, grace_s: float | None) -> Job:
    """Ask a job to end; one that does not run ends at once. Asking twice changes nothing.

    Raises:
        Conflict: the job has ended already.
    """
    now = context.clock.now()
    with context.store.begin() as work:
        # Changes of the world lock pools before nodes, the end of an attempt after them: the epoch keeps them apart.
        work.epoch.share()
        found = find_job(work, principal, project, job_id)
        job = work.jobs.lock(found.project, found.id)
        if job is None:
            raise NotFound("job", job_id)
        if job.finished_at is not None:
            raise Conflict("job_ended", f"the job has ended already: {job.state}")
        if not job.is_cancel_requested:
            work.jobs.request_cancel(job, now)
            _stop(work, job, principal, grace_s, now)
            entry = AuditEntry(Act.CANCEL_REQUESTED, job.id, principal.key, now, job.organisation)
            work.audit.write(entry)
    with context.store.look() as work:
        return find_job(work, principal, project, found.id)


def _stop(work: UnitOfWork, job: Job, principal: Principal, grace_s: float | None, now: datetime) -> None:
    live = [one for one in work.attempts.of_job(job.id) if one.state is not AttemptState.ENDED]
    if not live:
        work.jobs.move(job, JobState.CANCELLED, Reason.CANCELLED_BY_USER, "", now)
    elif live[-1].state is AttemptState.PLACED:
        # Nobody redeemed its grant, so nothing runs: closing the grant makes sure that nothing ever will.
        ending = Ending(live[-1].id, AttemptResult.CANCELLED, Reason.CANCELLED_BY_USER)
        work.attempts.close([ending], now, actor=principal.key)
    else:
        grace = job.spec.grace_s if grace_s is None else grace_s
        work.attempts.ask_to_stop(live[-1].id, Reason.CANCELLED_BY_USER, grace)
        work.jobs.move(job, JobState.CANCELLING, Reason.CANCELLED_BY_USER, "", now)


def page(
    context: Context,
    principal: Principal,
    project: str,
    *,
    states: list[str],
    name: str | None,
    before: str | None,
    limit: int,
) -> tuple[list[Job], str | None]:
    """Return a page of jobs, newest first, and where the next one begins."""
    with context.store.look() as work:
        owner = find_project(work, principal, project)
        jobs = work.jobs.page(owner.id, states=states, name=name, before=before, limit=limit)
    return jobs[:limit], jobs[limit - 1].id if len(jobs) > limit else None
