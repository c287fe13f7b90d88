"""The fewest sets that together cover everything, as bits of integers: what a smallest conflict is.

A part of a policy covers the pools (or places) that it alone takes out. Parts that together leave nothing are a
conflict, and people want the smallest. The search is exact; beyond its budget an irreducible answer takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BUDGET = 5_000
"""Steps of the search, well under a second. Conflicts of real policies take tens."""


@dataclass(frozen=True, slots=True)
class Cover:
    """Places in the sequence of sets, ascending."""

    places: tuple[int, ...]
    is_smallest: bool
    """False when the budget ran out: nothing can be left out of it, but a smaller one may exist."""


def smallest_cover(sets: Sequence[int], everything: int, budget: int = BUDGET) -> Cover | None:
    """Return a cover of `everything` with the fewest sets; None when all sets together do not cover it."""
    if _union(sets, range(len(sets))) & everything != everything:
        return None
    search = _Search(_demands(sets, everything), budget)
    for size in range(len(sets) + 1):
        found = search.within(0, size)
        if found is not None:
            return Cover(tuple(_bits(found)), is_smallest=True)
        if search.left <= 0:
            break
    return Cover(_irreducible(sets, everything), is_smallest=False)


def _demands(sets: Sequence[int], everything: int) -> list[int]:
    """Return, for each element that has to be covered, which sets hold it; without those that another implies."""
    holders = {_holders(sets, bit) for bit in _bits(everything)}
    return sorted(one for one in holders if not any(other & one == other for other in holders if other != one))


def _holders(sets: Sequence[int], bit: int) -> int:
    return sum(1 << place for place, one in enumerate(sets) if one >> bit & 1)


class _Search:
    """Meets one demand after the other, always the one with the fewest ways to meet it."""

    def __init__(self, demands: Sequence[int], budget: int) -> None:
        self._demands = demands
        self.left = budget

    def within(self, chosen: int, size: int) -> int | None:
        """Return `chosen` with at most `size` sets more, so that every demand is met; None when there is no such."""
        self.left -= 1
        unmet = [one for one in self._demands if not one & chosen]
        if not unmet:
            return chosen
        if self.left <= 0 or _disjoint(unmet) > size:
            return None
        for place in _bits(min(unmet, key=lambda one: (one.bit_count(), one))):
            found = self.within(chosen | 1 << place, size - 1)
            if found is not None:
                return found
        return None


def _disjoint(demands: Sequence[int]) -> int:
    """Return how many demands share no set with one another, counted greedily: each needs a set of its own."""
    count, used = 0, 0
    for one in demands:
        if not one & used:
            count, used = count + 1, used | one
    return count


def _irreducible(sets: Sequence[int], everything: int) -> tuple[int, ...]:
    kept = list(range(len(sets)))
    for place in range(len(sets)):
        without = [other for other in kept if other != place]
        if _union(sets, without) & everything == everything:
            kept = without
    return tuple(kept)


def _union(sets: Sequence[int], places: Sequence[int] | range) -> int:
    covered = 0
    for place in places:
        covered |= sets[place]
    return covered


def _bits(number: int) -> list[int]:
    return [place for place in range(number.bit_length()) if number >> place & 1]
