"""Place facets that no place on earth can satisfy: found at submission, named by the layers that disagree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations

from nordan_core.residency.facets import PLACE_FACETS
from nordan_core.residency.layers import Effective, Layer
from nordan_core.residency.places import Atlas
from nordan_core.residency.sets import SetExpression


@dataclass(frozen=True, slots=True)
class FacetConflict:
    """A facet whose set is empty, and who made it so."""

    facet: str
    layers: tuple[Layer, ...]
    """One that allows nowhere by itself, or two that share no place; all who state it where no pair is at fault."""
    message: str


def empty_facets(effective: Effective, atlas: Atlas, instant: datetime) -> tuple[FacetConflict, ...]:
    """Return a conflict for each place facet that is stated and allows nowhere at `instant`, in the order of facets."""
    found = []
    for facet in PLACE_FACETS:
        expression = effective.policy.places(facet)
        if expression is not None and not expression.expand(atlas, instant):
            layers = _at_fault(effective, facet, atlas, instant)
            found.append(FacetConflict(facet, layers, _sentence(facet, layers)))
    return tuple(found)


def _at_fault(effective: Effective, facet: str, atlas: Atlas, instant: datetime) -> tuple[Layer, ...]:
    stating = effective.layers_stating(facet)
    for size in (1, 2):
        for group in combinations(stating, size):
            sets = [expression.expand(atlas, instant) for expression in _expressions(group, facet)]
            if not frozenset.intersection(*sets):
                return group
    return stating


def _expressions(layers: tuple[Layer, ...], facet: str) -> Iterator[SetExpression]:
    for layer in layers:
        expression = layer.policy.places(facet)
        if expression is not None:
            yield expression


def _sentence(facet: str, layers: tuple[Layer, ...]) -> str:
    said = [f"{layer.kind} {layer.name!r} says {layer.policy.places(facet)}" for layer in layers]
    ending = "which allows nowhere" if len(layers) == 1 else "which have no place in common"
    return f"{facet}: {' and '.join(said)}, {ending}"
