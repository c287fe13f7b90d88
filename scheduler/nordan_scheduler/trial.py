"""Which derogations let a job into which pools: each set of them is asked about once, while some pool needs it.

Used by `law`, which keeps the outcome; what was only tried is forgotten with the trial.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import reduce

from nordan_core.domain.ids import PoolName
from nordan_core.domain.queueing import Derogated, Residency
from nordan_core.facts import FactsBook
from nordan_core.residency.derogations import Covering, fewer, needed
from nordan_core.residency.layers import Effective
from nordan_core.residency.widening import derogated
from nordan_scheduler.wording import Wording

Some = tuple[Covering, ...]


@dataclass(slots=True)
class Trial:
    """The policies of a job, what covers it, and what the judge said so far of both together."""

    policies: tuple[Effective, ...]
    covered: Some
    wording: Wording
    book: FactsBook
    now: datetime
    good_until: datetime | None = None
    """The earliest instant at which one of the answers may change by itself."""
    _allowed: dict[tuple[str, ...], frozenset[PoolName]] = field(default_factory=dict)
    _used: dict[tuple[str, ...], Derogated] = field(default_factory=dict)

    def fewest(self, lawful: frozenset[PoolName]) -> dict[PoolName, Some]:
        """Return, for each pool that is lawful by derogations alone, as few of them as will do."""
        waiting = set(self.allowed(self.covered) - lawful)
        found: dict[PoolName, Some] = {}
        for some in fewer(self.covered):
            if not waiting:
                return found
            new = waiting & self.allowed(some)
            found |= dict.fromkeys(new, some)
            waiting -= new
        return found | {pool: needed(self.covered, self._lets_into(pool)) for pool in waiting}

    def allowed(self, some: Some) -> frozenset[PoolName]:
        """Return the pools that the judge lets through by some of the derogations."""
        names = _names(some)
        if names not in self._allowed:
            said = reduce(both, (self.wording.residency(of, self.book, self.now) for of in self.widened(some)))
            self.good_until = self.sooner(said.good_until)
            self._allowed[names] = said.allowed
        return self._allowed[names]

    def sooner(self, end: datetime | None) -> datetime | None:
        """Return the earlier of an end and of that of the answers so far."""
        return min((one for one in (self.good_until, end) if one is not None), default=None)

    def widened(self, some: Some) -> tuple[Effective, ...]:
        """Return the policies with some of the derogations."""
        return tuple(derogated(of, some) for of in self.policies)

    def used(self, some: Some) -> Derogated:
        """Return what an attempt that rests on some of the derogations is to say."""
        names = _names(some)
        if names not in self._used:
            digests = tuple(of.digest for of in self.widened(some))
            self._used[names] = Derogated(digests[0], names, digests)
        return self._used[names]

    def _lets_into(self, pool: PoolName) -> Callable[[Some], bool]:
        return lambda some: pool in self.allowed(some)


def _names(some: Some) -> tuple[str, ...]:
    return tuple(one.derogation.id for one in some)


def both(one: Residency, other: Residency) -> Residency:
    """Return what two policies allow together, said at one epoch."""
    ends = [end for end in (one.good_until, other.good_until) if end is not None]
    pools = {*one.refusals, *other.refusals}
    refusals = {
        pool: tuple(dict.fromkeys((*one.refusals.get(pool, ()), *other.refusals.get(pool, ())))) for pool in pools
    }
    return replace(
        one,
        allowed=one.allowed & other.allowed,
        refusals=refusals,
        is_exclusive=one.is_exclusive or other.is_exclusive,
        is_sensitive=one.is_sensitive or other.is_sensitive,
        policies=(*one.policies, *other.policies),
        good_until=min(ends, default=None),
    )
