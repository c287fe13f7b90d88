"""Messages between the control plane and a region: what crosses the worker API, and nothing more.

Used by `nordan_api.workers` on one side and by supervisor and gateway on the other. Unknown fields are refused on
the way up and ignored on the way down, so that a region may be one version behind.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from nordan_core.domain.contents import ArtifactKind, FileEntry, Manifest, is_safe_path
from nordan_core.domain.ids import NodeName, PoolName
from nordan_core.domain.jobs import JobKind
from nordan_core.domain.places import Amounts, NodeReport, NodeState
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptResult, AttemptState

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
#: What the store's columns hold; a region is not trusted with other numbers.
Int32 = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Count = Annotated[int, Field(ge=0, lt=2**31)]
Amount = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
"""Seconds or watt-hours of one attempt; a thousand millions is beyond any."""
Handle = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00]*$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Coordinate = Annotated[str, StringConstraints(max_length=63, pattern=r"^[A-Za-z0-9._-]*$")]
"""The value of a label that says where in a data centre a node stands."""
Nonce = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
"""Random, new with each request: the renewal carries it back, so that an old answer cannot be shown again."""
#: Files in one manifest; an archive serves better beyond it.
MAX_FILES = 20_000
#: Nodes of one cluster.
MAX_NODES = 20_000


class Up(BaseModel):
    """A message from a region; strict, since a region is not trusted."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Down(BaseModel):
    """A message to a region; tolerant of newer fields."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class FileMessage(BaseModel):
    """One file of a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: Annotated[str, Field(min_length=1, max_length=1024)]
    digest: Digest
    size_bytes: Annotated[int, Field(ge=0, le=1 << 48)]
    mode: Annotated[int, Field(ge=0, le=0o777)] = 0o644


class ManifestMessage(BaseModel):
    """Files of a dataset version, of a job, of a checkpoint or of an output."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    files: Annotated[tuple[FileMessage, ...], Field(max_length=MAX_FILES)] = ()

    @classmethod
    def of(cls, manifest: Manifest) -> ManifestMessage:
        """Wrap a manifest for the wire."""
        return cls(
            files=tuple(
                FileMessage(path=entry.path, digest=entry.digest, size_bytes=entry.size_bytes, mode=entry.mode)
                for entry in manifest.files
            )
        )

    def to_domain(self) -> Manifest:
        """Return the manifest; raises ValueError for a path that would leave its folder or stands twice."""
        paths = [entry.path for entry in self.files]
        for path in paths:
            if not is_safe_path(path):
                raise ValueError(f"{path!r} is not a relative path inside the folder")
        if len(set(paths)) != len(paths):
            raise ValueError("a path stands twice in the manifest")
        return Manifest.of(FileEntry(one.path, one.digest, one.size_bytes, one.mode) for one in self.files)


class JoinRequest(Up):
    """Where a region's own parts are reached; the broker URL may hold a password and never leaves the control plane."""

    gateway_url: Annotated[
        str, StringConstraints(max_length=255, pattern=r"^https?://[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9._~-]+)*$")
    ]
    broker_url: Annotated[str, StringConstraints(max_length=1024, pattern=r"^rediss?://[^\s\x00]+$")]
    offers_tenancy: Annotated[tuple[Literal["shared", "dedicated", "single"], ...], Field(min_length=1)] = (
        "shared",
        "dedicated",
        "single",
    )
    """What the executor can really keep apart; one that runs without root offers `single` only."""


class JoinBundle(Down):
    """What a region needs to know of its control plane; holds a secret: written 0600."""

    api_url: str
    region: str
    credential: str
    grant_keys: dict[str, str]
    """Public keys (PEM) that grants, renewals and access tokens are signed with, by key id."""
    territory: str = ""
    """Where the region is; pods of its jobs ask for nodes that say the same."""


class RedeemItem(Up):
    """One grant and the random id that the supervisor wrote to disk before it asked."""

    grant_id: Handle
    redemption_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


class RedeemRequest(Up):
    """Grants to redeem; each item stands alone."""

    supervisor_id: Handle
    nonce: Nonce
    items: Annotated[tuple[RedeemItem, ...], Field(max_length=200)]


class RedeemOutcome(StrEnum):
    """`gone`: forget it, the attempt is over or never was. `refused`: another redemption lives, or law forbids."""

    GRANTED = "granted"
    REFUSED = "refused"
    GONE = "gone"


class RedeemCode(StrEnum):
    """Why a grant is not given: the closed list; `docs/reference/rest.md` explains each."""

    UNKNOWN_GRANT = "unknown_grant"
    """Forged, or another region's: a region cannot tell the two apart, so it learns nothing of another's work."""
    ATTEMPT_OVER = "attempt_over"
    GRANT_EXPIRED = "grant_expired"
    ALREADY_REDEEMED = "already_redeemed"
    STOPPING = "stopping"
    REJECTED_BY_POLICY = "rejected_by_policy"


class InputOrder(Down):
    """An input to stage read-only at NORDAN_INPUT_DIR/<name>."""

    name: str
    artifact_id: str
    manifest: ManifestMessage


class RankOrder(Down):
    """One process of the gang and the devices that it may see."""

    rank: int
    node: str
    gpu_indices: tuple[int, ...]


class LaunchOrder(Down):
    """Everything that an executor needs to run one attempt; given only against a live redemption."""

    attempt_id: str
    job_id: str
    grant_id: str = ""
    """The grant that permits it; an executor writes it beside what it starts."""
    number: int
    fence: int
    kind: JobKind
    organisation_handle: str
    """Opaque; a pool of `tenancy: single` serves one handle."""
    pool: str
    has_made_up_gpus: bool
    accelerator: str = ""
    """The model of the pool's GPUs; a machine with several counts each model's from 0."""
    gpu_memory_mib: int = 0
    is_only_real_pool: bool = False
    """Whether no other pool of the region has real GPUs; only then may they be of another model than it says."""
    rival_memories_mib: tuple[int, ...] = ()
    """The memory of the GPUs of the region's other real pools of this model: a GPU is in the pool nearest to it."""
    command: tuple[str, ...]
    env: dict[str, str]
    image: str = ""
    ranks: tuple[RankOrder, ...]
    gpus_per_rank: int
    cpus: int
    memory_mib: int
    files: ManifestMessage = ManifestMessage()
    inputs: tuple[InputOrder, ...] = ()
    outputs: tuple[str, ...] = ()
    resume_from: ManifestMessage | None = None
    ttl_s: float
    """First life of the deadline, as the signed renewal beside the order says it."""
    max_duration_s: float | None = None
    grace_s: float = 10.0
    port: int | None = None
    readiness_path: str = "/"
    klass: str = "internal"


class RedeemAnswer(Down):
    """The answer for one grant; `order` and `grant` (a signed token) only when granted."""

    grant_id: str
    outcome: RedeemOutcome
    code: str = ""
    """A `RedeemCode` when not granted; a text, since a newer control plane may know more of them."""
    message: str = ""
    grant: str = ""
    order: LaunchOrder | None = None


class RedeemResponse(Down):
    """Answers in the order of the request."""

    items: tuple[RedeemAnswer, ...]
    renewal: str
    """Signed token over (attempt, fence, ttl_s) of what was granted: the first life of each, and no longer one."""
    successions: tuple[dict[str, object], ...] = ()
    """Signed statements by which grant keys followed each other: whoever knows one key knows those after it."""


class ExitReport(Up):
    """How one rank ended, from its shim's record."""

    rank: Count
    exit_code: Int32 | None
    signal: Int32 | None
    user_s: Amount = 0.0
    system_s: Amount = 0.0
    max_rss_kib: Annotated[int, Field(ge=0, le=1 << 48)] = 0
    oom: bool = False
    at_deadline: bool = False
    """The shim stopped the rank itself, because nobody extended its deadline."""


class OutputReport(Up):
    """An output folder, already in the region's store."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[^\x00]+$")]
    manifest: ManifestMessage


class AttemptReport(Up):
    """One step of one attempt. Idempotent: a fence and a `seq` not above the last stored one change nothing."""

    attempt_id: Handle
    fence: Int32
    seq: Annotated[int, Field(ge=1, lt=2**62)]
    state: AttemptState
    result: AttemptResult | None = None
    reason: Reason | None = None
    message: Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")] = ""
    """For the owner only; the supervisor never puts the program's own output here."""
    ranks: tuple[ExitReport, ...] = ()
    first_failed: Count | None = None
    """The rank whose failure ended the attempt; absent where none did, and from regions of the version before."""
    running_s: Amount = 0.0
    """Wall seconds from the first rank's start to the last rank's end (or to now)."""
    energy_wh: Amount | None = None
    """Measured by NVML; None when the GPUs cannot tell."""
    outputs: tuple[OutputReport, ...] = ()
    is_ready: bool = False
    """An inference replica answers its readiness path."""


class LiveFence(Up):
    """An attempt that the supervisor holds now."""

    attempt_id: Handle
    fence: Int32


class AmountsMessage(Up):
    """Quantities of a node's resources."""

    gpus: Annotated[int, Field(ge=0, le=1 << 16)] | None = 0
    """None: the node does not know the resource."""
    cpu_milli: Count = 0
    memory_mib: Count = 0


class NodeMessage(Up):
    """What a region's cluster says about one node of one of the region's pools."""

    pool: Name
    name: Annotated[str, StringConstraints(max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]
    state: NodeState
    reason: Annotated[str, StringConstraints(max_length=200, pattern=r"^[\x20-\x7e]*$")] = ""
    """Why it is not ready: conditions and taints by their names."""
    offered: AmountsMessage
    """What the node has for pods, whoever's."""
    foreign: AmountsMessage = AmountsMessage()
    """What pods that are not Nordan's ask for."""
    is_unverified: bool = False
    block: Coordinate = ""
    rack: Coordinate = ""

    def to_domain(self) -> NodeReport:
        """Return the report as a value."""
        return NodeReport(
            pool=PoolName(self.pool),
            name=NodeName(self.name),
            state=self.state,
            offered=Amounts(self.offered.gpus, self.offered.cpu_milli, self.offered.memory_mib),
            foreign=Amounts(self.foreign.gpus, self.foreign.cpu_milli, self.foreign.memory_mib),
            reason=self.reason,
            is_unverified=self.is_unverified,
            block=self.block,
            rack=self.rack,
        )


class NodesMessage(Up):
    """All nodes of a region's cluster that carry a pool's label; a node that is left out is gone."""

    is_current: bool = True
    """False: the cluster does not answer, so `nodes` says nothing, and nothing new is to be placed."""
    nodes: Annotated[tuple[NodeMessage, ...], Field(max_length=MAX_NODES)] = ()


class SyncUp(Up):
    """A region's state, sent every 2 s; between two of them, at once when something happened, only the news."""

    supervisor_id: Handle
    nonce: Nonce
    reports: Annotated[tuple[AttemptReport, ...], Field(max_length=500)] = ()
    live: Annotated[tuple[LiveFence, ...], Field(max_length=20_000)] | None = ()
    """Everything that the region holds; None in a message of news, of which only the reports are answered."""
    nodes: NodesMessage | None = None
    """Sent when something about a node has changed, and every 15 s; never by a region of the local executor."""


class StopOrder(Down):
    """Stop this attempt: SIGTERM, `grace_s` seconds, SIGKILL."""

    attempt_id: str
    grace_s: float
    reason: Reason


class SyncDown(Down):
    """What changed for the region."""

    renewal: str
    """Signed token over (attempt, fence, ttl_s) of attempts that may go on; one not named is not extended.

    Empty in the answer to news. One that was renewed so lately that nearly all of its time is left is not named either.
    """
    stop: tuple[StopOrder, ...] = ()
    settled: tuple[str, ...] = ()
    """Attempts whose final report is stored: local records may go."""
    unknown: tuple[str, ...] = ()
    """Attempts that the control plane has under a newer fence, or not at all: stop them without a report."""
    fenced_objects: tuple[str, ...] = ()
    """Objects (`attempt:…`, `artifact:…`, `manifest:…`) whose reading the gateway must refuse; with a key behind them
    (`… for key_…`), to its holder alone. And uploads (`upload:…`) for which it must take no more bytes."""
    successions: tuple[dict[str, object], ...] = ()
    """As in the answer to a redemption."""


class PublishRequest(Up):
    """A checkpoint that an attempt finished; accepted only under its live fence."""

    attempt_id: Handle
    fence: Int32
    kind: ArtifactKind
    name: Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]+$")]
    manifest: ManifestMessage


class UploadCommit(Up):
    """The gateway says: these bytes are here, under these digests."""

    upload_id: Handle
    manifest: ManifestMessage


class CopySourceRequest(Up):
    """The gateway asks: whence come the bytes of this copy?"""

    upload_id: Handle


class CopySource(Down):
    """The other region's gateway, leave to read there, and what there is to read."""

    url: str
    token: str
    manifest: ManifestMessage


class ArtifactAccepted(Down):
    """The artifact that a manifest became."""

    artifact_id: str
    digest: str


class Access(Down):
    """Where to go for content, and the right to do so: send the token in the Authorization header."""

    url: str
    token: str
    expires_at: str
    upload_id: str | None = None
    session_id: str | None = None
