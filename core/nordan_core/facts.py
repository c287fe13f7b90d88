"""What is judged, as values: pool facts and the control plane's, built from the stored world at one residency epoch.

Used by api and scheduler. A book never changes; a newer epoch makes a new book.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nordan_core.atlases import AtlasShelf
from nordan_core.domain.errors import Unavailable
from nordan_core.residency.canonical import digest_of
from nordan_core.residency.facts import ControlPlaneFacts, PoolFacts, control_plane_document
from nordan_core.residency.layers import Effective
from nordan_core.residency.masks import Mask, MaskCache
from nordan_core.residency.places import Atlas
from nordan_core.store.unit_of_work import Store, UnitOfWork
from nordan_core.world import MAX_NODES
from nordan_core.world_facts import WorldState, control_plane_facts, pool_facts

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


class SharedMasks:
    """A cache of masks. Safe between threads."""

    def __init__(self) -> None:
        self._masks = MaskCache()
        self._lock = threading.Lock()

    def mask(self, effective: Effective, pools: tuple[PoolFacts, ...], atlas: Atlas, instant: datetime) -> Mask:
        """Return which pools a policy allows."""
        with self._lock:
            return self._masks.mask(effective, pools, atlas, instant)


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
    masks: SharedMasks = field(default_factory=SharedMasks)
    """May be another book's too: what has not changed between two epochs is not judged again."""
    _places: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_places", {facts.pool: place for place, facts in enumerate(self.pools)})

    def mask(self, effective: Effective, instant: datetime) -> Mask:
        """Return which pools this policy allows, judged once and kept as long as it holds. Safe between threads."""
        return self.masks.mask(effective, self.pools, self.atlas, instant)

    def place(self, pool: str) -> int | None:
        """Return a pool's bit in the masks."""
        return self._places.get(pool)

    def pool(self, name: str) -> PoolFacts | None:
        """Return one pool's facts."""
        place = self._places.get(name)
        return None if place is None else self.pools[place]


class FactsCache:
    """The newest book of a process. Safe between threads."""

    def __init__(self, atlases: AtlasShelf) -> None:
        self.atlases = atlases
        self._book: FactsBook | None = None
        self._masks = SharedMasks()
        self._lock = threading.Lock()

    def at(self, epoch: int, store: Store) -> FactsBook:
        """Return the book of an epoch, read from the store when the one at hand is another's."""
        book = self._book
        if book is not None and book.epoch == epoch:
            return book
        with store.begin() as work:
            # The epoch is held while the world is read, so that a book never claims facts that it does not hold.
            return self.within(work, work.epoch.share())

    def atlas(self, work: UnitOfWork, epoch: int) -> Atlas:
        """Return the atlas of the epoch that the caller's transaction holds still, known facts or none."""
        book = self._book
        return book.atlas if book is not None and book.epoch == epoch else self.atlases.within(work)

    def within(self, work: UnitOfWork, epoch: int) -> FactsBook:
        """Return the book of the epoch that the caller's transaction holds still.

        It opens no other transaction: callers that each hold one connection and wait for a second would starve
        each other.
        """
        with self._lock:
            if self._book is None or self._book.epoch != epoch:
                self._book = build_facts(work.places.world(), self.atlases.within(work), epoch, self._masks)
            return self._book


def build_facts(world: WorldState, atlas: Atlas, epoch: int, masks: SharedMasks | None = None) -> FactsBook:
    """Return the book of a stored world, with the masks of an earlier one where there are any.

    Raises:
        Unavailable: nobody has said yet where the control plane stands, so nothing can be judged.
    """
    cell = control_plane_facts(world)
    if cell is None:
        raise Unavailable("the control plane's own place is not known; apply a world with a ControlPlane document", 5.0)
    capacity = {name: _capacity(document) for name, document in world.pools.items()}
    executors = {code: document["executor"] for code, document in world.regions.items()}
    cell_digest = digest_of(control_plane_document(cell))
    return FactsBook(
        epoch=epoch,
        atlas=atlas,
        pools=pool_facts(world),
        control_plane=cell,
        capacity=capacity,
        executors=executors,
        control_plane_digest=cell_digest,
        masks=masks or SharedMasks(),
    )


def _capacity(pool: Document) -> PoolCapacity:
    # A cluster whose pool has no stated most may grow, so no gang is too large for it for good.
    nodes = MAX_NODES if pool["nodes"] is None else pool["nodes"]
    return PoolCapacity(
        pool["name"], pool["accelerator"], pool["gpus_per_node"], nodes, pool["cpus"], pool["memory_mib"]
    )
