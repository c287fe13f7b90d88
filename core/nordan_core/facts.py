"""What is judged, as values: pool facts and the control plane's, built from the stored world at one residency epoch.

Used by api and scheduler. A book never changes; a newer epoch makes a new book.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from nordan_core.domain.errors import Unavailable
from nordan_core.residency.canonical import digest_of
from nordan_core.residency.entities import Entity, Ownership
from nordan_core.residency.facts import (
    Certification,
    ControlPlaneFacts,
    Endpoint,
    EndpointKind,
    PoolFacts,
    Service,
    control_plane_document,
)
from nordan_core.residency.layers import Effective
from nordan_core.residency.levels import Compute, Encryption, Evidence, Tenancy
from nordan_core.residency.masks import Mask, MaskCache
from nordan_core.residency.ownership import connected
from nordan_core.residency.places import Atlas
from nordan_core.store.places import WorldState
from nordan_core.store.unit_of_work import Store, UnitOfWork
from nordan_core.world import MAX_NODES

Document = Mapping[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True)
class PoolCapacity:
    """What a pool could hold if it were empty."""

    name: str
    accelerator: str
    gpus_per_node: int
    nodes: int
    cpus: int
    memory_mib: int


@dataclass(frozen=True, slots=True)
class FactsBook:
    """All facts at one epoch. `pools` is in order of name; masks have a bit per place in it."""

    epoch: int
    atlas: Atlas
    pools: tuple[PoolFacts, ...]
    control_plane: ControlPlaneFacts
    capacity: Mapping[str, PoolCapacity]
    executors: Mapping[str, str]
    """By region: local or kubernetes."""
    control_plane_digest: str
    """Names the control plane's facts in the log, as `PoolFacts.digest` does a pool's."""
    _masks: MaskCache = field(default_factory=MaskCache)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def mask(self, effective: Effective, instant: datetime) -> Mask:
        """Return which pools this policy allows, judged once and kept as long as it holds. Safe between threads."""
        with self._lock:
            return self._masks.mask(effective, self.pools, self.atlas, instant)

    def place(self, pool: str) -> int | None:
        """Return a pool's bit in the masks."""
        return next((place for place, facts in enumerate(self.pools) if facts.pool == pool), None)

    def pool(self, name: str) -> PoolFacts | None:
        """Return one pool's facts."""
        return next((facts for facts in self.pools if facts.pool == name), None)


class FactsCache:
    """The newest book of a process. Safe between threads."""

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas
        self._book: FactsBook | None = None
        self._lock = threading.Lock()

    def at(self, epoch: int, store: Store) -> FactsBook:
        """Return the book of an epoch, read from the store when the one at hand is another's."""
        book = self._book
        if book is not None and book.epoch == epoch:
            return book
        with store.begin() as work:
            # The epoch is held while the world is read, so that a book never claims facts that it does not hold.
            return self.within(work, work.epoch.share())

    def within(self, work: UnitOfWork, epoch: int) -> FactsBook:
        """Return the book of the epoch that the caller's transaction holds still.

        It opens no other transaction: callers that each hold one connection and wait for a second would starve
        each other.
        """
        with self._lock:
            if self._book is None or self._book.epoch != epoch:
                self._book = build_facts(work.places.world(), self._atlas, epoch)
            return self._book


def build_facts(world: WorldState, atlas: Atlas, epoch: int) -> FactsBook:
    """Return the book of a stored world.

    Raises:
        Unavailable: nobody has said yet where the control plane stands, so nothing can be judged.
    """
    if world.cell is None:
        raise Unavailable("the control plane's own place is not known; apply a world with a ControlPlane document", 5.0)
    entities = {name: entity_of(document) for name, document in world.entities.items()}
    pools = tuple(_pool_facts(name, world, entities) for name in sorted(world.pools))
    cell = ControlPlaneFacts(
        territory=world.cell["territory"],
        operator=world.cell["operator"],
        entities=connected([world.cell["operator"]], entities),
    )
    capacity = {name: _capacity(document) for name, document in world.pools.items()}
    executors = {code: document["executor"] for code, document in world.regions.items()}
    return FactsBook(
        epoch, atlas, pools, cell, capacity, executors, control_plane_digest=digest_of(control_plane_document(cell))
    )


def entity_of(document: Document) -> Entity:
    """Return the entity of a stored World document; what it leaves out was never recorded, so it is unknown."""
    presences, owners = document["presences"], document["owners"]
    return Entity(
        name=document["name"],
        seat=document["seat"],
        presences=None if presences is None else frozenset(presences),
        owners=None if owners is None else tuple(_ownership(one) for one in owners),
    )


def _ownership(document: Document) -> Ownership:
    return Ownership(
        document["owner"],
        Decimal(str(document["capital_percent"])),
        Decimal(str(document["votes_percent"])),
        document["control"] != "none",
    )


def _pool_facts(name: str, world: WorldState, entities: Mapping[str, Entity]) -> PoolFacts:
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
    )


def _tenancy(strictest: str, offered: tuple[str, ...] | None) -> frozenset[Tenancy]:
    """Return the levels that a pool offers: what it promises, as far as the region's executor can keep it."""
    promised = frozenset(level for level in Tenancy if level <= Tenancy[strictest.upper()])
    if offered is None:
        return promised
    able = frozenset(Tenancy[word.upper()] for word in offered)
    # An executor that cannot keep tenants apart serves one at a time, whatever the pool promises.
    return able if able == {Tenancy.SINGLE} else promised & able


def _capacity(pool: Document) -> PoolCapacity:
    # A cluster whose pool has no stated most may grow, so no gang is too large for it for good.
    nodes = MAX_NODES if pool["nodes"] is None else pool["nodes"]
    return PoolCapacity(
        pool["name"], pool["accelerator"], pool["gpus_per_node"], nodes, pool["cpus"], pool["memory_mib"]
    )
