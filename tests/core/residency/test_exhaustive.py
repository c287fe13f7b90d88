"""Every policy of a reduced universe with every other, under every combination of who states what: no samples.

The universe is small in values and whole in combinations: two territories and one outside, one state that may compel,
two levels, three ways to speak of egress. The counts at the end of each test say how much was compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from itertools import product
from typing import Any

import pytest

from nordan_core.residency.facets import EMPTY, FACETS, Policy, meet
from nordan_core.residency.facts import PoolFacts
from nordan_core.residency.judge import judge, permits
from nordan_core.residency.layers import Layer, LayerKind, effective
from support.residency import ATLAS, NOW, a_german_pool, a_policy, a_pool, a_swedish_pool

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LEAST_PAIRS = 50_000
POOLS: tuple[PoolFacts, ...] = (
    a_pool(),
    a_swedish_pool(encryption=None),
    a_german_pool(),
    a_pool(enforces=frozenset(["isolation"])),
    a_german_pool(territory="FR", encryption=None),
)
UNIVERSE: dict[str, tuple[Any, ...]] = {
    "process": (None, [], ["FR"], ["SE"], ["FR", "SE"]),
    "forbid_exposure": (None, [], ["US"]),
    "encryption": (None, "none", "hyok"),
    "class": (None, "public", "confidential"),
    "egress": (None, [], "unenforced"),
}
#: The five places at once, so that what must be stated can be.
SPOKEN: dict[str, tuple[Any, ...]] = {
    "residency": (None, ["FR"], ["FR", "SE"]),
    "class": (None, "public", "confidential"),
    "egress": (None, []),
}


def policies_of(universe: Mapping[str, tuple[Any, ...]]) -> list[Policy]:
    return [
        a_policy(**{facet: value for facet, value in zip(universe, row, strict=True) if value is not None})
        for row in product(*universe.values())
    ]


@cache
def permitted(policy: Policy) -> int:
    """Return the pools that a policy permits, as bits."""
    return sum(1 << place for place, pool in enumerate(POOLS) if permits(policy, pool, ATLAS, NOW).allowed)


def test_every_pair_meets_as_it_permits() -> None:
    seen = Counter[tuple[bool, bool]]()
    policies = [(policy, permitted(policy)) for policy in policies_of(UNIVERSE)]
    for (one, by_one), (two, by_two) in product(policies, repeat=2):
        by_both = permitted(meet(one, two))
        assert by_both == by_one & by_two
        seen[by_both > 0, by_both == by_one] += 1
    assert sum(seen.values()) >= LEAST_PAIRS
    assert min(seen[pair] for pair in [(True, True), (True, False), (False, True), (False, False)]) >= 1_000, seen


def test_every_pair_and_every_triple_of_values_meets_by_the_laws() -> None:
    policies = policies_of(UNIVERSE)
    assert all(meet(one, one) == one == meet(EMPTY, one) for one in policies)
    pairs = list(product(policies, repeat=2))
    assert len(pairs) >= LEAST_PAIRS
    assert all(meet(one, two) == meet(two, one) for one, two in pairs)
    # The meet works facet by facet, so triples of each facet's values are all triples that differ.
    for facet, values in UNIVERSE.items():
        stated = policies_of({facet: values})
        for one, two, three in product(stated, repeat=3):
            assert meet(meet(one, two), three) == meet(one, meet(two, three))
            met = meet(one, two)
            assert {name for name in FACETS if met.facet(name) is not None} <= {facet}


class Table:
    """Which pools are eligible, for every floor, owner and job of the spoken universe, each of which may be absent."""

    def __init__(self) -> None:
        self.floors = policies_of(SPOKEN)
        self.owners = [None, *policies_of({**SPOKEN, "egress": (None, [], "unenforced")})]
        self.jobs = [None, *policies_of(SPOKEN)]
        self.contexts = list(product(self.floors, self.owners, (True, False)))

    def row(self, floor: Policy, owner: Policy | None, has_content: bool) -> list[int]:
        """Return for each job the pools where it may run, as bits."""
        return [eligible(floor, owner, has_content, job) for job in self.jobs]


@cache
def eligible(floor: Policy, owner: Policy | None, has_content: bool, job: Policy | None) -> int:
    """Return the pools where a job may run, as bits; worked out once."""
    said = ((LayerKind.PROJECT, floor), (LayerKind.INPUT, owner), (LayerKind.JOB, job))
    layers = [Layer(kind, kind, policy) for kind, policy in said if policy is not None]
    of = effective(layers, has_content=has_content)
    return sum(1 << place for place, pool in enumerate(POOLS[:4]) if judge(of, pool, ATLAS, NOW).allowed)


@pytest.fixture(scope="module")
def table() -> Table:
    return Table()


def _is_within(tight: int, loose: int) -> bool:
    return tight & ~loose == 0


def test_adding_or_tightening_a_job_never_enlarges_under_any_owners_and_floors(table: Table) -> None:
    seen, jobs = Counter[str](), list(enumerate(table.jobs))
    tighter = [(n, table.jobs.index(meet(one, two))) for n, one in jobs for _, two in jobs if one and two]
    for context in table.contexts:
        row = table.row(*context)
        for job, met in tighter:
            before, after = row[job], row[met]
            assert _is_within(before, row[0]), (context, table.jobs[job])
            assert _is_within(after, before), (context, table.jobs[job], table.jobs[met])
            seen["narrower" if after != before else "same" if after else "nothing"] += 1
    assert sum(seen.values()) >= LEAST_PAIRS
    assert min(seen[how] for how in ("narrower", "same", "nothing")) >= 1_000, seen


def test_tightening_what_an_owner_or_a_floor_states_never_enlarges(table: Table) -> None:
    seen = Counter[str]()
    for floor, owner, has_content in table.contexts:
        for more in table.floors:
            for job in (None, table.jobs[-1]):
                before = eligible(floor, owner, has_content, job)
                if set(more.stated()) <= set(floor.stated()):
                    after = eligible(meet(floor, more), owner, has_content, job)
                    assert _is_within(after, before), (floor, owner, more)
                    seen["floor narrower" if after != before else "floor same"] += 1
                if owner is not None and set(more.stated()) <= set(owner.stated()):
                    after = eligible(floor, meet(owner, more), has_content, job)
                    assert _is_within(after, before), (floor, owner, more)
                    seen["owner narrower" if after != before else "owner same"] += 1
    assert min(seen.values()) >= 20, seen
    assert len(seen) == 4, seen


def test_an_owner_who_newly_speaks_may_open_what_nobody_spoke_for(table: Table) -> None:
    """Why only a *stated* facet counts: this is a default giving way, not a policy that got wider."""
    silent, speaking = a_policy(class_="internal"), a_policy(class_="internal", residency=["FR", "SE"])
    floor = a_policy()
    assert eligible(floor, silent, True, None) == 0
    assert eligible(floor, speaking, True, None) > 0
