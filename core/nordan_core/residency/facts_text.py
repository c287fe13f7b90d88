"""Strict parsing of facts documents: what providers register, and what the store and certificates keep.

`parse_pool_facts(facts_document(f))` is `f`. Facts left out stay unknown; nothing is filled in.
"""

from __future__ import annotations

from collections.abc import Mapping

from nordan_core.residency.entities import parse_entities, read_territories
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.facets import SEAL_OBJECTIVES
from nordan_core.residency.facts import (
    ENFORCEABLE,
    Certification,
    ControlPlaneFacts,
    Endpoint,
    EndpointKind,
    PoolFacts,
    Service,
)
from nordan_core.residency.hints import did_you_mean
from nordan_core.residency.levels import Compute, Encryption, Evidence, Tenancy, parse_level
from nordan_core.residency.names import read_name
from nordan_core.residency.places import Atlas
from nordan_core.residency.policy import HIGHEST_SEAL
from nordan_core.residency.reading import read_instant, read_integer, read_list, read_mapping, read_text, read_word

_POOL_FIELDS = (
    *("pool", "region", "territory", "access_territories", "provider", "operator", "host", "endpoints"),
    *("certifications", "seal", "tenancy", "encryption", "compute", "evidence", "enforces"),
    *("facts_version", "valid_until", "entities"),
)
_FACTS_VERSIONS = 2**63 - 1


def parse_pool_facts(document: Mapping[str, object], atlas: Atlas) -> PoolFacts:
    """Return the pool facts that a document states.

    Raises:
        PolicyError: for the first fault, with its field and what would be right.
    """
    entry = read_mapping(document, "", _POOL_FIELDS)
    access, host = entry.get("access_territories"), entry.get("host")
    encryption, compute = entry.get("encryption"), entry.get("compute")
    return PoolFacts(
        pool=read_name(entry.get("pool"), "pool"),
        region=read_name(entry.get("region"), "region"),
        territory=atlas.parse_territory(entry.get("territory"), "territory"),
        access_territories=None if access is None else read_territories(access, atlas, "access_territories"),
        provider=read_name(entry.get("provider"), "provider"),
        operator=read_name(entry.get("operator"), "operator"),
        host=None if host is None else read_name(host, "host"),
        endpoints=_endpoints(entry.get("endpoints", ()), atlas),
        certifications=parse_certifications(entry.get("certifications", ()), atlas, "certifications"),
        seal=_seal(entry.get("seal")),
        tenancy=_tenancy(entry.get("tenancy", ())),
        encryption=None if encryption is None else parse_level(encryption, Encryption, "encryption"),
        compute=None if compute is None else parse_level(compute, Compute, "compute"),
        evidence=parse_level(entry.get("evidence", Evidence.E0.word), Evidence, "evidence"),
        enforces=_enforces(entry.get("enforces", ())),
        facts_version=read_integer(entry.get("facts_version"), "facts_version", low=0, high=_FACTS_VERSIONS),
        valid_until=read_instant(entry.get("valid_until"), "valid_until"),
        entities=parse_entities(entry.get("entities"), atlas, "entities"),
    )


def parse_control_plane(document: Mapping[str, object], atlas: Atlas) -> ControlPlaneFacts:
    """Return the control plane's facts that a document states.

    Raises:
        PolicyError: for the first fault, with its field and what would be right.
    """
    entry = read_mapping(document, "", ("territory", "operator", "entities"))
    return ControlPlaneFacts(
        territory=atlas.parse_territory(entry.get("territory"), "territory"),
        operator=read_name(entry.get("operator"), "operator"),
        entities=parse_entities(entry.get("entities"), atlas, "entities"),
    )


def parse_certifications(value: object, atlas: Atlas, field: str) -> tuple[Certification, ...]:
    """Return the certificates that a list states; `valid_from` may be left out, `valid_until` and `scope` may not."""
    entries = enumerate(read_list(value, field))
    read = [_certification(entry, atlas, f"{field}.{place}") for place, entry in entries]
    return tuple(sorted(read, key=lambda one: (one.scheme, one.level, one.valid_until, sorted(one.scope))))


def _certification(value: object, atlas: Atlas, field: str) -> Certification:
    entry = read_mapping(value, field, ("scheme", "level", "scope", "valid_from", "valid_until", "issuer"))
    scheme = entry.get("scheme")
    if not isinstance(scheme, str) or scheme not in atlas.schemes:
        hint = did_you_mean(scheme, atlas.schemes) if isinstance(scheme, str) else ""
        raise PolicyError(f"{field}.scheme", f"{scheme!r} is not a certification scheme{hint}")
    since = entry.get("valid_from")
    return Certification(
        scheme=scheme,
        level=read_word(entry.get("level"), f"{field}.level", tuple(atlas.schemes[scheme].levels)),
        scope=frozenset(_services(entry.get("scope"), f"{field}.scope")),
        valid_from=None if since is None else read_instant(since, f"{field}.valid_from"),
        valid_until=read_instant(entry.get("valid_until"), f"{field}.valid_until"),
        issuer=read_text(entry["issuer"], f"{field}.issuer") if "issuer" in entry else "",
    )


def _services(value: object, field: str) -> list[Service]:
    words = tuple(one.value for one in Service)
    return [Service(read_word(word, f"{field}.{place}", words)) for place, word in enumerate(read_list(value, field))]


def _endpoints(value: object, atlas: Atlas) -> tuple[Endpoint, ...]:
    return tuple(
        sorted(_endpoint(one, atlas, f"endpoints.{place}") for place, one in enumerate(read_list(value, "endpoints")))
    )


def _endpoint(value: object, atlas: Atlas, field: str) -> Endpoint:
    entry = read_mapping(value, field, ("kind", "territory", "operator"))
    return Endpoint(
        EndpointKind(read_word(entry.get("kind"), f"{field}.kind", tuple(one.value for one in EndpointKind))),
        atlas.parse_territory(entry.get("territory"), f"{field}.territory"),
        read_name(entry.get("operator"), f"{field}.operator"),
    )


def _seal(value: object) -> tuple[int, ...] | None:
    if value is None:
        return None
    levels = read_list(value, "seal")
    if len(levels) != SEAL_OBJECTIVES:
        raise PolicyError("seal", f"{len(levels)} levels; give one for each of SOV-1 to SOV-{SEAL_OBJECTIVES}")
    return tuple(read_integer(one, f"seal.{place}", low=0, high=HIGHEST_SEAL) for place, one in enumerate(levels))


def _tenancy(value: object) -> frozenset[Tenancy]:
    levels = [value] if isinstance(value, str) else read_list(value, "tenancy")
    return frozenset(parse_level(one, Tenancy, f"tenancy.{place}") for place, one in enumerate(levels))


def _enforces(value: object) -> frozenset[str]:
    entries = enumerate(read_list(value, "enforces"))
    return frozenset(read_word(one, f"enforces.{place}", ENFORCEABLE) for place, one in entries)
