"""What is known about a pool and about the control plane: the other argument of the judge.

Providers register facts, admins apply them, `judge` reads them. A fact that is None or missing is unknown, and unknown
denies wherever a policy asks. Facts carry an expiry; past it nothing may run on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from nordan_core.residency.canonical import digest_of
from nordan_core.residency.entities import Entity, Ownership, entities_document
from nordan_core.residency.levels import Compute, Encryption, Evidence, Tenancy
from nordan_core.residency.reading import print_instant

__all__ = [
    "ENFORCEABLE",
    "Certification",
    "ControlPlaneFacts",
    "Endpoint",
    "EndpointKind",
    "Entity",
    "Ownership",
    "PoolFacts",
    "Service",
    "control_plane_document",
    "facts_digest",
    "facts_document",
]


class EndpointKind(StrEnum):
    """What an endpoint of a pool's region keeps."""

    STORE = "store"
    LOG = "log"
    KEY = "key"


class Service(StrEnum):
    """What a certificate may cover."""

    COMPUTE = "compute"
    STORAGE = "storage"
    KEYS = "keys"


#: What a pool's executor can enforce by itself.
ENFORCEABLE = ("egress", "isolation")


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """A place where a pool's bytes, logs or keys rest, and who runs it."""

    kind: EndpointKind
    territory: str
    operator: str


@dataclass(frozen=True, slots=True)
class Certification:
    """A certificate that a provider holds for some services, from one instant until another."""

    scheme: str
    level: str
    scope: frozenset[Service]
    valid_from: datetime | None
    """None when it has always counted."""
    valid_until: datetime
    """The first instant at which it no longer counts."""
    issuer: str = ""
    """Who issued it, as its paper says; for people, never judged."""

    def covers(self, services: frozenset[Service], instant: datetime) -> bool:
        """Return whether it counts for all of `services` at `instant`."""
        begun = self.valid_from is None or self.valid_from <= instant
        return begun and instant < self.valid_until and services <= self.scope


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """One version of what is known about a pool, its region and everyone behind them."""

    pool: str
    region: str
    territory: str
    """Where the region's building stands."""
    access_territories: frozenset[str] | None = None
    """Where people with privileged access sit."""
    provider: str
    """Entity that brings the pool."""
    operator: str
    """Entity that runs the region."""
    host: str | None = None
    """Entity whose building it is; None when it is the operator's. It counts for `access` only."""
    endpoints: tuple[Endpoint, ...] = ()
    certifications: tuple[Certification, ...] = ()
    seal: tuple[int, ...] | None = None
    """Assessed SEAL levels, SOV-1 to SOV-8."""
    tenancy: frozenset[Tenancy] = frozenset()
    """Levels that are offered."""
    encryption: Encryption | None = None
    compute: Compute | None = None
    evidence: Evidence = Evidence.E0
    enforces: frozenset[str] = frozenset()
    """Which of ENFORCEABLE the executor enforces by itself."""
    facts_version: int
    valid_until: datetime
    """The first instant at which these facts no longer count."""
    entities: Mapping[str, Entity]
    """Everyone named above, and their owners as far as recorded."""
    digest: str = field(init=False, compare=False)
    """SHA-256 of the canonical form."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", digest_of(facts_document(self)))

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def building_owner(self) -> str:
        """Return the entity whose building it is."""
        return self.host if self.host is not None else self.operator

    def endpoints_of(self, kind: EndpointKind) -> tuple[Endpoint, ...]:
        """Return the endpoints of one kind; none at all means that they are unknown."""
        return tuple(endpoint for endpoint in self.endpoints if endpoint.kind is kind)

    def operators(self) -> tuple[str, ...]:
        """Return the entities whose exposure counts: provider, operator, whoever runs an endpoint; each once."""
        named = (self.provider, self.operator, *(endpoint.operator for endpoint in self.endpoints))
        return tuple(dict.fromkeys(named))


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneFacts:
    """Where the control plane stands and who runs it: it reads every job's description."""

    territory: str
    operator: str
    entities: Mapping[str, Entity] = field(hash=False)


def facts_digest(facts: PoolFacts) -> str:
    """Return the SHA-256 of the facts' canonical form, in hexadecimal."""
    return facts.digest


def facts_document(facts: PoolFacts) -> dict[str, object]:
    """Return the one document form of a pool's facts, JSON values without floats."""
    return {
        "pool": facts.pool,
        "region": facts.region,
        "territory": facts.territory,
        "access_territories": None if facts.access_territories is None else sorted(facts.access_territories),
        "provider": facts.provider,
        "operator": facts.operator,
        "host": facts.host,
        "endpoints": [_endpoint_document(one) for one in sorted(facts.endpoints)],
        "certifications": sorted((_certification_document(one) for one in facts.certifications), key=str),
        "seal": None if facts.seal is None else list(facts.seal),
        "tenancy": [level.word for level in sorted(facts.tenancy)],
        "encryption": None if facts.encryption is None else facts.encryption.word,
        "compute": None if facts.compute is None else facts.compute.word,
        "evidence": facts.evidence.word,
        "enforces": sorted(facts.enforces),
        "facts_version": facts.facts_version,
        "valid_until": print_instant(facts.valid_until),
        "entities": entities_document(facts.entities),
    }


def control_plane_document(facts: ControlPlaneFacts) -> dict[str, object]:
    """Return the one document form of the control plane's facts."""
    return {
        "territory": facts.territory,
        "operator": facts.operator,
        "entities": entities_document(facts.entities),
    }


def _endpoint_document(one: Endpoint) -> dict[str, object]:
    return {"kind": one.kind.value, "territory": one.territory, "operator": one.operator}


def _certification_document(one: Certification) -> dict[str, object]:
    return {
        "scheme": one.scheme,
        "level": one.level,
        "scope": sorted(one.scope),
        "valid_from": None if one.valid_from is None else print_instant(one.valid_from),
        "valid_until": print_instant(one.valid_until),
        # Only where it is known: facts that never had one keep their digest.
        **({"issuer": one.issuer} if one.issuer else {}),
    }
