"""The step after the meet: what a policy asks while derogations hold. The judge calls `in_force` at each judgement.

Nothing is widened when a derogation is granted: the effective policy carries the derogations that cover it, and what
they do is worked out at the instant of the question. So they end by themselves, and a policy that has become stricter,
or has made the facet non-derogable, holds at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from itertools import islice, product
from typing import Any

from nordan_core.residency.derogations import Covering
from nordan_core.residency.facets import EMPTY, Policy, attribute_of, meet
from nordan_core.residency.joins import ALTERNATIVES, joined
from nordan_core.residency.layers import OWNERS, Effective, Layer

MOST_TOGETHER = 256
"""Ways to choose, of each input, its own word or one of those that are to be enough instead: eight inputs with one
derogation each, four with three each. More are most unusual, and what only they would let through is refused."""


def derogated(of: Effective, covered: Sequence[Covering]) -> Effective:
    """Return the same effective policy with the derogations that are used on it."""
    return replace(of, derogations=tuple(sorted(covered, key=lambda one: one.derogation.id)))


def holding(of: Effective, instant: datetime) -> tuple[Covering, ...]:
    """Return the derogations that count at `instant`: in their time, and on a facet that may be widened."""
    closed = of.policy.non_derogable or frozenset()
    return tuple(one for one in of.derogations if one.holds_at(instant) and one.derogation.facet not in closed)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked at an instant: a policy and, for some of its facets, what is enough instead."""

    policy: Policy
    instead: Mapping[str, tuple[Any, ...]]  # Any: each facet has a type of its own

    def settled(self, fails: Callable[[Policy, str], bool]) -> Policy:
        """Return the policy that is asked where `fails` tells whether a facet of one is not met.

        A derogation's word takes the place of the policy's only where the policy's own is not met.
        """
        policy = self.policy
        for facet, values in self.instead.items():
            if fails(policy, facet):
                others = (_stating(policy, facet, value) for value in values)
                policy = next((other for other in others if not fails(other, facet)), policy)
        return policy

    def ways(self) -> Iterator[Policy]:
        """Yield policies that together state all that may be asked, whichever word is taken."""
        yield self.policy
        for facet, values in self.instead.items():
            yield from (_stating(self.policy, facet, value) for value in values)


def in_force(of: Effective, instant: datetime) -> Asked:
    """Return what is asked at `instant`: the meet and the defaults, widened by the derogations that count."""
    policy, instead = of.policy, {}
    for facet, here in _by_facet(of, instant):
        if facet in ALTERNATIVES:
            instead[facet] = tuple(_alternatives(of, facet, here))
        else:
            policy = _stating(policy, facet, _widened(of, facet, here))
    return Asked(policy, instead)


def _by_facet(of: Effective, instant: datetime) -> Iterator[tuple[str, list[Covering]]]:
    counting = holding(of, instant)
    for facet in dict.fromkeys(one.derogation.facet for one in counting):
        # What nobody stated restricts nothing, and what is missing is denied whatever a derogation says.
        if of.policy.facet(facet) is not None:
            yield facet, [one for one in counting if one.derogation.facet == facet]


def _widened(of: Effective, facet: str, here: Sequence[Covering]) -> Any:  # Any: the facet's own type
    # 1. Those for single inputs change what these inputs say, and nothing that others say.
    some = [one for one in here if one.inputs is not None]
    stated = _met_anew(of, facet, some) if some and facet in of.stated_by else of.policy.facet(facet)
    # 2. Those for the whole job, or the whole project, change the outcome.
    whole = [one.derogation.to.facet(facet) for one in here if one.inputs is None]
    return reduce(lambda left, right: joined(facet, left, right), whole, stated)


def _alternatives(of: Effective, facet: str, here: Sequence[Covering]) -> Iterator[Any]:  # Any: as above
    """Yield what would be enough instead: by each derogation alone, then by those for single inputs together."""
    some = [one for one in here if one.inputs is not None]
    for one in here:
        if one.inputs is None:
            yield one.derogation.to.facet(facet)
        elif facet in of.stated_by:
            yield _met_anew(of, facet, [one])
    if len(some) > 1 and facet in of.stated_by:
        yield from islice(_together(of, facet, some), MOST_TOGETHER)


def _together(of: Effective, facet: str, some: Sequence[Covering]) -> Iterator[Any]:  # Any: as above
    """Yield what is enough by all that cover single inputs: of each input its own word or one of theirs, theirs first.

    So one more derogation never takes away what the others let through.
    """
    layers = of.layers_stating(facet)
    words = [
        [*(it.derogation.to.facet(facet) for it in some if _covers(it, one)), one.policy.facet(facet)] for one in layers
    ]
    for chosen in product(*words):
        yield reduce(meet, (_stating(EMPTY, facet, word) for word in chosen), EMPTY).facet(facet)


def _met_anew(of: Effective, facet: str, some: Sequence[Covering]) -> Any:  # Any: as above
    policies = (_layer_widened(layer, facet, some) for layer in of.layers_stating(facet))
    return reduce(meet, policies, EMPTY).facet(facet)


def _layer_widened(layer: Layer, facet: str, some: Sequence[Covering]) -> Policy:
    stated = layer.policy.facet(facet)
    for one in some:
        if _covers(one, layer):
            said = one.derogation.to.facet(facet)
            stated = said if facet in ALTERNATIVES else joined(facet, stated, said)
    return _stating(EMPTY, facet, stated)


def _covers(one: Covering, layer: Layer) -> bool:
    return layer.kind in OWNERS and one.inputs is not None and layer.name in one.inputs


def _stating(policy: Policy, facet: str, value: Any) -> Policy:  # Any: as above
    return replace(policy, **{attribute_of(facet): value})
