"""The invariants of the policy core over drawn policies and pools.

Each property also counts what it saw, because a property over worlds in which nothing is ever lawful holds of anything.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields, replace
from datetime import datetime, timedelta
from functools import reduce
from itertools import product
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nordan_core.residency.effective_text import effective_document, parse_effective, repeats
from nordan_core.residency.explain import explain_never
from nordan_core.residency.facts import PoolFacts, facts_document
from nordan_core.residency.facts_text import parse_pool_facts
from nordan_core.residency.judge import judge, judge_storage, permits
from nordan_core.residency.layers import Layer, LayerKind, effective, output_policy
from nordan_core.residency.masks import MaskCache, compile_mask
from nordan_core.residency.policy import (
    EMPTY,
    FACETS,
    PLACE_FACETS,
    Policy,
    meet,
    parse_policy,
    policy_digest,
    policy_document,
)
from nordan_core.residency.relaxations import relaxation_for
from support.residency import ATLAS, NOW, a_german_pool, a_policy, a_pool, a_swedish_pool
from support.residency_strategies import (
    full_policies,
    instants,
    owner_and_floor_layers,
    policies,
    pools,
    rich_policies,
)

steady = settings(
    max_examples=100, derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_the_meet_is_commutative_associative_and_idempotent() -> None:
    seen: Counter[str] = Counter()

    @steady
    @given(rich_policies, rich_policies, rich_policies)
    def check(one: Policy, two: Policy, three: Policy) -> None:
        assert meet(one, two) == meet(two, one)
        assert meet(meet(one, two), three) == meet(one, meet(two, three))
        assert meet(one, one) == one
        assert meet(one, EMPTY) == one
        both = set(one.stated()) & set(two.stated())
        seen.update(facet for facet in both if one.facet(facet) != two.facet(facet))

    check()
    # What only one of them states cannot meet wrongly.
    assert min(seen[facet] for facet in FACETS) >= 8, seen


def test_a_meet_permits_exactly_what_both_permit() -> None:
    seen: Counter[tuple[bool, bool]] = Counter()

    @settings(steady, max_examples=220)
    @given(policies(most=2), policies(most=2), pools, instants)
    def check(one: Policy, two: Policy, pool: PoolFacts, instant: datetime) -> None:
        each = [permits(policy, pool, ATLAS, instant) for policy in (one, two)]
        both = permits(meet(one, two), pool, ATLAS, instant)
        assert both.allowed is all(verdict.allowed for verdict in each)
        assert both.failing == each[0].failing | each[1].failing
        if one != two and EMPTY not in (one, two):
            seen[each[0].allowed, each[1].allowed] += 1

    check()
    assert min(seen[one, two] for one in (True, False) for two in (True, False)) >= 8, seen


def test_every_small_policy_meets_as_it_permits() -> None:
    """Three places, two states, two levels: all of them, against every small pool."""
    places = [None, [], ["FR"], ["SE"], ["FR", "SE"], ["EU"]]
    forbidden = [None, [], ["US"]]
    levels = [None, "none", "hyok"]
    stated = [
        a_policy(
            **{
                facet: value
                for facet, value in zip(("process", "forbid_exposure", "encryption"), row, strict=True)
                if value is not None
            }
        )
        for row in product(places, forbidden, levels)
    ]
    small = [a_pool(), a_swedish_pool(encryption=None), a_german_pool(), a_pool(territory="NO", operator="ghost")]
    verdicts = {
        (n, m): permits(policy, pool, ATLAS, NOW).allowed
        for n, policy in enumerate(stated)
        for m, pool in enumerate(small)
    }
    assert 0.2 < sum(verdicts.values()) / len(verdicts) < 0.8
    for (n, one), (k, two) in product(enumerate(stated), repeat=2):
        together = meet(one, two)
        for m, pool in enumerate(small):
            assert permits(together, pool, ATLAS, NOW).allowed is (verdicts[n, m] and verdicts[k, m])


def test_adding_a_job_layer_never_makes_a_pool_lawful() -> None:
    seen: Counter[tuple[bool, bool]] = Counter()

    @settings(steady, max_examples=220)
    @given(owner_and_floor_layers, policies(may_waive=False), pools, st.booleans())
    def check(layers: list[Layer], asked: Policy, pool: PoolFacts, has_content: bool) -> None:
        without = effective(layers, has_content=has_content)
        with_job = effective([*layers, Layer(LayerKind.JOB, "job", asked)], has_content=has_content)
        for act in (judge, judge_storage):
            before, after = (act(one, pool, ATLAS, NOW).allowed for one in (without, with_job))
            assert before or not after
            seen[before, after] += 1
        assert with_job.class_ >= without.class_
        assert set(with_job.missing) >= set(without.missing)

    check()
    assert min(seen[pair] for pair in [(True, True), (True, False), (False, False)]) >= 15, seen


def test_tightening_what_the_job_states_never_makes_a_pool_lawful() -> None:
    seen: Counter[tuple[bool, bool]] = Counter()

    @settings(steady, max_examples=220)
    @given(owner_and_floor_layers, policies(may_waive=False), policies(may_waive=False), pools)
    def check(layers: list[Layer], asked: Policy, more: Policy, pool: PoolFacts) -> None:
        loose, tight = (
            effective([*layers, Layer(LayerKind.JOB, "job", one)], has_content=True)
            for one in (asked, meet(asked, more))
        )
        before, after = (judge(one, pool, ATLAS, NOW).allowed for one in (loose, tight))
        assert before or not after
        seen[before, after] += 1

    check()
    assert min(seen[pair] for pair in [(True, True), (True, False), (False, False)]) >= 4, seen


def test_outputs_are_at_least_as_tight_as_each_input_wherever_they_are_used() -> None:
    seen: Counter[bool] = Counter()

    @steady
    @given(owner_and_floor_layers, policies(may_waive=False), owner_and_floor_layers, pools)
    def check(layers: list[Layer], asked: Policy, elsewhere: list[Layer], pool: PoolFacts) -> None:
        born = output_policy(effective([*layers, Layer(LayerKind.JOB, "job", asked)], has_content=True))
        floors = [layer for layer in elsewhere if layer.kind is LayerKind.PROJECT]
        as_input = effective([*floors, Layer(LayerKind.INPUT, "output", born)], has_content=True)
        allowed = judge(as_input, pool, ATLAS, NOW).allowed
        inputs = [layer for layer in layers if layer.kind in (LayerKind.INPUT, LayerKind.PARENT)]
        for one in inputs:
            alone = effective([*floors, one], has_content=True)
            assert judge(alone, pool, ATLAS, NOW).allowed or not allowed or _lent(one, inputs)
        seen[allowed] += 1

    check()
    assert min(seen[True], seen[False]) >= 8, seen


def _lent(one: Layer, inputs: list[Layer]) -> bool:
    # The five places may be stated by any owner (DESIGN section 4), so another input may speak for a silent one.
    return any(
        other is not one and other.policy.facet(facet) is not None and one.policy.facet(facet) is None
        for other in inputs
        for facet in (*PLACE_FACETS, "egress")
    )


def test_every_policy_survives_printing_and_parsing() -> None:
    seen: Counter[str] = Counter()

    @settings(steady, max_examples=200)
    @given(full_policies())
    def check(policy: Policy) -> None:
        printed = json.loads(json.dumps(policy_document(policy)))
        again = parse_policy(printed, ATLAS)
        assert again == policy
        assert policy_document(again) == printed
        assert policy_digest(again) == policy_digest(policy)
        seen.update(policy.stated())

    check()
    assert min(seen[facet] for facet in FACETS) >= 4, seen


def test_equal_digests_mean_equal_policies() -> None:
    seen: Counter[bool] = Counter()

    @settings(steady, max_examples=200)
    @given(policies(most=1), policies(most=1))
    def check(one: Policy, two: Policy) -> None:
        assert (policy_digest(one) == policy_digest(two)) is (one == two)
        seen[one == two] += 1

    check()
    assert min(seen[True], seen[False]) >= 4, seen


def test_every_effective_policy_survives_the_store_and_repeats() -> None:
    seen: Counter[str] = Counter()

    @steady
    @given(owner_and_floor_layers, policies(may_waive=False), st.booleans())
    def check(layers: list[Layer], asked: Policy, has_content: bool) -> None:
        of = effective([*layers, Layer(LayerKind.JOB, "job", asked)], has_content=has_content)
        stored = parse_effective(json.loads(json.dumps(effective_document(of))), ATLAS)
        assert stored == of
        assert repeats(stored)
        seen.update(["something is missing" if of.missing else "nothing is missing", of.class_.word])

    check()
    assert min(seen["something is missing"], seen["nothing is missing"]) >= 8, seen
    assert len(seen) == 6, seen


def test_all_facts_survive_the_store() -> None:
    seen: Counter[str] = Counter()

    @steady
    @given(pools)
    def check(pool: PoolFacts) -> None:
        again = parse_pool_facts(json.loads(json.dumps(facts_document(pool))), ATLAS)
        assert facts_document(again) == facts_document(pool)
        assert again.digest == pool.digest
        seen.update([again.digest])

    check()
    assert len(seen) >= 20, seen


def test_a_verdict_holds_until_it_says() -> None:
    seen: Counter[bool] = Counter()

    @steady
    @given(policies(), pools, st.floats(0, 0.999999))
    def check(policy: Policy, pool: PoolFacts, part: float) -> None:
        first = permits(policy, pool, ATLAS, NOW)
        end = first.good_until or NOW + timedelta(days=3650)
        later = permits(policy, pool, ATLAS, NOW + part * (end - NOW))
        assert later.failing == first.failing
        assert later.good_until == first.good_until
        if first.good_until:
            seen[permits(policy, pool, ATLAS, first.good_until).allowed is first.allowed] += 1

    check()
    assert min(seen[True], seen[False]) >= 4, seen


def test_knowing_less_about_a_pool_never_makes_it_lawful() -> None:
    unknowns: dict[str, Any] = {
        "access_territories": None,
        "seal": None,
        "encryption": None,
        "compute": None,
        "endpoints": (),
    }
    seen: Counter[tuple[bool, bool]] = Counter()

    @steady
    @given(policies(), pools, st.sampled_from([*unknowns, "entities"]))
    def check(policy: Policy, pool: PoolFacts, fact: str) -> None:
        if fact == "entities":
            known = {name: replace(entity, owners=None) for name, entity in pool.entities.items()}
            blurred = replace(pool, entities=known)
        elif fact == "endpoints" and policy.store is None and policy.key is None:
            return  # without endpoints nobody runs them, and only the places ask for them
        else:
            blurred = replace(pool, **{fact: unknowns[fact]})
        before, after = (permits(policy, one, ATLAS, NOW).allowed for one in (pool, blurred))
        assert before or not after
        seen[before, after] += 1

    check()
    assert seen[True, False] >= 4, seen


def test_masks_and_their_cache_say_what_the_judge_says() -> None:
    # So small that lines and masks are dropped and made again all the time.
    cache = MaskCache(most_kept=16, most_lines=8)
    seen: Counter[str] = Counter()

    @settings(steady, max_examples=150)
    @given(owner_and_floor_layers, st.lists(pools, max_size=4), instants)
    def check(layers: list[Layer], some: list[PoolFacts], instant: datetime) -> None:
        of = effective(layers, has_content=True)
        said = [judge(of, pool, ATLAS, instant) for pool in some]
        fresh = compile_mask(of, some, ATLAS, instant)
        for mask in (fresh, cache.mask(of, some, ATLAS, instant)):
            assert [mask.allows(place) for place in range(len(some))] == [one.allowed for one in said]
            assert mask.bits < 1 << len(some)
            assert mask.good_until == min((one.good_until for one in said if one.good_until), default=None)
        assert fresh.verdicts == tuple(said)
        for place, one in enumerate(said):
            short = tuple((each.facet, each.want, each.have) for each in one.refusals)
            assert fresh.shortfalls(place) == short
            seen["allowed" if one.allowed else "several facets" if len(one.failing) > 1 else "one facet"] += 1

    check()
    assert min(seen[kind] for kind in ("allowed", "one facet", "several facets")) >= 4, seen


def test_a_conflict_leaves_no_pool_and_a_relaxation_leaves_one() -> None:
    seen: Counter[str] = Counter()

    @steady
    @given(owner_and_floor_layers, policies(may_waive=False), st.lists(pools, min_size=1, max_size=4))
    def check(layers: list[Layer], asked: Policy, some: list[PoolFacts]) -> None:
        of = effective([*layers, Layer(LayerKind.JOB, "job", asked)], has_content=True)
        current = [pool for pool in some if pool.valid_until > NOW]
        if not current or any(judge(of, pool, ATLAS, NOW).allowed for pool in current):
            return
        found = explain_never(of, some, ATLAS, NOW)
        assert found.conflict
        facets = {part.facet for part in found.conflict}
        assert all(judge(of, pool, ATLAS, NOW).failing & facets for pool in current)
        seen[f"conflict of {len(found.conflict)}"] += 1
        if found.relaxation is None:
            return
        pool = next(one for one in current if relaxation_for(of, one, ATLAS, NOW) == found.relaxation)
        document = policy_document(of.policy)
        for change in found.relaxation.changes:
            document.pop(change.facet, None)
            if change.value is not None:
                document[change.facet] = change.value
            if change.facet == "class":
                document.pop("egress", None)  # the default that closed it no longer applies
        assert permits(parse_policy(document, ATLAS), pool, ATLAS, NOW).allowed
        seen["relaxed"] += 1

    check()
    assert seen["conflict of 1"] >= 8, seen
    assert seen["relaxed"] >= 8, seen


def test_a_field_of_the_policy_is_a_facet_and_the_other_way_round() -> None:
    assert [one.name.rstrip("_") for one in fields(Policy)] == list(FACETS)


def test_many_layers_meet_like_their_policies() -> None:
    seen: Counter[int] = Counter()

    @steady
    @given(st.lists(policies(may_waive=False), max_size=5))
    def check(stated: list[Policy]) -> None:
        layers = [Layer(LayerKind.JOB, str(place), policy) for place, policy in enumerate(stated)]
        together = effective(layers, has_content=False).policy
        expected = reduce(meet, stated, EMPTY)
        assert replace(together, class_=None, egress=None) == replace(expected, class_=None, egress=None)
        seen[len(stated)] += 1

    check()
    assert min(seen[layers] for layers in (2, 3, 4, 5)) >= 4, seen
