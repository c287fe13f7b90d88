"""The step after the meet: what a policy asks while derogations hold. The judge calls `in_force` at each judgement.

Nothing is widened when a derogation is granted: the effective policy carries the derogations that cover it, and what
they do is worked out at the instant of the question. So they end by themselves, and a policy that has become stricter,
or has made the facet non-derogable, holds at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import reduce
from typing import Any

from nordan_core.residency.derogations import Covering, choices
from nordan_core.residency.facets import EMPTY, Policy, attribute_of, meet
from nordan_core.residency.joins import joined
from nordan_core.residency.layers import OWNERS, Effective, Layer
from nordan_core.residency.places import Atlas
from nordan_core.residency.verdicts import Verdict


def derogated(of: Effective, covered: Sequence[Covering]) -> Effective:
    """Return the same effective policy with the derogations that are used on it."""
    return replace(of, derogations=tuple(sorted(covered, key=lambda one: one.derogation.id)))


def holding(of: Effective, instant: datetime) -> tuple[Covering, ...]:
    """Return the derogations that count at `instant`: in their time, and on a facet that may be widened."""
    closed = of.policy.non_derogable or frozenset()
    return tuple(one for one in of.derogations if one.holds_at(instant) and one.derogation.facet not in closed)


def in_force(of: Effective, atlas: Atlas, instant: datetime) -> Policy:
    """Return what is asked at `instant`: the meet and the defaults, widened by the derogations that count."""
    policy = of.policy
    counting = holding(of, instant)
    for facet in dict.fromkeys(one.derogation.facet for one in counting):
        stated = policy.facet(facet)
        # What nobody stated restricts nothing, and what is missing is denied whatever a derogation says.
        if stated is not None:
            here = [one for one in counting if one.derogation.facet == facet]
            policy = replace(policy, **{attribute_of(facet): _widened(of, facet, here, atlas)})
    return policy


def _widened(of: Effective, facet: str, here: Sequence[Covering], atlas: Atlas) -> Any:  # Any: the facet's own type
    # 1. Those for single inputs change what these inputs say, and nothing that others say.
    some = [one for one in here if one.inputs is not None]
    stated = _met_anew(of, facet, some, atlas) if some and facet in of.stated_by else of.policy.facet(facet)
    # 2. Those for the whole job, or the whole project, change the outcome.
    whole = [one.derogation.to.facet(facet) for one in here if one.inputs is None]
    return reduce(lambda left, right: joined(facet, left, right, atlas), whole, stated)


def _met_anew(of: Effective, facet: str, some: Sequence[Covering], atlas: Atlas) -> Any:  # Any: as above
    policies = (_layer_widened(layer, facet, some, atlas) for layer in of.layers_stating(facet))
    return reduce(meet, policies, EMPTY).facet(facet)


def _layer_widened(layer: Layer, facet: str, some: Sequence[Covering], atlas: Atlas) -> Policy:
    stated = layer.policy.facet(facet)
    for one in some:
        if layer.kind in OWNERS and one.inputs is not None and layer.name in one.inputs:
            stated = joined(facet, stated, one.derogation.to.facet(facet), atlas)
    return replace(EMPTY, **{attribute_of(facet): stated})


def rescued(
    policies: tuple[Effective, ...],
    covered: Callable[[], Sequence[Covering]],
    ask: Callable[[tuple[Effective, ...]], Verdict],
) -> tuple[Verdict, tuple[Covering, ...]]:
    """Return the verdict on policies that must all allow, with the derogations that it rests on: none if none need be.

    `ask` judges; `covered` is asked for derogations only where the policies alone refuse. Where no derogation helps,
    the verdict is the one without.
    """
    plain = ask(policies)
    if plain.allowed or not policies:
        return plain, ()
    for some in choices(covered()):
        verdict = ask(tuple(derogated(of, some) for of in policies))
        if verdict.allowed:
            return verdict, some
    return plain, ()
