"""Masks say what the judge says, for as long as it would."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from nordan_core.residency import masks
from nordan_core.residency.facets import Policy
from nordan_core.residency.facts import PoolFacts
from nordan_core.residency.judge import judge, line_verdict
from nordan_core.residency.masks import MaskCache, compile_mask
from nordan_core.residency.places import Atlas
from nordan_core.residency.verdicts import Verdict
from support.residency import ATLAS, FAR, NOW, a_german_pool, a_policy, a_pool, a_swedish_pool, an_atlas, as_owner

POOLS = (a_pool(), a_german_pool(), a_swedish_pool())
NORDIC = as_owner(process=["FR", "SE"])
SOON = NOW + timedelta(minutes=5)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record which facets are held against which pools."""
    calls: list[str] = []

    def recording(facet: str, policy: Policy, facts: PoolFacts, atlas: Atlas, instant: datetime) -> Verdict:
        calls.append(f"{facet} of {facts.pool}")
        return line_verdict(facet, policy, facts, atlas, instant)

    monkeypatch.setattr(masks, "line_verdict", recording)
    return calls


def test_a_bit_is_set_for_each_lawful_pool() -> None:
    mask = compile_mask(NORDIC, POOLS, ATLAS, NOW)
    assert mask.bits == 0b101
    assert [mask.allows(place) for place in range(3)] == [True, False, True]
    assert mask.verdicts == tuple(judge(NORDIC, facts, ATLAS, NOW) for facts in POOLS)


def test_a_mask_is_good_until_the_first_of_its_verdicts_ends() -> None:
    pools = (a_pool(), a_swedish_pool(valid_until=SOON))
    mask = compile_mask(NORDIC, pools, ATLAS, NOW)
    assert mask.good_until == SOON
    assert mask.holds_at(NOW)
    assert mask.holds_at(SOON - timedelta(microseconds=1))
    assert not mask.holds_at(SOON)
    assert not mask.holds_at(NOW - timedelta(seconds=1))


def test_a_verdict_that_never_changes_does_not_end_a_mask() -> None:
    mask = compile_mask(NORDIC, (a_pool(valid_until=NOW), a_swedish_pool()), ATLAS, NOW)
    assert (mask.bits, mask.good_until) == (0b10, FAR)


def test_no_pools_make_an_empty_mask() -> None:
    mask = compile_mask(NORDIC, (), ATLAS, NOW)
    assert (mask.bits, mask.good_until, mask.holds_at(FAR)) == (0, None, True)


def test_the_same_question_is_asked_once(judged: list[str]) -> None:
    cache = MaskCache()
    first = cache.mask(NORDIC, POOLS, ATLAS, NOW)
    asked = list(judged)
    assert cache.mask(as_owner(process=["SE", "FR"]), tuple(POOLS), ATLAS, SOON) is first
    assert judged == asked


def test_policies_share_what_their_facets_have_in_common(judged: list[str]) -> None:
    cache = MaskCache()
    cache.mask(as_owner(process=["FR", "SE"], evidence="E3"), POOLS, ATLAS, NOW)
    cache.mask(as_owner(process=["DE"], evidence="E2"), POOLS, ATLAS, NOW)
    del judged[:]
    mask = cache.mask(as_owner(process=["FR", "SE"], evidence="E2"), POOLS, ATLAS, NOW)
    assert judged == []
    assert mask.bits == compile_mask(as_owner(process=["FR", "SE"], evidence="E2"), POOLS, ATLAS, NOW).bits


def test_a_change_of_facts_asks_about_that_pool_again_and_no_other(judged: list[str]) -> None:
    cache = MaskCache()
    cache.mask(NORDIC, POOLS, ATLAS, NOW)
    del judged[:]
    moved = (a_pool(territory="DE", facts_version=2), *POOLS[1:])
    assert cache.mask(NORDIC, moved, ATLAS, NOW).bits == 0b100
    assert {one.partition(" of ")[2] for one in judged} == {"fr-bru-1-h100"}
    assert "process of fr-bru-1-h100" in judged


def test_an_end_that_has_come_asks_about_that_pool_again_and_no_other(judged: list[str]) -> None:
    cache = MaskCache()
    pools = (a_pool(), a_swedish_pool(valid_until=SOON))
    assert cache.mask(NORDIC, pools, ATLAS, NOW).bits == 0b11
    del judged[:]
    assert cache.mask(NORDIC, pools, ATLAS, SOON).bits == 0b01
    assert {one.partition(" of ")[2] for one in judged} == {"se-bor-1-h200"}


def test_a_group_that_another_atlas_knows_otherwise_is_asked_for_anew() -> None:
    smaller = an_atlas(
        groups={"UNION": {"title": "a", "members": [{"territory": "FR", "from": "2000-01-01", "source": "treaty"}]}}
    )
    of = replace(as_owner(class_="public"), policy=a_policy(an_atlas(), process=["UNION"]))
    cache = MaskCache()
    assert [cache.mask(of, POOLS, atlas, NOW).bits for atlas in (an_atlas(), smaller, an_atlas())] == [
        0b101,
        0b1,
        0b101,
    ]


def test_another_policy_or_atlas_is_another_question() -> None:
    cache = MaskCache()
    cache.mask(NORDIC, POOLS, ATLAS, NOW)
    assert cache.mask(as_owner(process=["DE"]), POOLS, ATLAS, NOW).bits == 0b010
    assert cache.mask(NORDIC, POOLS, an_atlas(), NOW).bits == 0b101


def test_what_fails_is_told_without_the_pool_in_the_order_of_the_facets() -> None:
    mask = compile_mask(as_owner(process=["FR"], evidence="E4", tenancy="single"), POOLS, ATLAS, NOW)
    for place, facts in enumerate(POOLS):
        said = judge(mask.effective, facts, ATLAS, NOW)
        assert mask.shortfalls(place) == tuple((one.facet, one.want, one.have) for one in said.refusals)


def test_what_is_missing_is_part_of_the_question() -> None:
    cache = MaskCache()
    owner = as_owner(residency=["FR"], class_="internal")
    assert cache.mask(owner, POOLS, ATLAS, NOW).bits == 0b001
    unstated = as_owner(process=["FR"], class_="internal")
    assert cache.mask(unstated, POOLS, ATLAS, NOW).bits == 0


def test_the_order_of_pools_is_the_order_of_bits(judged: list[str]) -> None:
    cache = MaskCache()
    assert cache.mask(NORDIC, POOLS, ATLAS, NOW).bits == 0b101
    del judged[:]
    assert cache.mask(NORDIC, (POOLS[1], POOLS[0]), ATLAS, NOW).bits == 0b10
    assert judged == []


def test_past_its_end_a_mask_is_taken_again() -> None:
    cache = MaskCache()
    pools = (a_pool(valid_until=SOON),)
    assert cache.mask(NORDIC, pools, ATLAS, NOW).bits == 1
    assert cache.mask(NORDIC, pools, ATLAS, SOON).bits == 0
    assert cache.mask(NORDIC, pools, ATLAS, NOW).bits == 1


def test_lines_are_dropped_when_they_were_not_asked_for_longest(judged: list[str]) -> None:
    cache = MaskCache(most_kept=1, most_lines=3)
    for place in ("FR", "DE", "FR", "SE"):
        cache.mask(as_owner(process=[place]), POOLS[:1], ATLAS, NOW)
    del judged[:]
    cache.mask(as_owner(process=["FR"], class_="internal"), POOLS[:1], ATLAS, NOW)
    assert "process of fr-bru-1-h100" not in judged
    cache.mask(as_owner(process=["DE"]), POOLS[:1], ATLAS, NOW)
    assert "process of fr-bru-1-h100" in judged


def test_masks_are_dropped_too() -> None:
    cache = MaskCache(most_kept=1)
    first = cache.mask(NORDIC, POOLS[:1], ATLAS, NOW)
    cache.mask(NORDIC, POOLS[1:], ATLAS, NOW)
    assert cache.mask(NORDIC, POOLS[:1], ATLAS, datetime(2027, 1, 1, tzinfo=UTC)) is not first
