"""The facts that World documents state, as values: what is judged of pools and of the control plane.

The control plane builds them from what it has stored, the command line from a file. Nothing here reads either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from nordan_core.domain.errors import Invalid
from nordan_core.residency.entities import Attestation, Entity, Ownership
from nordan_core.residency.facts import Certification, ControlPlaneFacts, Endpoint, EndpointKind, PoolFacts, Service
from nordan_core.residency.levels import Compute, Encryption, Evidence, Tenancy
from nordan_core.residency.ownership import connected
from nordan_core.world import ControlPlaneDocument, EntityDocument, PoolDocument, RegionDocument, WorldDocument

Document = Mapping[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True)
class WorldState:
    """Everything that is judged, as documents in the form in which they are kept."""

    cell: Document | None
    entities: Mapping[str, Document]
    regions: Mapping[str, Document]
    pools: Mapping[str, Document]
    facts_versions: Mapping[str, int]
    """By pool; rises with any change of the pool, its region or an entity."""
    offered_tenancy: Mapping[str, tuple[str, ...]]
    """By region: what its executor said it can keep apart when it joined; absent before."""


def state_of(documents: Sequence[WorldDocument]) -> WorldState:
    """Return the world that documents describe by themselves, as if applied for the first time and no region joined."""
    cells = [one.stored() for one in documents if isinstance(one, ControlPlaneDocument)]
    pools = _by_name(one for one in documents if isinstance(one, PoolDocument))
    return WorldState(
        cell=cells[0] if cells else None,
        entities=_by_name(one for one in documents if isinstance(one, EntityDocument)),
        regions=_by_name(one for one in documents if isinstance(one, RegionDocument)),
        pools=pools,
        facts_versions=dict.fromkeys(pools, 1),
        offered_tenancy={},
    )


def check_references(world: WorldState) -> None:
    """Check that whatever a document names is described.

    Raises:
        Invalid: for the first name that stands for nothing.
    """
    for name, entity in world.entities.items():
        for owner in entity["owners"] or ():
            _must_exist(owner["owner"], world.entities, f"entity {name} names the owner")
    for code, region in world.regions.items():
        ends = [one["operator"] for one in region["endpoints"].values() if one]
        for party in filter(None, [region["operator"], region["host"], *ends]):
            _must_exist(party, world.entities, f"region {code} names")
    for name, pool in world.pools.items():
        _must_exist(pool["provider"], world.entities, f"pool {name} names the provider")
        _must_exist(pool["region"], world.regions, f"pool {name} names the region", kind="Region")
    if world.cell is not None:
        _must_exist(world.cell["operator"], world.entities, "the control plane names the operator")


def pool_facts(world: WorldState) -> tuple[PoolFacts, ...]:
    """Return the facts of every pool, in order of name."""
    entities = {name: entity_of(document) for name, document in world.entities.items()}
    return tuple(_pool_of(name, world, entities) for name in sorted(world.pools))


def control_plane_facts(world: WorldState) -> ControlPlaneFacts | None:
    """Return what is known of the control plane; None when nobody has said where it stands."""
    if world.cell is None:
        return None
    entities = {name: entity_of(document) for name, document in world.entities.items()}
    operator = world.cell["operator"]
    return ControlPlaneFacts(
        territory=world.cell["territory"], operator=operator, entities=connected([operator], entities)
    )


def entity_of(document: Document) -> Entity:
    """Return the entity of a stored World document; what it leaves out was never recorded, so it is unknown."""
    presences, owners = document["presences"], document["owners"]
    return Entity(
        name=document["name"],
        seat=document["seat"],
        presences=None if presences is None else frozenset(presences),
        owners=None if owners is None else tuple(_ownership(one) for one in owners),
        # Documents of older versions know none.
        attestations=tuple(_attestation(one) for one in document.get("attestations", ())),
    )


def _attestation(document: Document) -> Attestation:
    return Attestation(document["name"], _instant(document["valid_from"]), _instant(document["valid_until"]))


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _ownership(document: Document) -> Ownership:
    return Ownership(
        document["owner"],
        Decimal(str(document["capital_percent"])),
        Decimal(str(document["votes_percent"])),
        document["control"] != "none",
    )


def _pool_of(name: str, world: WorldState, entities: Mapping[str, Entity]) -> PoolFacts:
    pool = world.pools[name]
    region = world.regions[pool["region"]]
    endpoints = _endpoints(region)
    involved = [pool["provider"], region["operator"], region["host"], *(one.operator for one in endpoints)]
    return PoolFacts(
        pool=name,
        region=pool["region"],
        territory=region["territory"],
        access_territories=frozenset(region["access_territories"]) or None,
        provider=pool["provider"],
        operator=region["operator"],
        host=region["host"],
        endpoints=endpoints,
        certifications=tuple(_certification(one) for one in pool["certifications"]),
        seal=tuple(pool["seal"]) if pool["seal"] else None,
        tenancy=_tenancy(pool["tenancy"], world.offered_tenancy.get(pool["region"])),
        encryption=Encryption[pool["encryption"].upper()],
        compute=Compute[pool["compute"].upper()],
        evidence=Evidence[region["evidence"]],
        enforces=frozenset(pool["enforces"]),
        facts_version=world.facts_versions[name],
        valid_until=datetime.fromisoformat(pool["facts_valid_until"]),
        entities=connected(filter(None, involved), entities),
    )


def _endpoints(region: Document) -> tuple[Endpoint, ...]:
    found = []
    for kind in EndpointKind:
        own = {"territory": region["territory"], "operator": region["operator"]}
        one = region["endpoints"][kind.value] or own
        found.append(Endpoint(kind, one["territory"], one["operator"]))
    return tuple(found)


def _certification(document: Document) -> Certification:
    since = document["valid_from"]
    return Certification(
        document["scheme"],
        document["level"],
        frozenset(Service(one) for one in document["scope"]),
        datetime.fromisoformat(since) if since else None,
        datetime.fromisoformat(document["valid_until"]),
        document.get("issuer", ""),
    )


def _tenancy(strictest: str, offered: tuple[str, ...] | None) -> frozenset[Tenancy]:
    """Return the levels that a pool offers: what it promises, as far as the region's executor can keep it."""
    promised = frozenset(level for level in Tenancy if level <= Tenancy[strictest.upper()])
    if offered is None:
        return promised
    able = frozenset(Tenancy[word.upper()] for word in offered)
    # An executor that cannot keep tenants apart serves one at a time, whatever the pool promises.
    return able if able == {Tenancy.SINGLE} else promised & able


def _by_name(documents: Iterable[EntityDocument | RegionDocument | PoolDocument]) -> dict[str, Document]:
    return {one.name: one.stored() for one in documents}


def _must_exist(name: str, described: Mapping[str, Document], sentence: str, kind: str = "Entity") -> None:
    if name not in described:
        raise Invalid("documents", f"{sentence} {name!r}, but there is no such {kind} document")
