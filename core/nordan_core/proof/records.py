"""What a residency certificate says, as frozen types and as a document.

The sealer fills them from the store, `certificate` signs them, `checks` goes through them. Documents that law reads
(policies and facts) stay documents here, in tables keyed by digest, because each is judged again exactly as it was
signed. Every class refuses unknown and missing fields when it is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from pydantic import AwareDatetime, ConfigDict, TypeAdapter

from nordan_core.domain.jobs import JobKind
from nordan_core.domain.states import AttemptResult, JobState
from nordan_core.proof.leaf import WHOLE

Document = Mapping[str, object]
"""A JSON object that another package understands."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """The job that the certificate is about; its name and specification stay with the tenant."""

    id: str
    project: str
    """Opaque project id."""
    kind: JobKind | None
    """None in a redacted certificate."""
    state: JobState
    spec_digest: str
    """Digest of the job document as it was accepted."""
    policy_digest: str
    """Effective policy at the end; attempts name the one that held for them."""
    submitted_at: AwareDatetime
    finished_at: AwareDatetime


@dataclass(frozen=True, slots=True)
class PlaceRecord:
    """Where a pool stands and who is behind it, in plain words; follows from the facts (`place.place_of`)."""

    territory: str
    provider: str
    operator: str
    host: str | None
    """Owner of the building, where that is not the operator."""
    access_territories: tuple[str, ...] | None
    exposure: Mapping[str, tuple[str, ...]]
    """For provider, operator and whoever runs an endpoint: the states that can compel them."""
    exposure_unknown: tuple[str, ...]
    """Those of them whose exposure is not fully known."""
    endpoints: tuple[Document, ...]
    """Store, log and key endpoints: kind, territory, operator."""
    certifications: tuple[Document, ...]
    tenancy: tuple[str, ...]
    encryption: str | None
    evidence: str
    """How the place is known: E0 said, E1 contracted, E2 audited, E3 attested, E4 attested and measured."""
    enforces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JudgementRecord:
    """One judgement that let an attempt start or go on."""

    stage: Literal["apply", "redeem", "renew"]
    at: AwareDatetime
    epoch: int
    policy_digest: str
    facts_digest: str
    atlas_digest: str
    good_until: AwareDatetime | None
    """The instant up to which it was relied on at most; None: nothing in it changes by itself."""


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt: where it ran, under whose permit, and how it ended."""

    attempt_id: str
    number: int
    fence: int
    region: str
    pool: str
    nodes: tuple[str, ...]
    place: PlaceRecord
    executor: str
    has_made_up_gpus: bool
    placed_at: AwareDatetime
    redeemed_at: AwareDatetime | None
    """None: no supervisor ever took it, so nothing ran and no data moved."""
    started_at: AwareDatetime | None
    ended_at: AwareDatetime
    result: AttemptResult
    reason: str | None
    bound_s: float
    """Seconds within which it would have stopped, had its region gone silent."""
    grant: str | None
    """The signed grant (long expired); there when the attempt was redeemed."""
    judgements: tuple[JudgementRecord, ...]


@dataclass(frozen=True, slots=True)
class InputRecord:
    """What the job read: its bytes by digest, and the policy that spoke for them."""

    name: str
    artifact_id: str
    digest: str
    policy_digest: str
    """Digest of a layer of kind `input` or `parent` of the job's effective policy."""


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """What the job made: its bytes by digest, and the policy that they were born with."""

    name: str
    artifact_id: str
    digest: str
    policy: Document
    attempt_id: str
    """The attempt whose manifest was accepted."""


@dataclass(frozen=True, slots=True)
class SignedRecord:
    """A member's word: by which key, whose it is, and when."""

    by: str
    member: str
    """Key of the member that `by` belongs to; keys that one member made count as one."""
    at: AwareDatetime


@dataclass(frozen=True, slots=True)
class DerogationRecord:
    """A derogation that a judgement rested on."""

    text: Document
    """The exact text (`residency.derogations`)."""
    digest: str
    """What the approvers approved."""
    requested_by: SignedRecord
    approvals: tuple[SignedRecord, ...]
    revoked_at: AwareDatetime | None


@dataclass(frozen=True, slots=True)
class VersionsRecord:
    """What judged."""

    nordan: str
    atlas: str
    atlas_digest: str


@dataclass(frozen=True, slots=True)
class EntryRecord:
    """An audit entry with its place in the tree."""

    index: int
    salt: str
    """Hex."""
    entry: Document
    """See `leaf.entry_document`."""
    proof: tuple[str, ...]
    """Inclusion proof under the checkpoint, hex, leaf to root."""
    form: int = WHOLE
    """Of the leaf; see `leaf.commitment`."""
    opened: Mapping[str, str] = field(default_factory=dict)
    """In a redacted certificate, where `salt` is empty: the salts of the fields that are shown, hex, by path."""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """The signed head of the log and the entries of this job in it."""

    checkpoint: Document
    entries: tuple[EntryRecord, ...]


@dataclass(frozen=True, slots=True)
class Certificate:
    """The whole statement; the predicate of the in-toto statement is its document."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    job: JobRecord
    control_plane: Document
    """Facts about who held the job's description: territory, operator, entities."""
    versions: VersionsRecord
    policies: Mapping[str, Document]
    """Effective policies with their derivation, by digest (`residency.effective_text`)."""
    facts: Mapping[str, Document]
    """Pool facts that were judged, by digest (`residency.facts_text`)."""
    attempts: tuple[AttemptRecord, ...]
    inputs: tuple[InputRecord, ...]
    outputs: tuple[OutputRecord, ...]
    derogations: tuple[DerogationRecord, ...]
    """Those that judgements rested on; the policies that they name say whom each covers."""
    gaps: tuple[str, ...]
    """What the policy or the data owner let go unenforced, one sentence each."""
    assumptions: tuple[str, ...]
    """What a reader has to believe beyond this paper, one sentence each."""
    audit: AuditRecord
    redacted: tuple[str, ...] = ()
    """What was left out, for a reader; empty in a full certificate."""
    redaction_of: str = ""
    """SHA-256 of the full certificate's statement: whoever is shown that later can tell that it is the one."""
    successions: tuple[Document, ...] = ()
    """How the keys that signed came to be, statement by statement, for a reader who knows an earlier one."""

    def document(self) -> dict[str, object]:
        """Return the certificate as a JSON object."""
        document: dict[str, object] = _adapter().dump_python(self, mode="json")
        return document

    @staticmethod
    def from_json(data: bytes) -> "Certificate":
        """Read a certificate's document back.

        Raises:
            ValueError: not JSON, or a field is missing, unknown or of another type.
        """
        return _adapter().validate_json(data, strict=True)


@cache
def _adapter() -> TypeAdapter[Certificate]:
    """Build the reader and writer once, and not at import: a client that only lists jobs never needs it."""
    return TypeAdapter(Certificate)
