"""Smallest covers against trying everything, and the budget's honest answer."""

from __future__ import annotations

import time
from collections import Counter
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from nordan_core.residency.covers import smallest_cover

SIZE = 7
SETS = st.lists(st.integers(0, 2**SIZE - 1), max_size=8)


def by_trying(sets: list[int], everything: int) -> int | None:
    for size in range(len(sets) + 1):
        for group in combinations(sets, size):
            if _covered(group) & everything == everything:
                return size
    return None


def _covered(group: tuple[int, ...]) -> int:
    covered = 0
    for one in group:
        covered |= one
    return covered


def test_no_cover_is_smaller_than_the_one_found() -> None:
    seen: Counter[int | None] = Counter()

    @settings(max_examples=200, derandomize=True, database=None, deadline=None)
    @given(SETS, st.integers(0, 2**SIZE - 1))
    def check(sets: list[int], everything: int) -> None:
        found, expected = smallest_cover(sets, everything), by_trying(sets, everything)
        seen[expected] += 1
        if found is None:
            assert expected is None
            return
        assert found.is_smallest
        assert _covered(tuple(sets[place] for place in found.places)) & everything == everything
        assert len(found.places) == expected

    check()
    assert min(seen[size] for size in (None, 0, 1, 2, 3)) >= 5, seen


def test_a_conflict_of_five_is_found_where_no_four_are_enough() -> None:
    # Each of five takes out all but its own pool of five; beside them thirty that take out one pool each.
    needed = [0b00011, 0b00110, 0b01100]
    noise = [1 << place for place in range(5)] * 6
    found = smallest_cover([*noise, *needed, 0b10000], 0b11111)
    assert found is not None
    assert len(found.places) == by_trying([*needed, *noise[:5]], 0b11111) == 3


def test_beyond_the_budget_the_answer_is_irreducible_and_says_so() -> None:
    sets = [(1 << place) | (1 << (place + 1)) for place in range(40)]
    everything = (1 << 41) - 1
    found = smallest_cover(sets, everything, budget=3)
    assert found is not None
    assert not found.is_smallest
    assert _covered(tuple(sets[place] for place in found.places)) == everything
    for left_out in found.places:
        rest = tuple(sets[place] for place in found.places if place != left_out)
        assert _covered(rest) & everything != everything


def test_the_budget_is_counted_step_by_step() -> None:
    # Nothing, then one set, then whether that was all: three steps.
    enough, short = (smallest_cover([0b1], 0b1, budget=steps) for steps in (3, 2))
    assert enough is not None
    assert short is not None
    assert (enough.places, enough.is_smallest) == ((0,), True)
    assert (short.places, short.is_smallest) == ((0,), False)


def test_a_thousand_pools_and_eighty_parts_are_answered_at_once() -> None:
    sets = [sum(1 << pool for pool in range(1000) if (pool * 7 + part * 13) % 11 < 4) for part in range(80)]
    started = time.perf_counter()
    assert smallest_cover(sets, (1 << 1000) - 1) is not None
    # No measurement: a search without its budget would take hours.
    assert time.perf_counter() - started < 30
