"""Who controls whom, and who holds how much, through chains of any shape, loops included.

Used by `exposure` and by the `ownership_max` check. Shares are exact fractions of a millionth: where a limit is just
met, and where more than half begins, nothing is lost by rounding.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil

from nordan_core.residency.entities import KINDS_OF_SHARE, WHOLE, Entity, Ownership, ShareKind
from nordan_core.residency.shares import Line, rings, solved

Entities = Mapping[str, Entity]
Owners = Mapping[str, tuple[Ownership, ...]]
Share = Fraction | int

HALF = WHOLE // 2
"""Control is more than this."""
UNKNOWN_LIMIT = WHOLE * 24 // 100
"""Unknown owners who together hold more than this leave an entity unknown; SecNumCloud 3.2 draws the line here."""
MOST_IN_A_LOOP = 32
"""Companies that own each other. More of them are beyond any real register, slow to solve, and count as unknown."""
NOBODY = ""
"""Holds what is not recorded. No entity can have this name."""


class UnsettledError(Exception):
    """A loop of owners is too large to be solved; whoever asked answers `unknown`."""


@dataclass(frozen=True, slots=True)
class Hold:
    """What one holder has of one entity, directly and through others, in millionths."""

    capital: Share
    votes: Share
    controls: bool

    @property
    def share(self) -> Share:
        """Return the larger of the two shares."""
        return max(self.capital, self.votes)

    def share_of(self, kind: ShareKind) -> Share:
        """Return the share of one kind."""
        return self.capital if kind == "capital" else self.votes


NOTHING = Hold(0, 0, controls=False)
ALL = Hold(WHOLE, WHOLE, controls=True)


def holds_of(holder: str, entities: Entities) -> dict[str, Hold]:
    """Return what `holder` has of every entity. What it controls counts in full, the rest in proportion.

    Control is more than half of votes or capital through the chain, or a recorded veto or board majority, held by the
    holder or by something that it controls.

    Raises:
        UnsettledError: when owners form a loop that is too large.
    """
    return {**dict.fromkeys(entities, NOTHING), **_held_by(holder, _recorded(entities))}


def controllers_of(name: str, entities: Entities) -> tuple[str, ...]:
    """Return who controls `name`, described or not, sorted, itself left out."""
    above = owners_above(name, entities)
    chain = _recorded({one: entities[one] for one in (name, *above) if one in entities})
    return tuple(one for one in sorted(above) if _leads(_held_by(one, chain), name))


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
    every unknown share in the chain is put into one hand. So are companies that hold more than half of each other:
    nobody is at the top of such a loop.

    Raises:
        UnsettledError: when owners form a loop that is too large.
    """
    found = {one.name for one in entities.values() if unrecorded(one, entities) > UNKNOWN_LIMIT}
    return frozenset(found | {name for name, hold in _in_one_hand((), entities).items() if hold.controls})


def unrecorded(entity: Entity, entities: Entities) -> int:
    """Return the larger share, of capital or votes, that belongs to no described entity, in millionths."""
    return max(_unrecorded(entity, kind, entities) for kind in KINDS_OF_SHARE)


def foreign_shares(name: str, entities: Entities, *, is_home: Callable[[str], bool]) -> tuple[int, int]:
    """Return the largest share of any one owner from outside, and of all of them together, in millionths.

    An owner without a described seat is from outside. Shares of nobody on record count as one more owner from outside.
    Both are rounded up at the very end, which changes no answer, for limits are whole per cents.

    Raises:
        UnsettledError: when owners form a loop that is too large.
    """

    def is_foreign(owner: str) -> bool:
        entity = entities.get(owner)
        return entity is None or entity.seat is None or not is_home(entity.seat)

    if is_foreign(name):
        return WHOLE, WHOLE
    above = owners_above(name, entities)
    near = {one: entities[one] for one in (name, *above) if one in entities}
    chain, abroad = _recorded(near), [one for one in above if is_foreign(one)]
    largest = max((_held_by(one, chain).get(name, NOTHING).share for one in abroad), default=0)
    nobody = _in_one_hand((), near)[name].share
    together = _in_one_hand(abroad, near)[name].share
    return ceil(max(largest, nobody)), ceil(together)


@dataclass(frozen=True, slots=True)
class _Chain:
    """Who is owned, by whom, in an order to work it out."""

    owners: Owners
    """Of each entity that has any."""
    loops: list[frozenset[str]]
    """Its keys: those who own each other together, most alone; whoever is above first."""


def _chain(owners: Owners) -> _Chain:
    above = {name: [one.owner for one in each if one.owner in owners] for name, each in owners.items()}
    return _Chain(owners, rings(above))


def _recorded(entities: Entities) -> _Chain:
    return _chain({name: entity.owners for name, entity in entities.items() if entity.owners})


def _held_by(holder: str, chain: _Chain) -> dict[str, Hold]:
    return _holds([holder], chain, at_first=frozenset(), with_says=True)


def _holds(hand: Iterable[str], chain: _Chain, *, at_first: frozenset[str], with_says: bool) -> dict[str, Hold]:
    """Return what a hand has of those who have owners, and of itself everything.

    Control is looked for in each loop from `at_first` on: from nothing upwards, or from everything downwards. Either
    way it moves in one direction only, so it ends.
    """
    holds = dict.fromkeys(hand, ALL)
    for whole in chain.loops:
        if len(whole) > MOST_IN_A_LOOP:
            raise UnsettledError(len(whole))
        loop = whole - holds.keys()
        led, before = loop & at_first, None
        while led != before:
            found = _held_in(loop, led, chain.owners, holds, with_says=with_says)
            led, before = frozenset(name for name, hold in found.items() if hold.controls), led
        holds |= found
    return holds


def _held_in(
    loop: frozenset[str], led: frozenset[str], owners: Owners, above: dict[str, Hold], *, with_says: bool
) -> dict[str, Hold]:
    """Return what a hand has of the members of a loop, of which it controls those who are `led`."""
    held = ChainMap(dict.fromkeys(led, ALL), above)
    capital, votes = (
        solved({name: _line(owners[name], kind, held) for name in sorted(loop)}) for kind in KINDS_OF_SHARE
    )
    says = {name for name in loop if with_says and any(one.control and _leads(held, one.owner) for one in owners[name])}
    return {
        name: Hold(capital[name], votes[name], controls=name in says or max(capital[name], votes[name]) > HALF)
        for name in loop
    }


def _line(owners: Iterable[Ownership], kind: ShareKind, held: Mapping[str, Hold]) -> Line:
    whole = sum(one.share(kind) for one in owners if _leads(held, one.owner))
    parts = {one.owner: Fraction(one.share(kind), WHOLE) for one in owners if not _leads(held, one.owner)}
    known = sum(part * held[owner].share_of(kind) for owner, part in parts.items() if owner in held)
    return Line(whole + known, parts)


def _leads(held: Mapping[str, Hold], owner: str) -> bool:
    return held.get(owner, NOTHING).controls


def _unrecorded(entity: Entity, kind: ShareKind, entities: Entities) -> int:
    if entity.owners is None:
        return WHOLE
    if not entity.owners:
        return 0
    return WHOLE - sum(one.share(kind) for one in entity.owners if one.owner in entities)


def _in_one_hand(hand: Iterable[str], entities: Entities) -> dict[str, Hold]:
    """Return what one hand has of every entity: these holders, and all that is not recorded, put together."""
    named = frozenset(hand)
    chain = _chain({name: owners for name, entity in entities.items() if (owners := _all_owners(entity))})
    # An owner who is not described is in the hand.
    full = named.union(one.owner for each in chain.owners.values() for one in each if one.owner not in entities)
    # 1. From above: companies that hold more than half of each other stay, since nobody else is at their top. Says
    #    would hold up a loop of their own, so they wait.
    certain = _holds(full, chain, at_first=frozenset(chain.owners), with_says=False)
    led = frozenset(name for name, hold in certain.items() if hold.controls)
    # 2. Up again, by what the hand has a say in.
    holds = _holds(full, chain, at_first=led, with_says=True)
    return {name: holds.get(name, NOTHING) for name in entities}


def _all_owners(entity: Entity) -> tuple[Ownership, ...]:
    """Return the owners of an entity, with nobody for what is not recorded."""
    if entity.owners == ():
        return ()
    recorded = entity.owners or ()
    capital, votes = (WHOLE - sum(one.share(kind) for one in recorded) for kind in KINDS_OF_SHARE)
    return (*recorded, Ownership(NOBODY, Decimal(capital) * 100 / WHOLE, Decimal(votes) * 100 / WHOLE))
