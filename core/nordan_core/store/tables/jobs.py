"""Jobs, attempts, grants, leases and the outbox: the life of a job."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from nordan_core.store.tables.columns import Document, document, instant, optional_document, optional_instant


class JobRow(SQLModel, table=True):
    """What a tenant asked for, what holds for it and where it stands."""

    __tablename__ = "job"
    __table_args__ = (
        Index("job_waiting", "priority", "created_at", postgresql_where=text("state in ('queued', 'recovering')")),
        Index("job_by_project", "project_id", "id"),
    )
    id: str = Field(primary_key=True)
    organisation_id: str = Field(foreign_key="organisation.id")
    project_id: str = Field(foreign_key="project.id")
    name: str
    kind: str
    spec: Document = document()
    effective: Document = document()
    policy_digest: str
    klass: str
    state: str = Field(index=True)
    reason: str | None = None
    message: str = ""
    history: list[Any] = document(list)
    why: list[Any] = document(list)
    priority: int = 0
    version: int = 1
    attempts_made: int = 0
    created_at: datetime = instant()
    submitted_by: str
    wait_until: datetime | None = optional_instant()
    """`max_wait` after it began to wait, at submission or after a try; past it a waiting job fails."""
    not_before: datetime | None = optional_instant()
    """A retry waits until then: the old grant must have run out, or the back-off passed."""
    finished_at: datetime | None = optional_instant()
    cancel_requested_at: datetime | None = optional_instant()
    resumed_after: int = 0
    """Number of the fenced attempt after which its owner chose to go on."""


class JobInputRow(SQLModel, table=True):
    """Which artifacts a job reads, pinned at submission. The scheduler asks where their bytes lie."""

    __tablename__ = "job_input"
    job_id: str = Field(primary_key=True, foreign_key="job.id")
    name: str = Field(primary_key=True)
    artifact_id: str = Field(foreign_key="artifact.id", index=True)


class AttemptRow(SQLModel, table=True):
    """One try on a concrete placement. `fence` rises with every attempt of a job."""

    __tablename__ = "attempt"
    __table_args__ = (
        UniqueConstraint("job_id", "number"),
        Index("attempt_live", "region", postgresql_where=text("state <> 'ended'")),
        Index("attempt_fenced", "region", postgresql_where=text("stop_reason = 'fenced'")),
        Index("attempt_live_by_job", "job_id", unique=True, postgresql_where=text("state <> 'ended'")),
    )
    id: str = Field(primary_key=True)
    job_id: str = Field(foreign_key="job.id")
    organisation_id: str
    number: int
    fence: int
    pool: str = Field(foreign_key="pool.name")
    region: str
    placement: list[Any] = document(list)
    """[{rank, node, gpu_mask, gpus}] in order of rank."""
    cpus_per_rank: int
    memory_mib_per_rank: int
    state: str
    result: str | None = None
    reason: str | None = None
    message: str = ""
    exit_code: int | None = None
    resume_from: str | None = None
    """Id of the checkpoint artifact; no foreign key, since artifacts point at attempts already."""
    seq: int = Field(default=0, sa_type=BigInteger)
    """The last report that was stored; older ones change nothing."""
    is_ready: bool = False
    stop_reason: str | None = None
    """Set when the control plane wants it to stop; sent down at each sync until it ended."""
    stop_grace_s: float = 0.0
    verdicts: Document = document(dict)
    """What the judge said at apply and at redeem, with the epoch, facts and atlas it was said under.

    At apply also what executes in the place, and whether its GPUs are made up.
    """
    created_at: datetime = instant()
    redeemed_at: datetime | None = optional_instant()
    running_at: datetime | None = optional_instant()
    ended_at: datetime | None = optional_instant()
    usage: Document = document(dict)


class GrantRow(SQLModel, table=True):
    """The permit of one attempt. At most one redemption lives; `alive_until` is when the shim stops by itself."""

    __tablename__ = "attempt_grant"
    __table_args__ = (Index("grant_unredeemed", "created_at", postgresql_where=text("state = 'issued'")),)
    id: str = Field(primary_key=True)
    attempt_id: str = Field(foreign_key="attempt.id", unique=True)
    region: str
    fence: int
    state: str
    """issued, redeemed, revoked or closed."""
    redemption_id: str | None = None
    supervisor_id: str | None = None
    ttl_s: float
    created_at: datetime = instant()
    redeemed_at: datetime | None = optional_instant()
    alive_until: datetime | None = optional_instant(index=True)


class LeaseRow(SQLModel, table=True):
    """The commercial side of an attempt: the price frozen at apply, the bill at the end."""

    __tablename__ = "lease"
    attempt_id: str = Field(primary_key=True, foreign_key="attempt.id")
    organisation_id: str = Field(index=True)
    project_id: str
    provider: str
    price_micro_eur_per_gpu_s: int
    """The same, rounded, for the version before this one; a contract step drops it."""
    price_micro_eur_per_gpu_h: int | None = Field(default=None, sa_type=BigInteger)
    """Absent where the version before this one wrote the lease."""
    gpus: int
    opened_at: datetime = instant()
    closed_at: datetime | None = optional_instant()
    close_reason: str | None = None
    gpu_seconds: float = 0.0
    cost_micro_eur: int = Field(default=0, sa_type=BigInteger)
    energy_wh: float | None = None


class OutboxRow(SQLModel, table=True):
    """A nudge that the relay still has to send. Read by state with `skip locked`, deleted when the broker took it."""

    __tablename__ = "outbox"
    __table_args__ = (Index("outbox_due", "region", "not_before"),)
    id: int | None = Field(default=None, primary_key=True, sa_type=BigInteger)
    grant_id: str = Field(foreign_key="attempt_grant.id")
    region: str
    not_before: datetime = instant()


class CertificateRow(SQLModel, table=True):
    """A finished job's certificate; `envelope` is absent until its audit entries are sealed."""

    __tablename__ = "certificate"
    __table_args__ = (
        Index("certificate_pending", "job_id", postgresql_where=text("envelope is null")),
        Index("certificate_redaction_asked", "job_id", postgresql_where=text("redaction = 'asked'")),
    )
    job_id: str = Field(primary_key=True, foreign_key="job.id")
    created_at: datetime = instant()
    issued_at: datetime | None = optional_instant()
    envelope: Document | None = optional_document()
    redaction: str | None = None
    """`asked`, then `made` or `impossible`: what was made for third parties, on request."""
    redacted: Document | None = optional_document()
