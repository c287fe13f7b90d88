"""What a tenant asks for: the frozen form of a job document, after every check of form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from nordan_core.domain.contents import EMPTY, Manifest
from nordan_core.domain.ids import JobId, OrganisationId, ProjectId
from nordan_core.domain.money import Price
from nordan_core.domain.reasons import RETRIED_BY_DEFAULT, Reason
from nordan_core.domain.states import JobState


class JobKind(StrEnum):
    """What kind of work a job is."""

    TRAINING = "training"
    INFERENCE = "inference"
    BATCH = "batch"


class Objective(StrEnum):
    """What the placement should favour among lawful pools that fit."""

    START = "start"
    COST = "cost"


@dataclass(frozen=True, slots=True)
class Resources:
    """What each node of the gang must give."""

    gpus: int
    accelerators: tuple[str, ...] = ()
    """Models that will do; empty means any."""
    cpus: int = 1
    memory_mib: int = 1024


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and after which ends a new attempt is made."""

    limit: int = 3
    on: frozenset[Reason] = RETRIED_BY_DEFAULT


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A valid job document. `policy` stays a document here; the residency package reads it."""

    name: str
    kind: JobKind
    command: tuple[str, ...]
    resources: Resources
    image: str = ""
    nodes: int = 1
    env: tuple[tuple[str, str], ...] = ()
    files: Manifest = EMPTY
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    policy: Mapping[str, object] = field(default_factory=dict)
    objective: Objective = Objective.START
    max_price: Price | None = None
    max_duration_s: float | None = None
    max_wait_s: float | None = None
    grace_s: float = 10.0
    retry: Retry = field(default_factory=Retry)
    is_preemptible: bool = False
    priority: int = 0
    port: int | None = None
    readiness_path: str = "/"

    @property
    def total_gpus(self) -> int:
        """Return the GPUs of the whole gang."""
        return self.nodes * self.resources.gpus

    @property
    def has_content(self) -> bool:
        """Tell whether the job carries data of a tenant: an input or a file."""
        return bool(self.inputs or self.files.files)


@dataclass(frozen=True, slots=True)
class StatusChange:
    """One line of a job's history."""

    state: str
    reason: Reason | None
    message: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Job:
    """A job as stored: what was asked, what holds for it, where it stands."""

    id: JobId
    organisation: OrganisationId
    project: ProjectId
    spec: JobSpec
    effective: Mapping[str, object]
    """The effective policy as a document (`nordan_core.residency.layers.effective_document`)."""
    state: JobState
    reason: Reason | None
    message: str
    created_at: datetime
    version: int
    submitted_by: str
    history: tuple[StatusChange, ...] = ()
    why: tuple[Mapping[str, object], ...] = ()
    finished_at: datetime | None = None
    is_cancel_requested: bool = False
