"""Proofs of what the policy algebra promises, for every policy and pool over the real atlas, not for drawn ones.

A proof asks for a counterexample and gets none. Each also shows that it speaks of something: that what it assumes, and
the opposite of what it concludes elsewhere, can be had. The formulas are tied to the core by drawn cases below.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import product
from random import Random

import pytest
import z3

from nordan_core.residency.facets import EMPTY, FACETS, PLACE_FACETS
from nordan_core.residency.facets import meet as core_meet
from nordan_core.residency.facts_text import parse_pool_facts
from nordan_core.residency.judge import judge
from nordan_core.residency.judge import permits as core_permits
from nordan_core.residency.layers import Layer, LayerKind
from nordan_core.residency.layers import effective as core_effective
from nordan_core.residency.policy import parse_policy
from support import symbolic
from support.drawn_worlds import draw_policy, draw_question, draw_world
from support.residency import ATLAS, NOW
from support.symbolic import (
    Formula,
    SymbolicLayer,
    any_policy,
    any_pool,
    demands,
    effective,
    eligible,
    encoded,
    encoded_layer,
    encoded_pool,
    is_waived,
    meet,
    met_by,
    same,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

P, P_PROPER = any_policy("p")
Q, Q_PROPER = any_policy("q")
R, R_PROPER = any_policy("r")
POOL, POOL_PROPER = any_pool()
PROPER = [*P_PROPER, *Q_PROPER, *R_PROPER, *POOL_PROPER]


def prove(claims: Mapping[str, Formula], *given: Formula) -> None:
    """Fail with a counterexample when one of the claims does not follow from what is given.

    What is asked is a conjunction with a part for each facet, so proving part by part proves the whole.
    """
    for name, claim in claims.items():
        answer, solver = _asked([z3.Not(claim)], given)
        assert answer == z3.unsat, (name, answer, solver.model() if answer == z3.sat else None)


def can_be(given: Iterable[Formula], *wanted: Formula) -> bool:
    return bool(_asked(list(wanted), given)[0] == z3.sat)


def _asked(wanted: list[Formula], given: Iterable[Formula]) -> tuple[Formula, Formula]:
    # What shares no unknown with the question cannot decide it; it can be had by itself, as a policy that says nothing.
    unknowns = {name: sort for formula in wanted for name, sort in _unknowns(formula).items()}
    related = [formula for formula in given if _unknowns(formula).keys() & unknowns.keys()]
    solver = z3.Solver() if z3.IntSort() in unknowns.values() else z3.SolverFor("QF_BV")
    solver.add(*wanted, *related)
    return solver.check(), solver


def _unknowns(formula: Formula) -> dict[str, Formula]:
    seen: set[int] = set()
    found: dict[str, Formula] = {}
    waiting = [formula]
    while waiting:
        one = waiting.pop()
        if one.get_id() not in seen:
            seen.add(one.get_id())
            waiting += one.children()
            if z3.is_const(one) and one.decl().kind() == z3.Z3_OP_UNINTERPRETED:
                found[one.decl().name()] = one.sort()
    return found


def follows(tight: Mapping[str, Formula], loose: Mapping[str, Formula]) -> dict[str, Formula]:
    """Return the claims that whatever meets the tight demands meets the loose ones."""
    assert tight.keys() == loose.keys()
    return {name: z3.Implies(tight[name], loose[name]) for name in tight}


def test_the_meet_is_commutative_associative_and_idempotent() -> None:
    prove(same(meet(P, Q), meet(Q, P)), *PROPER)
    prove(same(meet(meet(P, Q), R), meet(P, meet(Q, R))), *PROPER)
    prove(same(meet(P, P), P), *PROPER)
    prove(same(meet(P, encoded(EMPTY, ATLAS, NOW)), P), *PROPER)
    for facet, formula in same(meet(P, Q), P).items():
        assert can_be(PROPER, z3.Not(formula)), f"two policies never differ in {facet}"


def test_a_meet_permits_exactly_what_both_permit() -> None:
    one, two, both = met_by(P, POOL), met_by(Q, POOL), met_by(meet(P, Q), POOL)
    prove({name: both[name] == z3.And(one[name], two[name]) for name in both}, *PROPER)
    for name in both.keys() - {"facts"}:
        for first, second in product((True, False), repeat=2):
            assert can_be(PROPER, one[name] == first, two[name] == second), (name, first, second)


def test_without_defaults_tightening_never_enlarges() -> None:
    loose, tight = met_by(P, POOL), met_by(meet(P, Q), POOL)
    prove(follows(tight, loose), *PROPER)
    assert all(can_be(PROPER, loose[name], z3.Not(tight[name])) for name in loose.keys() - {"facts"})


def _world_of_layers() -> tuple[dict[str, SymbolicLayer], list[Formula], Formula]:
    """Two floors, two owners and a job, each of which may be absent, as the core accepts them."""
    kinds = {
        "organisation": LayerKind.ORGANISATION,
        "project": LayerKind.PROJECT,
        "input": LayerKind.INPUT,
        "parent": LayerKind.PARENT,
        "job": LayerKind.JOB,
    }
    layers: dict[str, SymbolicLayer] = {}
    given: list[Formula] = []
    for name, kind in kinds.items():
        policy, proper = any_policy(name)
        layers[name] = SymbolicLayer(kind, z3.Bool(f"{name}.there"), policy)
        given += proper
        if name not in ("input", "parent"):
            given.append(z3.Not(z3.And(policy["egress"].is_stated, is_waived(policy["egress"].value))))
    return layers, given, z3.Bool("has_content")


LAYERS, GIVEN, HAS_CONTENT = _world_of_layers()


def _demands(**changed: SymbolicLayer) -> dict[str, Formula]:
    return demands([*({**LAYERS, **changed}).values()], HAS_CONTENT, POOL)


def test_with_defaults_adding_a_job_layer_never_enlarges() -> None:
    before = _demands(job=SymbolicLayer(LayerKind.JOB, z3.BoolVal(False), P))
    after = _demands(job=SymbolicLayer(LayerKind.JOB, z3.BoolVal(True), LAYERS["job"].policy))
    given = [*GIVEN, *POOL_PROPER]
    prove(follows(after, before), *given)
    assert all(can_be(given, before[name], z3.Not(after[name])) for name in before.keys() - {"facts"})


@pytest.mark.parametrize("name", list(LAYERS))
def test_with_defaults_tightening_a_stated_facet_never_enlarges(name: str) -> None:
    layer = LAYERS[name]
    only_stated = [z3.Implies(Q[facet].is_stated, layer.policy[facet].is_stated) for facet in FACETS]
    given = [*GIVEN, *POOL_PROPER, *Q_PROPER, *only_stated]
    before = _demands()
    after = _demands(**{name: SymbolicLayer(layer.kind, layer.is_there, meet(layer.policy, Q))})
    prove(follows(after, before), *given)
    assert all(can_be(given, before[name], z3.Not(after[name])) for name in before.keys() - {"facts"})


def test_what_an_owner_newly_states_may_enlarge() -> None:
    """Why the statement says *stated*: an owner who speaks for a place that nobody spoke for opens it."""
    owner = LAYERS["input"]
    before = _demands()
    after = _demands(input=SymbolicLayer(owner.kind, owner.is_there, meet(owner.policy, Q)))
    name = "process is spoken for"
    assert can_be([*GIVEN, *POOL_PROPER, *Q_PROPER], after[name], z3.Not(before[name]))


# --- What ties the formulas to the core.


def _truth(formula: Formula) -> bool:
    value = z3.simplify(formula)
    assert z3.is_true(value) or z3.is_false(value), value
    return bool(z3.is_true(value))


def test_the_formula_of_the_meet_is_the_meet_of_the_core() -> None:
    draw, seen = Random(4), Counter[str]()
    for _ in range(250):
        one, two = (parse_policy(draw_policy(draw, most=9, is_owner=True), ATLAS) for _ in range(2))
        formula = meet(encoded(one, ATLAS, NOW), encoded(two, ATLAS, NOW))
        assert all(map(_truth, same(formula, encoded(core_meet(one, two), ATLAS, NOW)).values())), (one, two)
        seen.update(set(one.stated()) & set(two.stated()))
    assert min(seen[facet] for facet in FACETS) >= 5, seen


def test_the_formulas_of_the_checks_are_the_checks_of_the_core() -> None:
    draw, seen = Random(5), Counter[tuple[str, bool]]()
    for _ in range(200):
        pool = parse_pool_facts(draw_world(draw).pool, ATLAS)
        policy = parse_policy(draw_policy(draw, most=12, is_owner=True), ATLAS)
        met = met_by(encoded(policy, ATLAS, NOW), encoded_pool(pool, ATLAS, NOW))
        fails = core_permits(policy, pool, ATLAS, NOW).failing
        assert {facet for facet, formula in met.items() if not _truth(formula)} == fails, (policy, pool)
        seen.update((facet, facet not in fails) for facet in policy.stated())
    judged = set(FACETS) - {"class", "non_derogable"}
    assert min(seen[facet, holds] for facet in judged for holds in (True, False)) >= 5, seen


def test_the_formulas_of_the_defaults_are_the_defaults_of_the_core() -> None:
    draw, seen = Random(6), Counter[tuple[str, bool]]()
    for _ in range(200):
        asked, pool = draw_question(draw), parse_pool_facts(draw_world(draw).pool, ATLAS)
        layers = [Layer(LayerKind(kind), kind, parse_policy(policy, ATLAS)) for kind, policy in asked.layers]
        of = core_effective(layers, has_content=asked.has_content)
        formulas = [encoded_layer(layer, ATLAS, NOW) for layer in layers]
        policy, missing = effective(formulas, z3.BoolVal(asked.has_content))
        assert all(map(_truth, same(policy, encoded(of.policy, ATLAS, NOW)).values())), json.dumps(asked.layers)
        assert [facet for facet in PLACE_FACETS if _truth(missing[facet])] == list(of.missing)
        allowed = judge(of, pool, ATLAS, NOW).allowed
        there = encoded_pool(pool, ATLAS, NOW)
        assert _truth(eligible(formulas, z3.BoolVal(asked.has_content), there)) is allowed
        seen["allowed", allowed] += 1
        seen["missing", bool(of.missing)] += 1
    assert min(seen.values()) >= 5, seen
    assert len(seen) == 4, seen


def test_every_facet_and_every_check_has_a_formula() -> None:
    assert set(met_by(P, POOL)) == {"facts", *FACETS} - {"class", "non_derogable"}
    assert set(symbolic.NOTHING) == set(FACETS)
