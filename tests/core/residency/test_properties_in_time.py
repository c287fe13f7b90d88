"""The invariants that turn on instants and derogations, over drawn policies and pools, counting what was seen.

A kept verdict is used until its own end, so nothing may change before it; and a derogation is the one thing that
widens, so what it must leave alone is stated here for all of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nordan_core.residency.derogations import Covering
from nordan_core.residency.facts import ControlPlaneFacts, PoolFacts
from nordan_core.residency.joins import DEROGABLE
from nordan_core.residency.judge import judge, judge_control_plane, judge_reader, judge_storage
from nordan_core.residency.layers import Effective, Layer, LayerKind, effective
from nordan_core.residency.masks import MaskCache
from nordan_core.residency.policy import Policy, meet
from nordan_core.residency.verdicts import Verdict
from nordan_core.residency.widening import derogated
from support.derogations import a_derogation
from support.residency import ATLAS, ENTITIES, NOW, a_layer, a_policy, an_atlas, in_force
from support.residency_strategies import FACET_VALUES, INSTANTS, owner_and_floor_layers, policies, pools

#: The union loses a country on 2027-01-01 and gets it back a year later; an adequacy ends on 2027-06-01.
CHANGING = an_atlas()
STEADY = settings(
    max_examples=100, derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
HERE = ControlPlaneFacts(territory="SE", operator="auvergne-calcul", entities=ENTITIES)
ENDS = ("2027-01-01", "2028-01-01", "2031-01-01", "2026-11-22T09:30:00Z")

changing_places = st.sampled_from([["UNION"], ["ADEQUATE"], ["FR", "ADEQUATE"], ["FR", "SE"], ["FR"]])
statements = st.fixed_dictionaries(
    {"residency": changing_places, "class": FACET_VALUES["class"]},
    optional={"valid_until": st.sampled_from(ENDS), "encryption": FACET_VALUES["encryption"]},
)
leaves = st.none() | st.builds(
    lambda facet, days: a_derogation(
        CHANGING, facet=facet, to=["NO", "SE"], not_after=(NOW + timedelta(days=days)).isoformat()
    ),
    st.sampled_from(["process", "store", "describe", "access", "key"]),
    st.integers(1, 30),
)


def _under(stated: dict[str, Any], leave: Any) -> Effective:
    floor = Layer(LayerKind.PROJECT, "floor", a_policy(CHANGING, **stated))
    of = effective([floor], has_content=False)
    return of if leave is None else derogated(of, [Covering(leave, None)])


@st.composite
def _questions(draw: st.DrawFn) -> tuple[Effective, PoolFacts, str]:
    pool = replace(draw(pools), certifications=())
    act = draw(st.sampled_from(["run", "store", "describe", "read"]))
    return _under(draw(statements), draw(leaves)), pool, act


def _verdict(of: Effective, pool: PoolFacts, act: str, at: datetime) -> Verdict:
    if act == "run":
        return judge(of, pool, CHANGING, at)
    if act == "store":
        return judge_storage(of, pool, CHANGING, at)
    return judge_control_plane(of, HERE, CHANGING, at) if act == "describe" else judge_reader(of, "SE", CHANGING, at)


def test_no_verdict_changes_before_its_end_whatever_the_act() -> None:
    seen: Counter[tuple[str, str]] = Counter()

    @settings(STEADY, max_examples=250)
    @given(_questions(), st.floats(0, 0.999999))
    def check(question: tuple[Effective, PoolFacts, str], part: float) -> None:
        first = _verdict(*question, NOW)
        end = first.good_until or NOW + timedelta(days=3650)
        for at in (NOW + part * (end - NOW), end - timedelta(microseconds=1)):
            later = _verdict(*question, at)
            assert (later.failing, later.good_until) == (first.failing, first.good_until)
        if first.good_until is not None:
            changed = _verdict(*question, end).failing != first.failing
            seen[question[2], "changed at its end" if changed else "was judged again for nothing"] += 1

    check()
    assert min(seen[act, "changed at its end"] for act in ("run", "store", "describe", "read")) >= 8, seen


def test_a_cache_answers_like_the_judge_at_every_instant_and_judges_again_at_an_end() -> None:
    cache = MaskCache(most_kept=64)
    seen: Counter[str] = Counter()

    @settings(STEADY, max_examples=80)
    @given(statements, leaves, st.lists(pools, min_size=1, max_size=3), st.lists(st.sampled_from(INSTANTS), max_size=2))
    def check(stated: dict[str, Any], leave: Any, some: list[PoolFacts], others: list[datetime]) -> None:
        of = _under(stated, leave)
        first = cache.mask(of, some, CHANGING, NOW)
        ends = [] if first.good_until is None else [first.good_until - timedelta(microseconds=1), first.good_until]
        for at in (*ends, *others, NOW):
            kept = cache.mask(of, some, CHANGING, at)
            expected = [judge(of, pool, CHANGING, at) for pool in some]
            assert [kept.allows(place) for place in range(len(some))] == [one.allowed for one in expected]
            assert [one.failing for one in kept.verdicts] == [one.failing for one in expected]
            assert kept.holds_at(at)
            if kept.bits != first.bits:
                seen["differs"] += 1
            elif at != NOW and kept is first:
                seen["kept"] += 1
        seen["allowed" if first.bits else "refused"] += 1

    check()
    assert min(seen[what] for what in ("differs", "kept", "allowed", "refused")) >= 8, seen


def test_tightening_what_an_owner_or_a_floor_states_never_makes_a_pool_lawful() -> None:
    seen: Counter[tuple[LayerKind, bool, bool]] = Counter()

    @settings(STEADY, max_examples=300)
    @given(owner_and_floor_layers, policies(may_waive=False), pools, st.data())
    def check(layers: list[Layer], asked: Policy, pool: PoolFacts, data: st.DataObject) -> None:
        if not layers:
            return
        place = data.draw(st.integers(0, len(layers) - 1))
        facet = data.draw(st.sampled_from(layers[place].policy.stated()))
        more = a_policy(**{facet: data.draw(_documents(facet))})
        tighter = [*layers]
        tighter[place] = replace(layers[place], policy=meet(layers[place].policy, more))
        job = Layer(LayerKind.JOB, "job", asked)
        before, after = (
            judge(effective([*some, job], has_content=True), pool, ATLAS, NOW).allowed for some in (layers, tighter)
        )
        assert before or not after
        seen[layers[place].kind, before, after] += 1

    check()
    assert min(seen[LayerKind.PROJECT, True, after] for after in (True, False)) >= 5, seen


def test_a_derogation_changes_its_own_facet_alone_and_none_that_nobody_may_widen() -> None:
    seen: Counter[str] = Counter()

    @settings(STEADY, max_examples=250)
    @given(
        owner_and_floor_layers,
        st.sampled_from(DEROGABLE).flatmap(
            lambda facet: st.tuples(st.just(facet), _documents(facet), _documents(facet))
        ),
        st.lists(st.sampled_from(DEROGABLE), max_size=2),
        st.booleans(),
        pools,
    )
    def check(
        layers: list[Layer], what: tuple[str, Any, Any], closed: list[str], closes_own: bool, pool: PoolFacts
    ) -> None:
        facet, stated, to = what
        closed = [*closed, facet] if closes_own else [one for one in closed if one != facet]
        says = a_layer("input", "patients", **{facet: stated, "non_derogable": closed})
        of = in_force(*layers, says, has_content=True)
        with_it = derogated(of, [Covering(a_derogation(facet=facet, to=to), None)])
        for act in (judge, judge_storage):
            plain, widened = act(of, pool, ATLAS, NOW), act(with_it, pool, ATLAS, NOW)
            assert widened.failing <= plain.failing
            assert plain.failing - widened.failing <= {facet}
            if facet in (of.policy.non_derogable or ()):
                assert widened.failing == plain.failing
                assert not any("derogation" in gap for gap in widened.gaps)
                seen["closed, and would fail without it"] += facet in plain.failing
            else:
                seen["widened"] += widened.failing != plain.failing

    check()
    assert min(seen.values()) >= 8, seen
    assert len(seen) == 2, seen


def _documents(facet: str) -> st.SearchStrategy[Any]:
    return FACET_VALUES[facet].filter(lambda value: value != "unenforced")
