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
ALL = Hold(WHOLE, WHOLE, controls=True)


def holds_of(holder: str, entities: Entities) -> dict[str, Hold]:
    """Return what `holder` has of every entity. What it controls counts in full, the rest in proportion.

    Control is more than half of votes or capital through the chain, or a recorded veto or board majority, held by the
    holder or by something that it controls.

    Raises:
        UnsettledError: when owners form loops that do not settle.
    """
    holds = {**dict.fromkeys(entities, NOTHING), holder: ALL}
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
    every unknown share in the chain is put into one hand. So are companies that hold more than half of each other:
    nobody is at the top of such a loop.

    Raises:
        UnsettledError: when owners form loops that do not settle.
    """
    found = {one.name for one in entities.values() if unrecorded(one, entities) > UNKNOWN_LIMIT}
    return frozenset(found | {name for name, hold in _in_one_hand((), entities).items() if hold.controls})


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
    abroad = [one for one in owners_above(name, entities) if is_foreign(one)]
    largest = max((holds_of(one, entities)[name].share for one in abroad), default=0)
    nobody = _in_one_hand((), entities)[name].share
    together = _in_one_hand([one for one in abroad if one in entities], entities)[name].share
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


def _in_one_hand(hand: Iterable[str], entities: Entities) -> dict[str, Hold]:
    """Return what one hand has of every entity: these holders, and all that is not recorded, put together."""
    holds = {name: NOTHING if entity.owners == () else ALL for name, entity in entities.items()}
    holds |= dict.fromkeys(hand, ALL)
    open_ones = [entity for name, entity in entities.items() if entity.owners and name not in hand]
    # 1. From above: each round only lowers the shares, so loops that hold themselves stay, and stopping early errs
    #    towards too much. Says would hold up a loop of their own, so they wait.
    _settle(open_ones, holds, with_says=False)
    # 2. Up again, by what the hand has a say in.
    if not _settle(open_ones, holds, with_says=True):
        raise UnsettledError(*hand)
    return holds


def _settle(open_ones: Iterable[Entity], holds: dict[str, Hold], *, with_says: bool) -> bool:
    for _ in range(MOST_ROUNDS):
        before = dict(holds)
        for entity in open_ones:
            holds[entity.name] = _held_in_one_hand(entity.owners or (), holds, with_says=with_says)
        if holds == before:
            return True
    return False


def _held_in_one_hand(owners: tuple[Ownership, ...], holds: Mapping[str, Hold], *, with_says: bool) -> Hold:
    # An owner who is not described is in the hand, and so is what no owner is recorded for.
    passed_on = _held_through(owners, {one.owner: holds.get(one.owner, ALL) for one in owners})
    capital, votes = (WHOLE - sum(one.share(kind) for one in owners) for kind in KINDS_OF_SHARE)
    capital, votes = capital + passed_on.capital, votes + passed_on.votes
    controls = capital > HALF or votes > HALF or (with_says and passed_on.controls)
    return Hold(capital, votes, controls=controls)
