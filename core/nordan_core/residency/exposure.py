"""Exposure: the states that can compel an entity to hand over what it holds.

Those are the state of its seat; of each presence, that is a branch, staff with access or a controlled subsidiary; and
of the seat of each entity that controls it. A smaller holding compels nobody: `ownership_max` is for those who mind.
Where a seat, the presences or enough of the owners are not recorded, the answer is unknown, and unknown denies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nordan_core.residency.entities import Entity
from nordan_core.residency.ownership import Entities, UnsettledError, controlled_by, controllers_of, untraced
from nordan_core.residency.places import Atlas


@dataclass(frozen=True, slots=True)
class Exposure:
    """The territories whose law reaches an entity, each with the reason, and what is not known about it."""

    because: Mapping[str, str] = field(hash=False)
    """Territory of the seat, presence or controller, with the sentence that says which."""
    unknown: tuple[str, ...] = ()
    """What is not recorded, in sentences. Anything here makes the exposure unknown."""

    @property
    def territories(self) -> frozenset[str]:
        """Return the territories without their reasons."""
        return frozenset(self.because)

    @property
    def is_unknown(self) -> bool:
        """Return whether there may be more states than `because` names."""
        return bool(self.unknown)


def exposure(name: str, entities: Entities) -> Exposure:
    """Return the exposure of the entity called `name`, as far as `entities` describes it and its owners."""
    entity = entities.get(name)
    if entity is None:
        return Exposure({}, (f"{name or 'the entity'} is not described",))
    because: dict[str, str] = {}
    unknown: list[str] = []
    # 1. Its seat.
    _note_seat(entity, f"{name} has its seat there", because, unknown)
    # 2. Its presences.
    if entity.presences is None:
        unknown.append(f"the presences of {name} are not recorded")
    for territory in sorted(entity.presences or ()):
        because.setdefault(territory, f"{name} is present there")
    # 3. Its subsidiaries and those who control it.
    try:
        _note_chain(name, entities, because, unknown)
    except UnsettledError:
        unknown.append(f"the owners of {name} form loops that cannot be resolved")
    return Exposure(because, tuple(unknown))


def forbidden_territories(states: Iterable[str], atlas: Atlas) -> frozenset[str]:
    """Return the forbidden states with their dependencies: what is forbidden reads widely."""
    named = frozenset(states)
    return named.union(*(atlas.dependencies(state) for state in named))


def _note_chain(name: str, entities: Entities, because: dict[str, str], unknown: list[str]) -> None:
    for subsidiary in controlled_by(name, entities):
        _note_seat(entities[subsidiary], f"{name} controls {subsidiary}, which has its seat there", because, unknown)
    opaque = untraced(entities)
    if name in opaque:
        unknown.append(f"too large a share of {name} belongs to owners who are not recorded")
    for controller in controllers_of(name, entities):
        entity = entities.get(controller)
        if entity is None:
            unknown.append(f"{controller}, which controls {name}, is not described")
            continue
        _note_seat(entity, f"{controller}, which controls {name}, has its seat there", because, unknown)
        if controller in opaque:
            unknown.append(f"too large a share of {controller}, which controls {name}, belongs to unrecorded owners")


def _note_seat(entity: Entity, reason: str, because: dict[str, str], unknown: list[str]) -> None:
    if entity.seat is None:
        unknown.append(f"the seat of {entity.name} is not recorded")
    else:
        because.setdefault(entity.seat, reason)
