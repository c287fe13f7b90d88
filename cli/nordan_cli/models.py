"""The parts of REST answers that commands look into. Narrow on purpose: a server may send more (`decode`).

`-o json` and `-o yaml` print what the server sent, never these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Me:
    """Who the key belongs to."""

    organisation: str = ""
    role: str = ""
    project: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at running a job."""

    id: str
    number: int
    state: str
    result: str | None = None
    region: str = ""
    pool: str = ""
    nodes: tuple[str, ...] = ()
    reason: str | None = None
    message: str = ""
    exit_code: int | None = None
    signal: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    cost_eur: float | None = None

    @property
    def has_ended(self) -> bool:
        """Tell whether nothing more will come of it."""
        return self.state == "ended"


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a job's history."""

    state: str
    at: datetime
    reason: str | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Why:
    """One counted reason why a job waits."""

    code: str
    count: int = 1
    facet: str = ""
    want: str = ""
    have: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for a job, and which layers asked for it."""

    effective: Mapping[str, object] = field(default_factory=dict)
    stated_by: Mapping[str, object] = field(default_factory=dict)
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One facet that stands against something, with what was wanted and what was found."""

    facet: str
    want: str = ""
    have: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Fence:
    """What became unlawful about a job's last attempt."""

    attempt: int
    pool: str
    region: str
    at: datetime
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """A job as its owner sees it."""

    id: str
    name: str
    state: str
    created_at: datetime
    kind: str = "batch"
    gpus: int = 0
    nodes: int = 1
    project: str = ""
    project_name: str = ""
    reason: str | None = None
    message: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    spec: Mapping[str, object] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    attempts: tuple[Attempt, ...] = ()
    status_history: tuple[Change, ...] = ()
    why: tuple[Why, ...] = ()
    fence: Fence | None = None
    cost_eur: float | None = None

    @property
    def last_attempt(self) -> Attempt | None:
        """Return the newest try, if there was any."""
        return max(self.attempts, key=lambda one: one.number, default=None)


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that was just accepted."""

    id: str


@dataclass(frozen=True, slots=True)
class PlanRefusal:
    """Why a pool was not taken."""

    code: str
    facet: str = ""
    want: str = ""
    have: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class PlanRow:
    """What the plan says about one pool."""

    region: str
    pool: str
    allowed: bool
    refusals: tuple[PlanRefusal, ...] = ()
    derogations: tuple[str, ...] = ()
    """Those without which the pool would be refused."""
    holds_inputs: bool = True
    fits_now: bool = False
    price_eur_per_gpu_h: float | None = None
    estimated_start: datetime | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a job could run, and why not elsewhere."""

    startable: bool
    regions: tuple[PlanRow, ...] = ()
    snapshot_age_s: float = 0.0
    never: Mapping[str, object] | None = None
    """Why submission would refuse the job for good: `code`, `message`, and `conflict` and `relaxation` if known."""

    @property
    def can_wait(self) -> bool:
        """Tell whether a lawful pool holds the data, so that waiting makes sense."""
        return self.never is None and any(row.allowed and row.holds_inputs for row in self.regions)


@dataclass(frozen=True, slots=True)
class Access:
    """Where content is, and the right to it until `expires_at`."""

    url: str
    token: str
    expires_at: datetime | None = None
    upload_id: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a committed upload became."""

    artifact_id: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a manifest."""

    path: str
    digest: str
    size_bytes: int
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest as a gateway answers it."""

    files: tuple[StoredFile, ...] = ()


@dataclass(frozen=True, slots=True)
class PlaceFence:
    """That bytes in a region became unlawful there."""

    region: str
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True)
class Artifact:
    """A version of a dataset, a checkpoint or an output."""

    id: str
    digest: str
    kind: str = ""
    name: str = ""
    size_bytes: int | None = None
    regions: tuple[str, ...] = ()
    fences: tuple[PlaceFence, ...] = ()
    created_at: datetime | None = None

    @property
    def places(self) -> tuple[str, ...]:
        """Return where its bytes lie, each with a word where nobody may read them any more."""
        closed = {one.region for one in self.fences}
        return tuple(f"{one} (fenced)" if one in closed else one for one in self.regions)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled data and the versions of it."""

    id: str
    name: str
    policy: Mapping[str, object] = field(default_factory=dict)
    versions: tuple[Artifact, ...] = ()
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """A data centre."""

    code: str
    territory: str = ""
    operator: str = ""
    executor: str = ""
    seen_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """Homogeneous GPU nodes of one provider in one region."""

    name: str
    region: str
    provider: str = ""
    accelerator: str = ""
    gpus_per_node: int = 0
    nodes: int = 0
    gpus_free: int | None = None
    price_eur_per_gpu_h: float | None = None
    has_made_up_gpus: bool = False


@dataclass(frozen=True, slots=True)
class Foreign:
    """What pods that are not Nordan's use of a node."""

    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """One machine."""

    name: str
    pool: str
    state: str
    gpus: int = 0
    gpus_free: int | None = None
    reason: str = ""
    foreign: Foreign = field(default_factory=Foreign)


@dataclass(frozen=True, slots=True)
class Held:
    """What an operator said about a node or a pool, and how many attempts run there."""

    pool: str
    node: str | None = None
    hold: str = ""
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What one attempt used, at the price that was frozen when it started."""

    attempt: str = ""
    number: int = 0
    region: str = ""
    pool: str = ""
    gpus: int = 0
    gpu_seconds: float = 0.0
    running_s: float = 0.0
    price_eur_per_gpu_h: float | None = None
    cost_eur: float = 0.0
    energy_wh: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a job used."""

    items: tuple[UsageRow, ...] = ()
    cost_eur: float = 0.0


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A job's certificate; the envelope is absent while it is `pending`."""

    state: str
    envelope: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """Public keys in PEM by their ids: what verifying takes besides the atlas."""

    grant_keys: Mapping[str, str]
    certificate_keys: Mapping[str, str]
    successions: tuple[Mapping[str, object], ...] = ()
    """Signed statements by which the keys followed each other; none from an older server."""


@dataclass(frozen=True, slots=True)
class Named:
    """Anything with a name: a project, an organisation."""

    name: str
    id: str = ""
    organisation: str = ""
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one world document."""

    kind: str
    name: str
    action: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act in the log."""

    index: int | None = None
    """Its place in the tree; None until it is sealed."""
    at: datetime | None = None
    act: str = ""
    subject: str = ""
    actor: str = ""


@dataclass(frozen=True, slots=True)
class DerogationText:
    """The part of a derogation's text that tables show."""

    facet: str
    subjects: tuple[str, ...]
    not_after: datetime
    max_uses: int = 1


@dataclass(frozen=True, slots=True)
class Approved:
    """One member's word."""

    by: str


@dataclass(frozen=True, slots=True)
class Derogation:
    """Leave to fall short of one facet."""

    id: str
    state: str
    digest: str
    text: DerogationText
    approvals: tuple[Approved, ...] = ()
    uses: int = 0


@dataclass(frozen=True, slots=True)
class DeclassificationText:
    """The part of a declassification's text that tables show."""

    artifact: str


@dataclass(frozen=True, slots=True)
class Declassification:
    """A wider policy for what a job made."""

    id: str
    state: str
    digest: str
    text: DeclassificationText
    approvals: tuple[Approved, ...] = ()


@dataclass(frozen=True, slots=True)
class Widened:
    """A declassification on a line of descent."""

    id: str
    state: str


@dataclass(frozen=True, slots=True)
class Kin:
    """An artifact on a line of descent."""

    id: str
    kind: str
    name: str
    depth: int
    policy_digest: str
    job: str | None = None
    regions: tuple[str, ...] = ()
    declassifications: tuple[Widened, ...] = ()


@dataclass(frozen=True, slots=True)
class FacetRefused:
    """A facet that a pool does not meet."""

    facet: str


@dataclass(frozen=True, slots=True)
class SaidOfPool:
    """The judge's word on a pool."""

    allowed: bool
    refusals: tuple[FacetRefused, ...] = ()


@dataclass(frozen=True, slots=True)
class PoolWord:
    """Whether data may be computed on in a pool, and rest there."""

    pool: str
    region: str
    run: SaidOfPool
    rest: SaidOfPool


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """What a floor or a dataset said from an instant on."""

    kind: str
    name: str
    number: int
    digest: str
    author: str
    at: datetime
