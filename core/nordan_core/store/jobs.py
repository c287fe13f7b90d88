"""Jobs as their owners see them: submit, look, cancel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, insert, select, update
from sqlmodel import Session, col

from nordan_core.domain.ids import JobId, OrganisationId, ProjectId
from nordan_core.domain.jobs import Job, StatusChange
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import TERMINAL, JobState, check_job_move
from nordan_core.store.codec import spec_document, spec_of
from nordan_core.store.tables.jobs import CertificateRow, JobInputRow, JobRow

_JOBS, _INPUTS = JobRow.metadata.tables["job"], JobInputRow.metadata.tables["job_input"]


@dataclass(frozen=True, slots=True)
class NewJob:
    """A queued job that is not stored yet."""

    job: Job
    policy_digest: str
    klass: str
    inputs: Mapping[str, str]
    """Artifact id by name."""
    wait_until: datetime | None


class Jobs:
    """Reads and writes jobs."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(
        self, job: Job, *, policy_digest: str, klass: str, inputs: Mapping[str, str], wait_until: datetime | None
    ) -> None:
        """Insert a queued job with its inputs (artifact id by name) and wake the scheduler at commit."""
        self.add_all([NewJob(job, policy_digest, klass, inputs, wait_until)])

    def add_all(self, jobs: Sequence[NewJob]) -> None:
        """Insert queued jobs, at least one, with their inputs and wake the scheduler at commit."""
        # Inserted and told in one round: every submission passes here.
        told = insert(_JOBS).returning(func.pg_notify("nordan_queue", ""))
        self._session.connection().execute(told, [_row(one) for one in jobs])
        rows = [
            {"job_id": one.job.id, "name": name, "artifact_id": artifact}
            for one in jobs
            for name, artifact in one.inputs.items()
        ]
        if rows:
            self._session.connection().execute(insert(_INPUTS), rows)

    def get(self, project: ProjectId, job: str) -> Job | None:
        """Return a job of a project by id."""
        statement = select(JobRow).where(col(JobRow.project_id) == project, col(JobRow.id) == job)
        row = self._session.scalars(statement).one_or_none()
        return job_of(row) if row else None

    def page(
        self, project: ProjectId, *, states: Sequence[str], name: str | None, before: str | None, limit: int
    ) -> list[Job]:
        """Return jobs of a project, newest first, older than `before`; one more than `limit` tells of a next page."""
        statement = select(JobRow).where(col(JobRow.project_id) == project)
        if states:
            statement = statement.where(col(JobRow.state).in_(list(states)))
        if name is not None:
            statement = statement.where(col(JobRow.name) == name)
        if before is not None:
            statement = statement.where(col(JobRow.id) < before)
        return [
            job_of(row) for row in self._session.scalars(statement.order_by(col(JobRow.id).desc()).limit(limit + 1))
        ]

    def lock(self, project: ProjectId, job: str) -> Job | None:
        """Return a job, locked until the transaction ends."""
        statement = select(JobRow).where(col(JobRow.project_id) == project, col(JobRow.id) == job).with_for_update()
        row = self._session.scalars(statement.execution_options(populate_existing=True)).one_or_none()
        return job_of(row) if row else None

    def request_cancel(self, job: Job, now: datetime) -> None:
        """Note that the owner wants a locked job to end; the first request's time stands."""
        statement = update(JobRow).where(col(JobRow.id) == job.id, col(JobRow.cancel_requested_at).is_(None))
        self._session.execute(statement.values(cancel_requested_at=now))

    def move(self, job: Job, after: JobState, reason: Reason | None, message: str, now: datetime) -> None:
        """Change a locked job's state and append a line to its history.

        Raises:
            IllegalMove: the state table forbids it.
        """
        check_job_move(job.state, after)
        if after is job.state:
            return
        write_move(self._session, job.id, after, reason, message=message, now=now)
        if after in TERMINAL:
            self._session.execute(insert(CertificateRow), [{"job_id": job.id, "created_at": now}])

    def resume(self, job: Job, wait_until: datetime | None, now: datetime) -> None:
        """Let a locked fenced job wait for another attempt, as its owner chose.

        Raises:
            IllegalMove: it is not fenced.
        """
        statement = update(JobRow).where(col(JobRow.id) == job.id)
        self._session.execute(
            statement.values(resumed_after=col(JobRow.attempts_made), wait_until=wait_until, not_before=None)
        )
        self.move(job, JobState.RECOVERING, None, "its owner chose to go on; judged anew", now)

    def region_jobs(self, jobs: Sequence[JobId]) -> dict[JobId, Job]:
        """Return jobs by id, whoever owns them: for the worker API, which was told the ids by the store."""
        if not jobs:
            return {}
        statement = select(JobRow).where(col(JobRow.id).in_(list(jobs)))
        return {JobId(row.id): job_of(row) for row in self._session.scalars(statement)}


def write_move(
    session: Session, job: JobId, after: JobState, reason: Reason | None, *, message: str, now: datetime
) -> None:
    """Write a checked move of a locked job: state, reason and a line of history."""
    line = {"state": after.value, "reason": reason, "message": message, "at": now.isoformat()}
    history = JobRow.metadata.tables["job"].c.history
    session.execute(
        update(JobRow)
        .where(col(JobRow.id) == job)
        .values(
            state=after.value,
            reason=reason.value if reason else None,
            message=message,
            history=history.concat([line]),
            version=col(JobRow.version) + 1,
            finished_at=now if after in TERMINAL else None,
        )
    )


def job_of(row: JobRow) -> Job:
    """Return the domain object of a row."""
    return Job(
        id=JobId(row.id),
        organisation=OrganisationId(row.organisation_id),
        project=ProjectId(row.project_id),
        spec=spec_of(row.spec),
        effective=row.effective,
        state=JobState(row.state),
        reason=Reason(row.reason) if row.reason else None,
        message=row.message,
        created_at=row.created_at,
        version=row.version,
        submitted_by=row.submitted_by,
        history=tuple(_change(line) for line in row.history),
        why=tuple(row.why),
        finished_at=row.finished_at,
        is_cancel_requested=row.cancel_requested_at is not None,
    )


def _change(line: Mapping[str, str]) -> StatusChange:
    reason = Reason(line["reason"]) if line["reason"] else None
    return StatusChange(line["state"], reason, line["message"], datetime.fromisoformat(line["at"]))


def _row(new: NewJob) -> dict[str, object]:
    job = new.job
    return {
        "id": job.id,
        "organisation_id": job.organisation,
        "project_id": job.project,
        "name": job.spec.name,
        "kind": job.spec.kind.value,
        "spec": spec_document(job.spec),
        "effective": dict(job.effective),
        "policy_digest": new.policy_digest,
        "klass": new.klass,
        "state": job.state.value,
        "reason": None,
        "message": job.message,
        "history": [{"state": job.state.value, "reason": None, "message": "", "at": job.created_at.isoformat()}],
        "why": [],
        "priority": job.spec.priority,
        "version": job.version,
        "attempts_made": 0,
        "resumed_after": 0,
        "created_at": job.created_at,
        "submitted_by": job.submitted_by,
        "wait_until": new.wait_until,
    }
