"""What the scheduler plans with: waiting jobs, pools and nodes as they stand, the judge's word, and decisions.

`store.scheduling` makes these, the engine takes them, `store.placing` writes what was decided. Nothing here computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from nordan_core.domain.ids import ArtifactId, GrantId, JobId, NodeName, OrganisationId, PoolName, ProjectId, RegionCode
from nordan_core.domain.jobs import Objective, Resources
from nordan_core.domain.money import Price
from nordan_core.domain.reasons import Reason
from nordan_core.domain.refusals import Refusal


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job that waits for a place."""

    id: JobId
    organisation: OrganisationId
    project: ProjectId
    version: int
    """The decision holds for this version only; apply drops it when the job has changed since."""
    policy_digest: str
    """The policy that it was accepted under."""
    resources: Resources
    nodes: int
    created_at: datetime
    priority: int = 0
    objective: Objective = Objective.START
    max_price: Price | None = None
    data_regions: frozenset[RegionCode] | None = None
    """Regions that hold all inputs and, to resume, the last checkpoint; None: the job needs no data."""
    resume_from: ArtifactId | None = None
    floors_digest: str = ""
    """Today's policy, where a floor has changed since the job was accepted: both must allow."""
    derogations: tuple[str, ...] = ()
    """Keys of the derogations that cover it and are not used up, as the law at hand knows them."""

    @property
    def policies_key(self) -> str:
        """Return what names the policies that bind it, derogations left aside."""
        return f"{self.policy_digest}+{self.floors_digest}" if self.floors_digest else self.policy_digest

    @property
    def residency_key(self) -> str:
        """Return the key of the snapshot's `residency`."""
        return "/".join((self.policies_key, *self.derogations))


@dataclass(frozen=True, slots=True)
class PoolState:
    """A pool as the planner sees it."""

    name: PoolName
    region: RegionCode
    provider: str
    accelerator: str
    gpus_per_node: int
    price: Price
    facts_version: int = 1
    executor: str = "local"
    has_made_up_gpus: bool = True
    is_single: bool = False
    """Keeps no tenants apart: it serves one organisation and no second one."""
    is_idle: bool = True
    """Nobody holds a GPU of it, whatever its nodes' state."""
    tenant: OrganisationId | None = None
    """The one organisation that it serves now."""
    is_answering: bool = True
    """Its region has joined and was heard of lately."""


@dataclass(frozen=True, slots=True)
class NodeFree:
    """What is free on a node that takes work."""

    name: NodeName
    pool: PoolName
    free_mask: int
    """A bit per GPU that nobody holds."""
    free_cpus: int
    free_memory_mib: int
    version: int = 1


@dataclass(frozen=True, slots=True)
class Derogated:
    """What makes a pool lawful that would not be so by the policy alone."""

    policy_digest: str
    """Of the policy that the job was accepted under, with the derogations."""
    ids: tuple[str, ...]
    """The derogations; an attempt that rests on them uses each once."""
    policies: tuple[str, ...] = ()
    """Digests of all policies that must allow, each with the derogations."""


@dataclass(frozen=True, slots=True)
class Residency:
    """What the judge says about the policies of a job: which pools it lets through, and why not the others."""

    allowed: frozenset[PoolName]
    refusals: Mapping[PoolName, tuple[Refusal, ...]] = field(default_factory=dict)
    is_exclusive: bool = False
    """The policy wants the pool for its organisation alone."""
    is_sensitive: bool = False
    """One of the policies is of a class whose grants are short."""
    good_until: datetime | None = None
    """The earliest instant at which the answer may change by itself; from then on it counts for nothing."""
    epoch: int = 0
    atlas: str = ""
    """Digest of the atlas that it was said under."""
    facts: Mapping[PoolName, str] = field(default_factory=dict)
    """Digest of each pool's facts that it was said about."""
    derogated: Mapping[PoolName, Derogated] = field(default_factory=dict)
    """Those of the allowed pools that only derogations make lawful."""
    policies: tuple[str, ...] = ()
    """Digests of the policies that must allow."""
    control_plane: str = ""
    """Digest of the control plane's facts."""


@dataclass(frozen=True, slots=True)
class RankChoice:
    """Where one process of a gang goes."""

    rank: int
    node: NodeName
    gpu_mask: int
    node_version: int


@dataclass(frozen=True, slots=True)
class Placement:
    """A pool and GPUs on distinct nodes of it, in order of rank."""

    pool: PoolState
    ranks: tuple[RankChoice, ...]
    tenant: OrganisationId | None = None
    """The organisation that the pool serves alone once this is applied."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Put this job there; apply does it whole or drops it whole."""

    job: QueuedJob
    placement: Placement


@dataclass(frozen=True, slots=True)
class Unplaced:
    """A job that stays in the queue, and why: one refusal per pool, merged and counted."""

    job: JobId
    version: int
    reason: Reason
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """A decision that was written."""

    job: JobId
    grant: GrantId
    region: RegionCode


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a chunk of decisions."""

    placed: tuple[Placed, ...] = ()
    dropped: tuple[JobId, ...] = ()
    """Their rows had changed; they are planned again."""
