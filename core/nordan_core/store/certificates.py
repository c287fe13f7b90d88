"""Certificates: a pending row when a job ends, the signed envelope once its audit entries are sealed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text
from sqlmodel import Session, col

from nordan_core.domain.attempts import Attempt
from nordan_core.domain.ids import ArtifactId, AttemptId, JobId
from nordan_core.store.attempts import attempt_of
from nordan_core.store.tables.jobs import AttemptRow

_READY = text(
    """
    select c.job_id from certificate c
    where c.envelope is null and c.job_id <> all(:skip)
      and not exists (select 1 from audit_entry e where e.subject = c.job_id and e.leaf_index is null)
    order by c.job_id limit :limit for update of c skip locked
    """
)
_ISSUE = text(
    """
    update certificate c set envelope = v.envelope, issued_at = :at
    from jsonb_to_recordset(cast(:rows as jsonb)) as v(job text, envelope jsonb)
    where c.job_id = v.job and c.envelope is null
    """
)
_OUTPUTS = text("select id from artifact where job_id = any(:jobs) and kind = 'output' order by created_at, id")
_LIVES = text(
    "select a.id, g.ttl_s from attempt a join attempt_grant g on g.attempt_id = a.id where a.job_id = any(:jobs)"
)
_GET = text("select job_id, created_at, issued_at, envelope, redacted, redaction from certificate where job_id = :job")
_ASK = text(
    "update certificate set redaction = 'asked' where job_id = :job and envelope is not null and redaction is null"
)
_ASKED = text(
    "select job_id, envelope from certificate where redaction = 'asked' order by job_id limit :limit"
    " for update skip locked"
)
_REDACT = text(
    "update certificate set redacted = cast(:envelope as jsonb),"
    " redaction = case when cast(:envelope as jsonb) is null then 'impossible' else 'made' end where job_id = :job"
)


@dataclass(frozen=True, slots=True)
class StoredCertificate:
    """A job's certificate; `envelope` is None while it is pending."""

    job: JobId
    created_at: datetime
    issued_at: datetime | None
    envelope: Mapping[str, object] | None
    redacted: Mapping[str, object] | None
    """The same statement for third parties; None until somebody has asked for it and it was signed."""
    has_no_redaction: bool = False
    """It was asked for, and this certificate allows none: its log is of an older version."""


class Certificates:
    """Certificates by job."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def ready(self, limit: int, skip: Collection[JobId] = ()) -> tuple[JobId, ...]:
        """Take jobs whose certificate is pending and whose audit entries are all sealed, oldest first."""
        rows = self._session.execute(_READY, {"limit": limit, "skip": list(skip)})
        return tuple(JobId(row.job_id) for row in rows)

    def attempts(self, jobs: Collection[JobId]) -> dict[JobId, list[Attempt]]:
        """Return the attempts of these jobs, each job's in order of number."""
        wanted = select(AttemptRow).where(col(AttemptRow.job_id).in_(list(jobs)))
        found: dict[JobId, list[Attempt]] = {job: [] for job in jobs}
        for row in self._session.scalars(wanted.order_by(col(AttemptRow.number))):
            found[JobId(row.job_id)].append(attempt_of(row))
        return found

    def outputs(self, jobs: Collection[JobId]) -> list[ArtifactId]:
        """Return the outputs of these jobs, oldest first."""
        return [ArtifactId(row.id) for row in self._session.execute(_OUTPUTS, {"jobs": list(jobs)})]

    def grant_lives(self, jobs: Collection[JobId]) -> dict[AttemptId, float]:
        """Return, for each attempt of these jobs, the seconds that its grant lived without renewal."""
        rows = self._session.execute(_LIVES, {"jobs": list(jobs)})
        return {AttemptId(row.id): row.ttl_s for row in rows}

    def issue(self, envelopes: Mapping[JobId, Mapping[str, object]], at: datetime) -> None:
        """Store signed envelopes; one that is there already stays."""
        rows = [{"job": job, "envelope": envelope} for job, envelope in envelopes.items()]
        self._session.execute(_ISSUE, {"rows": json.dumps(rows), "at": at})

    def ask_redacted(self, job: JobId) -> None:
        """Let the sealer make what may be shown of a certificate to third parties; asking again changes nothing."""
        self._session.execute(_ASK, {"job": job})

    def asked(self, limit: int) -> dict[JobId, Mapping[str, object]]:
        """Take issued certificates of which a redacted one was asked for, by job."""
        return {JobId(row.job_id): row.envelope for row in self._session.execute(_ASKED, {"limit": limit})}

    def redact(self, envelopes: Mapping[JobId, Mapping[str, object] | None]) -> None:
        """Store redacted certificates; None where there can be none."""
        for job, envelope in envelopes.items():
            values = {"job": job, "envelope": None if envelope is None else json.dumps(envelope)}
            self._session.execute(_REDACT, values)

    def envelope(self, job: JobId) -> Mapping[str, object] | None:
        """Return a job's signed envelope; None while it is pending or before the job has ended."""
        found = self.get(job)
        return None if found is None else found.envelope

    def get(self, job: JobId) -> StoredCertificate | None:
        """Return a job's certificate, pending or issued; None when the job has not ended."""
        row = self._session.execute(_GET, {"job": job}).first()
        if row is None:
            return None
        return StoredCertificate(
            JobId(row.job_id),
            row.created_at,
            row.issued_at,
            row.envelope,
            row.redacted,
            has_no_redaction=row.redaction == "impossible",
        )
