"""The policy algebra as formulas over the real atlas at one instant, for proofs instead of samples.

A set of territories is a bit vector with a bit for each territory of the atlas, a level is an integer, and a policy is
for each facet a truth value (stated or not) with a value. How two facets meet is looked up in the core's own table,
by function: another entry there is another formula here. What each function and check does is written down again;
`tests/core/residency/test_proofs.py` holds it against the core on drawn cases, so that a change there is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any

import z3

from nordan_core.residency import checks, facets
from nordan_core.residency.atlas import Atlas
from nordan_core.residency.exposure import forbidden_territories
from nordan_core.residency.facets import FACETS, PLACE_FACETS, UNENFORCED, Policy, attribute_of
from nordan_core.residency.facts import EndpointKind, PoolFacts
from nordan_core.residency.judge import RUN_CHECKS, RUN_SERVICES
from nordan_core.residency.layers import FLOORS, OWNERS, Layer, LayerKind
from nordan_core.residency.ownership import foreign_shares
from nordan_core.residency.sets import SetExpression
from support.residency import ATLAS, NOW

Formula = Any  # z3 has no types of its own
CODES = tuple(sorted(ATLAS.territories))
PLACES = (*CODES, *(f"{code}*" for code in CODES))
"""Each territory as it is for everybody, and as it is for recipients whom a decision with a condition covers."""
PAIRS = tuple((name, level) for name in sorted(ATLAS.schemes) for level in sorted(ATLAS.schemes[name].levels))
GROUPS = (*sorted(ATLAS.groups), "FR")
ENDPOINTS = ("hub", "models", "pip")
LEVELS = {"encryption": 3, "compute": 2, "tenancy": 2, "evidence": 4, "class": 3}
"""The strongest level of each."""
PUBLIC, INTERNAL, CONFIDENTIAL = 0, 1, 2
SETS = {"certifications": PAIRS, "egress": ENDPOINTS, "non_derogable": FACETS}
WAIVED = len(ENDPOINTS)
"""The bit of `egress` that says `unenforced`; no other is set beside it."""


@dataclass(frozen=True)
class Stated:
    """One facet of a symbolic policy."""

    is_stated: Formula
    value: Any
    """A formula, or a list of them for facets of several numbers."""


SymbolicPolicy = dict[str, Stated]


def bits(members: Iterable[Any], universe: Sequence[Any]) -> int:
    """Return a set as the bits of a number."""
    return sum(1 << universe.index(one) for one in set(members))


def universe_of(facet: str) -> Sequence[Any]:
    """Return what a set facet ranges over."""
    return PLACES if facet in PLACE_FACETS else SETS.get(facet, CODES)


def width_of(facet: str) -> int:
    """Return the bits of a set facet."""
    return len(universe_of(facet)) + (facet == "egress")


# --- Policies: any at all, or one of the core's.


def any_policy(name: str) -> tuple[SymbolicPolicy, list[Formula]]:
    """Return a policy of which nothing is known, with what makes its values proper ones."""
    policy: SymbolicPolicy = {}
    proper: list[Formula] = []
    for facet in FACETS:
        label = f"{name}.{facet}"
        value = _any_value(facet, label, proper)
        policy[facet] = Stated(z3.Bool(f"{label}.stated"), value)
    return policy, proper


def _any_value(facet: str, label: str, proper: list[Formula]) -> Any:
    if facet == "seal_min":
        return _numbers(label, 8, 4, proper)
    if facet == "ownership_max":
        return _numbers(label, 2 * len(GROUPS), 100, proper)
    if facet in LEVELS:
        return _numbers(label, 1, LEVELS[facet], proper)[0]
    if facet == "valid_until":
        return z3.Int(label)
    value = z3.BitVec(label, width_of(facet))
    if facet == "egress":
        proper.append(z3.Or(z3.Extract(WAIVED, WAIVED, value) == 0, value == 1 << WAIVED))
    return value


def _numbers(label: str, count: int, highest: int, proper: list[Formula]) -> list[Formula]:
    numbers = [z3.Int(f"{label}.{place}") for place in range(count)]
    proper += [z3.And(number >= 0, number <= highest) for number in numbers]
    return numbers


def encoded(policy: Policy, atlas: Atlas, instant: datetime) -> SymbolicPolicy:
    """Return one of the core's policies in this form, its sets expanded at the instant."""
    return {facet: _encoded(facet, policy.facet(facet), atlas, instant) for facet in FACETS}


def _encoded(facet: str, value: Any, atlas: Atlas, instant: datetime) -> Stated:
    is_stated = z3.BoolVal(value is not None)
    if facet == "seal_min":
        return Stated(is_stated, [z3.IntVal(level) for level in value or (0,) * 8])
    if facet == "ownership_max":
        limits = {limit.group: (limit.single, limit.collective) for limit in value or ()}
        return Stated(is_stated, [z3.IntVal(most) for group in GROUPS for most in limits.get(group, (100, 100))])
    if facet in LEVELS:
        return Stated(is_stated, z3.IntVal(int(value or 0)))
    if facet == "valid_until":
        return Stated(is_stated, z3.IntVal(seconds(value) if value else 0))
    return Stated(is_stated, z3.BitVecVal(_set_bits(facet, value, atlas, instant), width_of(facet)))


def _set_bits(facet: str, value: Any, atlas: Atlas, instant: datetime) -> int:
    if value is None:
        return 0
    if value == UNENFORCED:
        return 1 << WAIVED
    return bits(_allowed(value, atlas, instant) if facet in PLACE_FACETS else value, universe_of(facet))


def _allowed(value: SetExpression, atlas: Atlas, instant: datetime) -> set[str]:
    covered = value.expand(atlas, instant, frozenset(CODES))
    return {*value.expand(atlas, instant), *(f"{code}*" for code in covered)}


def seconds(instant: datetime) -> int:
    """Return an instant as whole seconds after the one that everything is judged at."""
    return int((instant - NOW).total_seconds())


# --- The meet, by the core's own table.


def _each(pick: Callable[[Formula, Formula], Formula]) -> Callable[[Any, Any], Any]:
    return lambda one, two: [pick(*pair) for pair in zip(one, two, strict=True)]


def _larger(one: Formula, two: Formula) -> Formula:
    return z3.If(one >= two, one, two)


def _smaller(one: Formula, two: Formula) -> Formula:
    return z3.If(one <= two, one, two)


def is_waived(egress: Formula) -> Formula:
    """Return whether egress says `unenforced`."""
    return z3.Extract(WAIVED, WAIVED, egress) == 1


_FORMULAS: dict[Any, Callable[[Any, Any], Any]] = {
    facets._met_sets: lambda one, two: one & two,
    facets._union: lambda one, two: one | two,
    facets._pointwise_max: _each(_larger),
    facets._tighter_limits: _each(_smaller),
    facets._met_egress: lambda one, two: z3.If(is_waived(one), two, z3.If(is_waived(two), one, one & two)),
    max: _larger,
    min: _smaller,
}


def meet(one: SymbolicPolicy, two: SymbolicPolicy) -> SymbolicPolicy:
    """Return the meet of two policies, each facet by the function that the core's table names."""
    met: SymbolicPolicy = {}
    for facet in FACETS:
        left, right = one[facet], two[facet]
        both = _FORMULAS[facets._MEETS[attribute_of(facet)]](left.value, right.value)
        value = _pick(left.is_stated, _pick(right.is_stated, both, left.value), right.value)
        met[facet] = Stated(z3.Or(left.is_stated, right.is_stated), value)
    return met


def _pick(condition: Formula, yes: Any, no: Any) -> Any:
    if isinstance(yes, list):
        return [z3.If(condition, *pair) for pair in zip(yes, no, strict=True)]
    return z3.If(condition, yes, no)


def same(one: SymbolicPolicy, two: SymbolicPolicy) -> dict[str, Formula]:
    """Return for each facet, and each number in it, whether two policies state the same of it."""
    parts: dict[str, Formula] = {}
    for facet in FACETS:
        left, right = one[facet], two[facet]
        values = [left.value] if not isinstance(left.value, list) else left.value
        others = [right.value] if not isinstance(right.value, list) else right.value
        for place, pair in enumerate(zip(values, others, strict=True)):
            alike = z3.Implies(left.is_stated, pair[0] == pair[1])
            parts[f"{facet} {place}"] = z3.And(left.is_stated == right.is_stated, alike)
    return parts


NOTHING: SymbolicPolicy = encoded(facets.EMPTY, ATLAS, NOW)


# --- Pools, and what the judge asks of them.


@dataclass(frozen=True)
class SymbolicPool:
    """What is known of a pool: for each facet that is asked, what there is and whether it is on record."""

    used: dict[str, Formula]
    """For each place facet, the places that it asks about."""
    is_known: dict[str, Formula]
    """For each place facet, `exposure`, `seal_min` and each level, whether it is on record."""
    reached: Formula
    """The territories whose law reaches its operators."""
    held: Formula
    """The certificates that count now, for all services."""
    seal: list[Formula]
    shares: list[Formula]
    """For each group the largest single and the collective share from outside, in millionths."""
    levels: dict[str, Formula]
    guards_egress: Formula
    facts_until: Formula


KNOWABLE = (*PLACE_FACETS, "exposure", "seal_min", *(level for level in LEVELS if level != "class"))


def any_pool() -> tuple[SymbolicPool, list[Formula]]:
    """Return a pool of which nothing is known, with what makes its values proper ones."""
    proper: list[Formula] = []
    pool = SymbolicPool(
        used={facet: z3.BitVec(f"pool.{facet}", len(PLACES)) for facet in PLACE_FACETS},
        is_known={facet: z3.Bool(f"pool.{facet}.known") for facet in KNOWABLE},
        reached=z3.BitVec("pool.reached", len(CODES)),
        held=z3.BitVec("pool.held", len(PAIRS)),
        seal=_numbers("pool.seal", 8, 4, proper),
        shares=_numbers("pool.shares", 2 * len(GROUPS), 1_000_000, proper),
        levels={facet: _numbers(f"pool.{facet}", 1, most, proper)[0] for facet, most in LEVELS.items()},
        guards_egress=z3.Bool("pool.guards_egress"),
        facts_until=z3.Int("pool.facts_until"),
    )
    return pool, proper


def encoded_pool(pool: PoolFacts, atlas: Atlas, instant: datetime) -> SymbolicPool:
    """Return one of the core's pools in this form, as it is at the instant."""
    places = {facet: [_place(*one, pool, atlas, instant) for one in _places(facet, pool)] for facet in PLACE_FACETS}
    exposures = checks.pool_exposures(pool).values()
    levels = {
        "encryption": pool.encryption,
        "compute": pool.compute,
        "evidence": pool.evidence,
        "tenancy": max(checks.enforced_tenancy(pool), default=None),
    }
    known = {facet: None not in codes for facet, codes in places.items()}
    known |= {facet: level is not None for facet, level in levels.items()}
    known |= {"exposure": not any(one.is_unknown for one in exposures), "seal_min": pool.seal is not None}
    held = [(one.scheme, one.level) for one in pool.certifications if one.covers(RUN_SERVICES, instant)]
    return SymbolicPool(
        used={
            facet: z3.BitVecVal(bits((code for code in codes if code), PLACES), len(PLACES))
            for facet, codes in places.items()
        },
        is_known={facet: z3.BoolVal(known[facet]) for facet in KNOWABLE},
        reached=z3.BitVecVal(bits({code for one in exposures for code in one.territories}, CODES), len(CODES)),
        held=z3.BitVecVal(bits(held, PAIRS), len(PAIRS)),
        seal=[z3.IntVal(level) for level in pool.seal or (0,) * 8],
        shares=[z3.IntVal(share) for group in GROUPS for share in _outside(pool, group, atlas, instant)],
        levels={facet: z3.IntVal(int(level or 0)) for facet, level in levels.items()},
        guards_egress=z3.BoolVal("egress" in pool.enforces),
        facts_until=z3.IntVal(seconds(pool.valid_until)),
    )


def _places(facet: str, pool: PoolFacts) -> list[tuple[str | None, Sequence[str]]]:
    """Return the territories that a facet asks about, each with who runs what is there."""
    if facet in ("process", "describe"):
        return [(pool.territory, (pool.provider, pool.operator))]
    if facet == "access":
        host = pool.entities.get(pool.building_owner)
        people = [(code, pool.operators()) for code in pool.access_territories or (None,)]
        return [*people, (host.seat if host else None, (pool.building_owner,))]
    kinds = (EndpointKind.KEY,) if facet == "key" else (EndpointKind.STORE, EndpointKind.LOG)
    nowhere: list[tuple[str | None, Sequence[str]]] = [(None, ())]
    return [
        one
        for kind in kinds
        for one in [(each.territory, (each.operator,)) for each in pool.endpoints_of(kind)] or nowhere
    ]


def _place(code: str | None, who: Sequence[str], pool: PoolFacts, atlas: Atlas, instant: datetime) -> str | None:
    if code is None:
        return None
    wanted = {one.attestation for one in atlas.conditional(code, instant)}
    held = [pool.entities.get(name) for name in who]
    is_covered = all(
        entity is not None and any(one.name in wanted and one.holds_at(instant) for one in entity.attestations)
        for entity in held
    )
    return f"{code}*" if is_covered and wanted else code


def _outside(pool: PoolFacts, group: str, atlas: Atlas, instant: datetime) -> tuple[int, int]:
    home = atlas.group(group, instant) or frozenset([group])
    shares = [foreign_shares(one, pool.entities, is_home=home.__contains__) for one in pool.operators()]
    return max(single for single, _ in shares), max(together for _, together in shares)


_WIDE = {code: bits(forbidden_territories([code], ATLAS), CODES) for code in CODES}
_WITHIN = [
    bits(
        [(other, level) for other, level in PAIRS if other == scheme and ATLAS.schemes[scheme].satisfies(have, level)],
        PAIRS,
    )
    for scheme, have in PAIRS
]


def _spread(chosen: Formula, masks: Sequence[int]) -> Formula:
    """Return the union of the masks of the bits that are set."""
    width = chosen.size()
    zero = z3.BitVecVal(0, width)
    parts = [z3.If(z3.Extract(at, at, chosen) == 1, z3.BitVecVal(mask, width), zero) for at, mask in enumerate(masks)]
    return reduce(lambda one, two: one | two, parts)


def _in_place(facet: str) -> Callable[[Any, SymbolicPool], Formula]:
    return lambda value, pool: z3.And(pool.is_known[facet], pool.used[facet] & ~value == 0)


def _at_least(facet: str) -> Callable[[Any, SymbolicPool], Formula]:
    return lambda value, pool: z3.Or(value == 0, z3.And(pool.is_known[facet], pool.levels[facet] >= value))


def _not_exposed(value: Formula, pool: SymbolicPool) -> Formula:
    forbidden = _spread(value, [_WIDE[code] for code in CODES])
    return z3.Or(value == 0, z3.And(pool.is_known["exposure"], pool.reached & forbidden == 0))


def _sealed(value: list[Formula], pool: SymbolicPool) -> Formula:
    reached = z3.And(*(have >= want for have, want in zip(pool.seal, value, strict=True)))
    return z3.Or(z3.And(*(want == 0 for want in value)), z3.And(pool.is_known["seal_min"], reached))


def _owned(value: list[Formula], pool: SymbolicPool) -> Formula:
    return z3.And(*(share <= 10_000 * most for share, most in zip(pool.shares, value, strict=True)))


_ASKED: dict[checks.Check, tuple[str, Callable[[Any, SymbolicPool], Formula]]] = {
    checks.policy_in_force: ("valid_until", lambda value, _: value > 0),
    checks.process_in_place: ("process", _in_place("process")),
    checks.store_in_place: ("store", _in_place("store")),
    checks.describe_in_place: ("describe", _in_place("describe")),
    checks.access_in_place: ("access", _in_place("access")),
    checks.key_in_place: ("key", _in_place("key")),
    checks.not_exposed: ("forbid_exposure", _not_exposed),
    checks.certified: ("certifications", lambda value, pool: value & ~_spread(pool.held, _WITHIN) == 0),
    checks.sealed: ("seal_min", _sealed),
    checks.owned_at_home: ("ownership_max", _owned),
    checks.encrypted: ("encryption", _at_least("encryption")),
    checks.shielded: ("compute", _at_least("compute")),
    checks.kept_apart: ("tenancy", _at_least("tenancy")),
    checks.located: ("evidence", _at_least("evidence")),
    checks.egress_guarded: ("egress", lambda value, pool: z3.Or(is_waived(value), pool.guards_egress)),
}


def met_by(policy: SymbolicPolicy, pool: SymbolicPool) -> dict[str, Formula]:
    """Return for each thing that the core asks of a pool whether it is met: its own list of checks decides which."""
    asked: dict[str, Formula] = {}
    for check in RUN_CHECKS:
        if check is checks.facts_in_force:
            asked["facts"] = pool.facts_until > 0
        else:
            facet, holds = _ASKED[check]
            asked[facet] = z3.Implies(policy[facet].is_stated, holds(policy[facet].value, pool))
    return asked


def permits(policy: SymbolicPolicy, pool: SymbolicPool) -> Formula:
    """Return whether the stated facets allow a pool, without defaults."""
    return z3.And(*met_by(policy, pool).values())


# --- Layers and defaults.


@dataclass(frozen=True)
class SymbolicLayer:
    """One voice, which may be absent."""

    kind: LayerKind
    is_there: Formula
    policy: SymbolicPolicy

    def states(self, facet: str) -> Formula:
        """Return whether it is there and states a facet."""
        return z3.And(self.is_there, self.policy[facet].is_stated)


def encoded_layer(layer: Layer, atlas: Atlas, instant: datetime) -> SymbolicLayer:
    """Return one of the core's layers in this form."""
    return SymbolicLayer(layer.kind, z3.BoolVal(True), encoded(layer.policy, atlas, instant))


def effective(layers: Sequence[SymbolicLayer], has_content: Formula) -> tuple[SymbolicPolicy, dict[str, Formula]]:
    """Return the meet of layers with the defaults, and for each place facet whether its statement is missing."""
    heard = [{facet: Stated(one.states(facet), one.policy[facet].value) for facet in FACETS} for one in layers]
    together = reduce(meet, heard, NOTHING)
    class_ = _class_of(together["class"], layers, has_content)
    policy = {**together, "class": Stated(z3.BoolVal(True), class_)}
    policy["egress"] = _egress_of(together["egress"], layers, class_)
    others = [one for one in layers if one.kind is not LayerKind.JOB]
    missing = {
        facet: z3.And(class_ > PUBLIC, z3.Not(z3.Or(*(one.states(facet) for one in others)))) for facet in PLACE_FACETS
    }
    return policy, missing


def demands(layers: Sequence[SymbolicLayer], has_content: Formula, pool: SymbolicPool) -> dict[str, Formula]:
    """Return for each thing that is asked of a job with these layers on a pool whether it is met."""
    policy, missing = effective(layers, has_content)
    spoken_for = {f"{facet} is spoken for": z3.Not(formula) for facet, formula in missing.items()}
    return {**met_by(policy, pool), **spoken_for}


def eligible(layers: Sequence[SymbolicLayer], has_content: Formula, pool: SymbolicPool) -> Formula:
    """Return whether a job with these layers may run on a pool."""
    return z3.And(*demands(layers, has_content, pool).values())


def _every_owner_states(layers: Sequence[SymbolicLayer], facet: str) -> Formula:
    owners = [one for one in layers if one.kind in OWNERS]
    all_do = z3.And(*(z3.Implies(one.is_there, one.policy[facet].is_stated) for one in owners))
    return z3.And(z3.Or(*(one.is_there for one in owners)), all_do)


def _class_of(together: Stated, layers: Sequence[SymbolicLayer], has_content: Formula) -> Formula:
    default = z3.If(has_content, z3.IntVal(CONFIDENTIAL), z3.IntVal(INTERNAL))
    by_floor = z3.Or(*(one.states("class") for one in layers if one.kind in FLOORS))
    is_settled = z3.Or(by_floor, _every_owner_states(layers, "class"))
    raised = _larger(together.value, default)
    return z3.If(together.is_stated, z3.If(is_settled, together.value, raised), default)


def _egress_of(together: Stated, layers: Sequence[SymbolicLayer], class_: Formula) -> Stated:
    every_owner = _every_owner_states(layers, "egress")
    listed = z3.Or(
        *(
            z3.And(one.states("egress"), z3.Not(is_waived(one.policy["egress"].value)))
            for one in layers
            if one.kind is not LayerKind.JOB
        )
    )
    closed = z3.And(class_ >= CONFIDENTIAL, z3.Not(z3.Or(listed, every_owner)))
    for_some = z3.And(is_waived(together.value), z3.Not(every_owner))
    none = z3.BitVecVal(0, WAIVED + 1)
    return Stated(z3.Or(closed, z3.And(together.is_stated, z3.Not(for_some))), z3.If(closed, none, together.value))
