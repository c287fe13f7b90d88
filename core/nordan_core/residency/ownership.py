"""Who controls whom, and who holds how much, through chains of any shape, loops included.

Used by `exposure` and by the `ownership_max` check. Shares are solved as fixed points in whole millionths, rounded up,
so that the sums end also where companies own each other, and never come out too small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from nordan_core.residency.entities import KINDS_OF_SHARE, WHOLE, Entity, Ownership, ShareKind

Entities = Mapping[str, Entity]
Shares = Mapping[str, int]

HALF = WHOLE // 2
"""Control is more than this."""
UNKNOWN_LIMIT = WHOLE * 24 // 100
"""Unknown owners who together hold more than this leave an entity unknown; SecNumCloud 3.2 draws the line here."""
MOST_ROUNDS = 2_000
"""Loops that have not settled by then are nested beyond any real register, and count as unknown."""


class UnsettledError(Exception):
    """The shares of a loop of owners did not settle; whoever asked answers `unknown`."""


@dataclass(frozen=True, slots=True)
class Hold:
    """What one holder has of one entity, directly and through others, in millionths."""

    capital: int
    votes: int
    controls: bool

    @property
    def share(self) -> int:
        """Return the larger of the two shares."""
        return max(self.capital, self.votes)


NOTHING = Hold(0, 0, controls=False)


def holds_of(holder: str, entities: Entities) -> dict[str, Hold]:
    """Return what `holder` has of every entity. What it controls counts in full, the rest in proportion.

    Control is more than half of votes or capital through the chain, or a recorded veto or board majority, held by the
    holder or by something that it controls.

    Raises:
        UnsettledError: when owners form loops that do not settle.
    """
    holds = {**dict.fromkeys(entities, NOTHING), holder: Hold(WHOLE, WHOLE, controls=True)}
    others = [entity for name, entity in entities.items() if name != holder and entity.owners]
    for _ in range(MOST_ROUNDS):
        before = dict(holds)
        for entity in others:
            holds[entity.name] = _held_through(entity.owners or (), holds)
        if holds == before:
            return holds
    raise UnsettledError(holder)


def controllers_of(name: str, entities: Entities) -> tuple[str, ...]:
    """Return who controls `name`, described or not, sorted, itself left out."""
    candidates = sorted(owners_above(name, entities))
    return tuple(one for one in candidates if holds_of(one, entities).get(name, NOTHING).controls)


def controlled_by(holder: str, entities: Entities) -> tuple[str, ...]:
    """Return the entities that `holder` controls, sorted, itself left out."""
    holds = holds_of(holder, entities)
    return tuple(sorted(name for name, hold in holds.items() if hold.controls and name != holder))


def owners_above(name: str, entities: Entities) -> set[str]:
    """Return everyone who stands anywhere in the chain above `name`, itself left out."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            entity = entities.get(one)
            waiting.extend(edge.owner for edge in (entity.owners or () if entity else ()))
    return found - {name}


def connected(names: Iterable[str], entities: Entities) -> dict[str, Entity]:
    """Return every entity that ownership ties to `names`, upwards or downwards, themselves included.

    Facts need no more than this, and no less: a subsidiary exposes its parent as an owner exposes what it controls.
    """
    below: dict[str, list[str]] = {}
    for entity in entities.values():
        for edge in entity.owners or ():
            below.setdefault(edge.owner, []).append(entity.name)
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            above = entities[one].owners or () if one in entities else ()
            waiting.extend((*(edge.owner for edge in above), *below.get(one, ())))
    return {name: entities[name] for name in sorted(found) if name in entities}


def untraced(entities: Entities) -> frozenset[str]:
    """Return the entities that somebody unknown may control.

    Those are the ones of which more than 24 % belongs to nobody on record, and those of which more than half may, when
    every unknown share in the chain is put into one hand. A closed loop of owners is among them: nobody is at its top.
    """
    found = {one.name for one in entities.values() if unrecorded(one, entities) > UNKNOWN_LIMIT}
    for kind in KINDS_OF_SHARE:
        found |= {name for name, share in _unknown_shares(kind, entities).items() if share > HALF}
    return frozenset(found)


def unrecorded(entity: Entity, entities: Entities) -> int:
    """Return the larger share, of capital or votes, that belongs to no described entity, in millionths."""
    return max(_unrecorded(entity, kind, entities) for kind in KINDS_OF_SHARE)


def foreign_shares(name: str, entities: Entities, *, is_home: Callable[[str], bool]) -> tuple[int, int]:
    """Return the largest share of any one owner from outside, and of all of them together, in millionths.

    An owner without a described seat is from outside. Shares of nobody on record count as one more owner from outside.

    Raises:
        UnsettledError: when owners form loops that do not settle.
    """

    def is_foreign(owner: str) -> bool:
        entity = entities.get(owner)
        return entity is None or entity.seat is None or not is_home(entity.seat)

    if is_foreign(name):
        return WHOLE, WHOLE
    abroad = {one: holds_of(one, entities) for one in owners_above(name, entities) if is_foreign(one)}
    led = {held for holds in abroad.values() for held, hold in holds.items() if hold.controls}
    largest = max((holds[name].share for holds in abroad.values()), default=0)
    nobody = max(_unknown_shares(kind, entities)[name] for kind in KINDS_OF_SHARE)
    together = max(_outside_shares(kind, entities, led)[name] for kind in KINDS_OF_SHARE)
    return max(largest, nobody), together


def _held_through(owners: tuple[Ownership, ...], holds: Mapping[str, Hold]) -> Hold:
    above = [(one, holds.get(one.owner, NOTHING)) for one in owners]
    capital = sum(one.capital * (WHOLE if hold.controls else hold.capital) for one, hold in above)
    votes = sum(one.votes * (WHOLE if hold.controls else hold.votes) for one, hold in above)
    capital, votes = _rounded_up(capital), _rounded_up(votes)
    has_say = any(one.control and hold.controls for one, hold in above)
    return Hold(capital, votes, controls=has_say or capital > HALF or votes > HALF)


def _rounded_up(product: int) -> int:
    return min(-(-product // WHOLE), WHOLE)


def _unrecorded(entity: Entity, kind: ShareKind, entities: Entities) -> int:
    if entity.owners is None:
        return WHOLE
    if not entity.owners:
        return 0
    return WHOLE - sum(one.share(kind) for one in entity.owners if one.owner in entities)


def _unknown_shares(kind: ShareKind, entities: Entities) -> dict[str, int]:
    # From above: each round only lowers the shares, so stopping early errs towards unknown.
    shares = {name: 0 if entity.owners == () else WHOLE for name, entity in entities.items()}
    return _settled(kind, entities, shares, counted=frozenset())


def _outside_shares(kind: ShareKind, entities: Entities, led: set[str]) -> dict[str, int]:
    # Also from above. `led` holds the owners abroad and what they control: all of that is theirs.
    shares = {name: WHOLE if name in led or entity.owners != () else 0 for name, entity in entities.items()}
    return _settled(kind, entities, shares, counted=frozenset(led))


def _settled(kind: ShareKind, entities: Entities, shares: dict[str, int], *, counted: frozenset[str]) -> dict[str, int]:
    open_ones = [entity for name, entity in entities.items() if entity.owners and name not in counted]
    for _ in range(MOST_ROUNDS):
        before = dict(shares)
        for entity in open_ones:
            passed_on = sum(
                one.share(kind) * _weight(shares[one.owner]) for one in entity.owners or () if one.owner in entities
            )
            shares[entity.name] = min(_unrecorded(entity, kind, entities) + _rounded_up(passed_on), WHOLE)
        if shares == before:
            break
    return shares


def _weight(share: int) -> int:
    return WHOLE if share > HALF else share
