"""Masks say what the judge says, for as long as it would."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nordan_core.residency import masks
from nordan_core.residency.facts import PoolFacts
from nordan_core.residency.judge import judge
from nordan_core.residency.layers import Effective
from nordan_core.residency.masks import MaskCache, compile_mask
from nordan_core.residency.places import Atlas
from nordan_core.residency.verdicts import Verdict
from support.residency import ATLAS, FAR, NOW, a_german_pool, a_pool, a_swedish_pool, an_atlas, as_owner

POOLS = (a_pool(), a_german_pool(), a_swedish_pool())
NORDIC = as_owner(process=["FR", "SE"])
SOON = NOW + timedelta(minutes=5)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record which pools are judged."""
    calls: list[str] = []

    def recording(effective: Effective, facts: PoolFacts, atlas: Atlas, instant: datetime) -> Verdict:
        calls.append(facts.pool)
        return judge(effective, facts, atlas, instant)

    monkeypatch.setattr(masks, "judge", recording)
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


def test_the_same_question_is_judged_once(judged: list[str]) -> None:
    cache = MaskCache()
    first = cache.mask(NORDIC, POOLS, ATLAS, NOW)
    again = cache.mask(as_owner(process=["SE", "FR"]), tuple(POOLS), ATLAS, SOON)
    assert again is first
    assert len(judged) == 3


def test_a_change_of_facts_judges_that_pool_again_and_no_other(judged: list[str]) -> None:
    cache = MaskCache()
    cache.mask(NORDIC, POOLS, ATLAS, NOW)
    moved = (a_pool(territory="DE", facts_version=2), *POOLS[1:])
    assert cache.mask(NORDIC, moved, ATLAS, NOW).bits == 0b100
    assert judged[3:] == ["fr-bru-1-h100"]


def test_another_policy_or_atlas_is_another_question(judged: list[str]) -> None:
    cache = MaskCache()
    cache.mask(NORDIC, POOLS, ATLAS, NOW)
    assert cache.mask(as_owner(process=["DE"]), POOLS, ATLAS, NOW).bits == 0b010
    assert cache.mask(NORDIC, POOLS, an_atlas(), NOW).bits == 0b101
    assert len(judged) == 9


def test_what_is_missing_is_part_of_the_question() -> None:
    cache = MaskCache()
    owner = as_owner(residency=["FR"], class_="internal")
    assert cache.mask(owner, POOLS, ATLAS, NOW).bits == 0b001
    unstated = as_owner(process=["FR"], class_="internal")
    assert cache.mask(unstated, POOLS, ATLAS, NOW).bits == 0


def test_the_order_of_pools_is_the_order_of_bits(judged: list[str]) -> None:
    cache = MaskCache()
    assert cache.mask(NORDIC, POOLS, ATLAS, NOW).bits == 0b101
    assert cache.mask(NORDIC, (POOLS[1], POOLS[0]), ATLAS, NOW).bits == 0b10
    assert len(judged) == 3


def test_past_its_end_a_mask_is_taken_again() -> None:
    cache = MaskCache()
    pools = (a_pool(valid_until=SOON),)
    assert cache.mask(NORDIC, pools, ATLAS, NOW).bits == 1
    assert cache.mask(NORDIC, pools, ATLAS, SOON).bits == 0
    assert cache.mask(NORDIC, pools, ATLAS, NOW).bits == 1


def test_the_cache_forgets_what_was_not_asked_for_longest(judged: list[str]) -> None:
    cache = MaskCache(most_kept=2)
    french, german, swedish = POOLS
    for facts in (french, german, french, swedish):
        cache.verdict(NORDIC, facts, ATLAS, NOW)
    assert len(judged) == 3
    cache.verdict(NORDIC, french, ATLAS, NOW)
    assert len(judged) == 3
    cache.verdict(NORDIC, german, ATLAS, NOW)
    assert len(judged) == 4


def test_masks_are_dropped_too() -> None:
    cache = MaskCache(most_kept=1)
    first = cache.mask(NORDIC, POOLS[:1], ATLAS, NOW)
    cache.mask(NORDIC, POOLS[1:], ATLAS, NOW)
    assert cache.mask(NORDIC, POOLS[:1], ATLAS, datetime(2027, 1, 1, tzinfo=UTC)) is not first
