"""Builders for residency tests: a lawful French pool, its owners, and short ways to state a policy."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from nordan_core.atlas.loader import default_atlas
from nordan_core.residency.atlas import Atlas, parse_atlas
from nordan_core.residency.entities import Entity, Ownership
from nordan_core.residency.facts import Certification, Endpoint, EndpointKind, PoolFacts, Service
from nordan_core.residency.layers import Effective, Layer, LayerKind, effective
from nordan_core.residency.levels import Compute, Encryption, Evidence, Tenancy
from nordan_core.residency.policy import Policy, parse_policy

ATLAS = default_atlas()
NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
FAR = datetime(2030, 1, 1, tzinfo=UTC)

FAMILY = Entity("famille-marchand", "FR", frozenset(), ())
FUND = Entity("pinecrest", "US", frozenset(), ())
OPERATOR = Entity(
    "auvergne-calcul",
    "FR",
    frozenset(["SE"]),
    (Ownership("famille-marchand", 88, 89), Ownership("pinecrest", 12, 11)),
)
US_PARENT = Entity("larkspur", "US", frozenset(), ())
GERMAN_BRANCH = Entity("mainkai", "DE", frozenset(), (Ownership("larkspur", 100, 100),))
SWEDISH_HOST = Entity("dalarna-hallar", "SE", frozenset(), ())


def by_name(*entities: Entity) -> dict[str, Entity]:
    """Return entities as facts hold them."""
    return {entity.name: entity for entity in entities}


ENTITIES = by_name(FAMILY, FUND, OPERATOR, US_PARENT, GERMAN_BRANCH, SWEDISH_HOST)


def endpoints(territory: str, operator: str = "auvergne-calcul") -> tuple[Endpoint, ...]:
    """Return one endpoint of each kind, all in one place."""
    return tuple(Endpoint(kind, territory, operator) for kind in EndpointKind)


def a_pool(**changes: Any) -> PoolFacts:
    """Return a French pool that offers and enforces everything, changed as asked."""
    pool = PoolFacts(
        pool="fr-bru-1-h100",
        region="fr-bru-1",
        territory="FR",
        access_territories=frozenset(["FR"]),
        provider="auvergne-calcul",
        operator="auvergne-calcul",
        endpoints=endpoints("FR"),
        certifications=(Certification("c5", "type2", frozenset(Service), None, FAR),),
        seal=(4,) * 8,
        tenancy=frozenset(Tenancy),
        encryption=Encryption.HYOK,
        compute=Compute.TEE_GPU,
        evidence=Evidence.E4,
        enforces=frozenset(["egress", "isolation"]),
        facts_version=1,
        valid_until=FAR,
        entities=ENTITIES,
    )
    return replace(pool, **changes)


def a_swedish_pool(**changes: Any) -> PoolFacts:
    """Return a pool of the French operator in a Swedish building."""
    swedish: dict[str, Any] = {
        "pool": "se-bor-1-h200",
        "region": "se-bor-1",
        "territory": "SE",
        "access_territories": frozenset(["FR", "SE"]),
        "host": "dalarna-hallar",
        "endpoints": endpoints("SE"),
    }
    return a_pool(**{**swedish, **changes})


def a_german_pool(**changes: Any) -> PoolFacts:
    """Return a pool in Germany whose operator is controlled from the US."""
    german: dict[str, Any] = {
        "pool": "de-fra-1-h100",
        "region": "de-fra-1",
        "territory": "DE",
        "access_territories": frozenset(["DE"]),
        "provider": "mainkai",
        "operator": "mainkai",
        "endpoints": endpoints("DE", "mainkai"),
    }
    return a_pool(**{**german, **changes})


def a_policy(atlas: Atlas = ATLAS, /, **facets: object) -> Policy:
    """Return the policy that states these facets, as documents write them; `class_` stands for `class`."""
    return parse_policy({name.rstrip("_"): value for name, value in facets.items()}, atlas)


def a_layer(kind: str, name: str = "", /, **facets: object) -> Layer:
    """Return one layer that states these facets."""
    return Layer(LayerKind(kind), name or f"the-{kind}", a_policy(**facets))


def in_force(*layers: Layer, has_content: bool = False) -> Effective:
    """Return the effective policy of layers."""
    return effective(layers, has_content=has_content)


def as_owner(**facets: object) -> Effective:
    """Return the effective policy of one dataset that states these facets, in class `public` unless it says more."""
    return in_force(a_layer("input", "patients", **{"class_": "public", **facets}))


TINY_DOCUMENT: dict[str, Any] = {
    "format": "nordan-atlas/1",
    "version": "tiny",
    "notes": [],
    "territories": {
        "FR": {"name": "France"},
        "NO": {"name": "Norway"},
        "PR": {"name": "Puerto Rico", "parent": "US"},
        "SE": {"name": "Sweden"},
        "US": {"name": "United States"},
    },
    "aliases": {},
    "unassigned": {},
    "groups": {
        "UNION": {
            "title": "A union",
            "members": [
                {"territory": "FR", "from": "2000-01-01", "source": "treaty"},
                {"territory": "SE", "from": "2000-01-01", "until": "2027-01-01", "source": "treaty"},
                {"territory": "SE", "from": "2028-01-01", "source": "second treaty"},
            ],
        }
    },
    "adequacy": [
        {"territory": "NO", "from": "2020-01-01", "until": "2027-06-01", "source": "decision"},
        {"territory": "US", "from": "2020-01-01", "condition": "certified companies", "source": "decision"},
    ],
    "certifications": {
        "split": {"title": "Two branches", "levels": {"low": [], "left": ["low"], "right": ["low"]}, "source": "s"},
    },
}


def an_atlas(**changes: Any) -> Atlas:
    """Return a tiny atlas whose union loses Sweden on 2027-01-01, changed as asked."""
    return parse_atlas(json.dumps({**TINY_DOCUMENT, **changes}).encode())


def facets_of(refusals: Iterable[Any]) -> list[str]:
    """Return the facets of refusals, in their order."""
    return [refusal.facet for refusal in refusals]
