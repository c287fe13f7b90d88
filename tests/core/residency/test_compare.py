"""What a comparison calls tighter is tighter for every pool, and each facet is compared by its own order."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings

from nordan_core.residency.compare import Direction, compare
from nordan_core.residency.facets import FACETS, Policy, meet
from nordan_core.residency.facts import PoolFacts
from nordan_core.residency.judge import judge
from nordan_core.residency.layers import Layer, LayerKind, effective
from support.residency import ATLAS, FAR, NOW, a_policy, an_atlas
from support.residency_strategies import policies, pools

CASES: dict[str, tuple[dict[str, object], dict[str, object], str]] = {
    "a shorter list": ({"process": ["FR", "SE"]}, {"process": ["FR"]}, "tighter"),
    "a longer list": ({"store": ["FR"]}, {"store": ["EU"]}, "wider"),
    "another list": ({"key": ["FR", "SE"]}, {"key": ["SE", "NO"]}, "mixed"),
    "a group by its members": ({"access": ["EU", "FR"]}, {"access": ["EU"]}, "same"),
    "a facet stated anew": ({}, {"describe": ["EU"]}, "tighter"),
    "a facet left out": ({"describe": ["EU"]}, {}, "wider"),
    "nowhere": ({"process": ["FR"]}, {"process": []}, "tighter"),
    "a dependency is forbidden with its state": (
        {"forbid_exposure": ["US", "PR"]},
        {"forbid_exposure": ["US"]},
        "same",
    ),
    "another state forbidden": ({"forbid_exposure": ["US"]}, {"forbid_exposure": ["US", "CN"]}, "tighter"),
    "a higher level of a scheme": (
        {"certifications": {"c5": "type1"}},
        {"certifications": {"c5": "type2"}},
        "tighter",
    ),
    "two levels of which one includes the other": (
        {"certifications": {"c5": ["type1", "type2"]}},
        {"certifications": {"c5": "type2"}},
        "same",
    ),
    "SEAL up and down": ({"seal_min": [1] * 8}, {"seal_min": [2, 0, 1, 1, 1, 1, 1, 1]}, "mixed"),
    "a smaller share": (
        {"ownership_max": {"EU": {"single": 24, "collective": 39}}},
        {"ownership_max": {"EU": {"single": 24, "collective": 30}}},
        "tighter",
    ),
    "a weaker level": ({"encryption": "byok"}, {"encryption": "rest"}, "wider"),
    "a stronger level": ({"compute": "tee"}, {"compute": "tee_gpu"}, "tighter"),
    "more neighbours": ({"tenancy": "single"}, {"tenancy": "dedicated"}, "wider"),
    "better evidence": ({"evidence": "E0"}, {"evidence": "E2"}, "tighter"),
    "public instead of the default": ({}, {"class": "public"}, "wider"),
    "confidential, which is the default": ({}, {"class": "confidential"}, "same"),
    "a waiver instead of the default": ({}, {"egress": "unenforced"}, "wider"),
    "a list instead of the default": ({}, {"egress": ["hub"]}, "wider"),
    "a list instead of nothing said below confidential": (
        {"class": "internal"},
        {"class": "internal", "egress": ["hub"]},
        "tighter",
    ),
    "an earlier end": ({"valid_until": "2028-01-01"}, {"valid_until": "2027-01-01"}, "tighter"),
    "a facet that may be derogated from": ({"non_derogable": ["process"]}, {"non_derogable": []}, "wider"),
    "nothing": ({"process": ["FR"]}, {"process": ["FR"]}, "same"),
}


@pytest.mark.parametrize(("before", "after", "direction"), CASES.values(), ids=CASES)
def test_a_change_has_the_direction(before: dict[str, object], after: dict[str, object], direction: str) -> None:
    found = compare(a_policy(**before), a_policy(**after), ATLAS, NOW)
    assert found.direction == direction
    back = compare(a_policy(**after), a_policy(**before), ATLAS, NOW).direction
    assert back == {"tighter": "wider", "wider": "tighter"}.get(direction, direction)


def test_every_facet_has_a_case() -> None:
    assert {facet for before, after, _ in CASES.values() for facet in before.keys() | after.keys()} == set(FACETS)


def test_territories_that_come_and_go_are_named() -> None:
    (change,) = compare(a_policy(store=["FR", "SE"]), a_policy(store=["SE", "NO"]), ATLAS, NOW).changes
    assert (change.added, change.removed) == (("NO",), ("FR",))


def test_a_group_is_compared_as_it_is_at_that_instant() -> None:
    atlas = an_atlas()
    union, pair = a_policy(atlas, process=["UNION"]), a_policy(atlas, process=["FR", "SE"])
    assert compare(union, pair, atlas, NOW).direction is Direction.SAME
    assert compare(union, pair, atlas, FAR.replace(year=2027)).direction is Direction.WIDER


def test_a_tighter_policy_allows_no_pool_that_the_other_refuses() -> None:
    seen: Counter[tuple[bool, bool]] = Counter()

    # No deadline: how long one case takes says nothing on a machine that does other things.
    @settings(max_examples=100, derandomize=True, database=None, deadline=None)
    @given(policies(), policies(), pools)
    def check(left: Policy, right: Policy, pool: PoolFacts) -> None:
        # A meet is tighter than its parts, so that tighter pairs are common.
        for before, after in ((left, right), (left, meet(left, right))):
            if compare(before, after, ATLAS, NOW).direction in (Direction.TIGHTER, Direction.SAME):
                lawful = is_lawful(before, pool), is_lawful(after, pool)
                assert lawful != (False, True)
                seen[lawful] += 1

    check()
    assert min(seen[pair] for pair in [(True, True), (True, False), (False, False)]) >= 4, seen


def is_lawful(policy: Policy, pool: PoolFacts) -> bool:
    # Beside a floor, as in real projects: what is missing altogether is no change of the owner's.
    floor = Layer(LayerKind.PROJECT, "floor", a_policy(residency=["EEA", "CH", "GP"]))
    owner = Layer(LayerKind.INPUT, "data", policy)
    return judge(effective([floor, owner], has_content=True), pool, ATLAS, NOW).allowed
