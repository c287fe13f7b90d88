"""The nearest change that would make a pool lawful, for a person to decide on. Nothing here changes a policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from nordan_core.residency.checks import enforced_tenancy, pool_exposures
from nordan_core.residency.exposure import forbidden_territories
from nordan_core.residency.facets import PLACE_FACETS, UNENFORCED, Policy, attribute_of
from nordan_core.residency.facts import EndpointKind, PoolFacts
from nordan_core.residency.hints import listed
from nordan_core.residency.judge import judge, permits
from nordan_core.residency.layers import OWNERS, Effective
from nordan_core.residency.levels import DataClass
from nordan_core.residency.places import Atlas
from nordan_core.residency.policy import facet_document
from nordan_core.residency.sets import SetExpression
from nordan_core.residency.verdicts import FacetRefusal


@dataclass(frozen=True, slots=True)
class Change:
    """One facet and what it would have to say."""

    facet: str
    value: object
    """The facet's document form after the change; None when it would have to be left unstated."""
    stated_by: tuple[str, ...]
    """Who would have to agree, as `input 'patients'`. Empty when nobody has stated it, so an owner or a floor must."""
    sentence: str


@dataclass(frozen=True, slots=True)
class Relaxation:
    """The fewest changes of policy after which one pool is lawful. Usually one."""

    pool: str
    region: str
    changes: tuple[Change, ...]
    sentence: str


def nearest_relaxation(
    effective: Effective, pools: Iterable[PoolFacts], atlas: Atlas, instant: datetime
) -> Relaxation | None:
    """Return the relaxation with the fewest changes, the first pool's among equals; None when policy cannot help.

    A pool whose facts have expired is no candidate: no policy makes up for that.
    """
    found = [relaxation_for(effective, facts, atlas, instant) for facts in pools]
    return min((one for one in found if one is not None), key=lambda one: len(one.changes), default=None)


def relaxation_for(effective: Effective, facts: PoolFacts, atlas: Atlas, instant: datetime) -> Relaxation | None:
    """Return the changes of policy after which one pool is lawful, checked by the judge; None when there are none."""
    refusals = judge(effective, facts, atlas, instant).refusals
    by_facet = {refusal.facet: refusal for refusal in refusals}
    if not refusals or "facts" in by_facet:
        return None
    policy = effective.policy
    for facet in by_facet:
        policy = _with(policy, facet, _relaxed(facet, policy, facts, atlas, instant))
    if not permits(policy, facts, atlas, instant).allowed or _leaves_a_place_unstated(policy):
        return None
    changes = tuple(
        change
        for facet, refusal in by_facet.items()
        for change in _changes(facet, facet_document(policy, facet), effective, refusal)
    )
    wanted = " and ".join(change.sentence for change in changes)
    return Relaxation(facts.pool, facts.region, changes, f"{facts.pool} would be lawful if {wanted}")


def _with(policy: Policy, facet: str, value: Any) -> Policy:  # Any: the facet's own type
    return replace(policy, **{attribute_of(facet): value})


def _leaves_a_place_unstated(policy: Policy) -> bool:
    # A place of which the pool's own is unknown could only be left out, and above public it must be stated.
    return policy.class_ is not DataClass.PUBLIC and any(policy.places(facet) is None for facet in PLACE_FACETS)


def _changes(facet: str, value: object, effective: Effective, refusal: FacetRefusal) -> tuple[Change, ...]:
    if facet != "egress" or any(layer.kind in OWNERS for layer in effective.layers):
        return (_change(facet, value, effective, refusal.want),)
    # Nobody here may waive the guard; below confidential nobody has to.
    unguarded = _change("class", DataClass.INTERNAL.word, effective, effective.class_.word)
    listed_by = effective.layers_stating("egress")
    return (unguarded, _change("egress", None, effective, refusal.want)) if listed_by else (unguarded,)


def _change(facet: str, value: object, effective: Effective, instead_of: str) -> Change:
    # What is missing was stated by the job at most, whose word does not count.
    stating = () if facet in effective.missing else effective.layers_stating(facet)
    who = tuple(f"{layer.kind} {layer.name!r}" for layer in stating)
    says = f"{facet} were left out" if value is None else f"{facet} were {_shown(value)}"
    if who:
        return Change(facet, value, who, f"{says} instead of {instead_of} (stated by {', '.join(who)})")
    return Change(facet, value, who, f"{says} (for a dataset, the project or the organisation to state)")


def _shown(value: object) -> str:
    if isinstance(value, dict) and "all_of" in value:
        return " and ".join(listed(one) for one in value["all_of"])
    return listed(str(one) for one in value) if isinstance(value, list) else str(value)


def _relaxed(facet: str, policy: Policy, facts: PoolFacts, atlas: Atlas, instant: datetime) -> object:
    if facet in PLACE_FACETS:
        return _widened(policy.places(facet), _needed(facet, facts), atlas, instant)
    return _RELAXERS[facet](policy, facts, atlas, instant)


def _needed(facet: str, facts: PoolFacts) -> frozenset[str] | None:
    """Return the territories that a place facet has to allow; None when one of them is unknown."""
    if facet in ("process", "describe"):
        return frozenset([facts.territory])
    if facet == "access":
        host = facts.entities.get(facts.building_owner)
        if not facts.access_territories or host is None or host.seat is None:
            return None
        return facts.access_territories | {host.seat}
    kinds = (EndpointKind.KEY,) if facet == "key" else (EndpointKind.STORE, EndpointKind.LOG)
    if not all(facts.endpoints_of(kind) for kind in kinds):
        return None
    return frozenset(one.territory for kind in kinds for one in facts.endpoints_of(kind))


def _widened(
    expression: SetExpression | None, needed: frozenset[str] | None, atlas: Atlas, instant: datetime
) -> SetExpression | None:
    if needed is None:
        return None
    if expression is None:
        return SetExpression.any_of(needed)
    short = {
        clause: needed - SetExpression(frozenset([clause])).expand(atlas, instant) for clause in expression.clauses
    }
    return SetExpression(frozenset(clause | lacking for clause, lacking in short.items()))


def _without_exposure(policy: Policy, facts: PoolFacts, atlas: Atlas, _instant: datetime) -> object:
    found = pool_exposures(facts).values()
    if any(one.is_unknown for one in found):
        return None
    reached = frozenset().union(*(one.territories for one in found))
    return frozenset(
        state for state in policy.forbid_exposure or () if not forbidden_territories([state], atlas) & reached
    )


def _held_certificates(policy: Policy, facts: PoolFacts, atlas: Atlas, instant: datetime) -> object:
    return frozenset(
        pair
        for pair in policy.certifications or ()
        if permits(Policy(certifications=frozenset([pair])), facts, atlas, instant).failing <= {"facts"}
    )


def _bearable_owners(policy: Policy, facts: PoolFacts, atlas: Atlas, instant: datetime) -> object:
    return frozenset(
        limit
        for limit in policy.ownership_max or ()
        if permits(Policy(ownership_max=frozenset([limit])), facts, atlas, instant).failing <= {"facts"}
    )


def _reached_seal(policy: Policy, facts: PoolFacts, _atlas: Atlas, _instant: datetime) -> object:
    if facts.seal is None or policy.seal_min is None:
        return None
    return tuple(min(pair) for pair in zip(policy.seal_min, facts.seal, strict=True))


_RELAXERS: Mapping[str, Callable[[Policy, PoolFacts, Atlas, datetime], Any]] = {  # Any: one row for each facet's type
    "forbid_exposure": _without_exposure,
    "certifications": _held_certificates,
    "seal_min": _reached_seal,
    "ownership_max": _bearable_owners,
    "encryption": lambda _policy, facts, _atlas, _instant: facts.encryption,
    "compute": lambda _policy, facts, _atlas, _instant: facts.compute,
    "tenancy": lambda _policy, facts, _atlas, _instant: max(enforced_tenancy(facts), default=None),
    "evidence": lambda _policy, facts, _atlas, _instant: facts.evidence,
    "egress": lambda _policy, _facts, _atlas, _instant: UNENFORCED,
    "valid_until": lambda _policy, _facts, _atlas, _instant: None,
}
