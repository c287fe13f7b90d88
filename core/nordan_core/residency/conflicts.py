"""Place facets that no place on earth can satisfy: found at submission, named by the layers that disagree."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from nordan_core.residency.covers import smallest_cover
from nordan_core.residency.facets import PLACE_FACETS
from nordan_core.residency.layers import Effective, Layer
from nordan_core.residency.places import Atlas


@dataclass(frozen=True, slots=True)
class FacetConflict:
    """A facet whose set is empty, and who made it so."""

    facet: str
    layers: tuple[Layer, ...]
    """The fewest that share no place: one that allows nowhere by itself, two, or more where no pair is at fault."""
    message: str


def empty_facets(effective: Effective, atlas: Atlas, instant: datetime) -> tuple[FacetConflict, ...]:
    """Return a conflict for each place facet that is stated and allows nowhere at `instant`, in the order of facets."""
    found = []
    for facet in PLACE_FACETS:
        expression = effective.policy.places(facet)
        if expression is not None and not expression.expand_widely(atlas, instant):
            layers = _at_fault(effective, facet, atlas, instant)
            found.append(FacetConflict(facet, layers, _sentence(facet, layers)))
    return tuple(found)


def _at_fault(effective: Effective, facet: str, atlas: Atlas, instant: datetime) -> tuple[Layer, ...]:
    stating = effective.layers_stating(facet)
    allowed = [_expanded(layer, facet, atlas, instant) for layer in stating]
    places = sorted(frozenset().union(*allowed))
    # A layer takes out the places that it does not allow; those at fault are the fewest that take out all.
    takes_out = [sum(1 << bit for bit, place in enumerate(places) if place not in one) for one in allowed]
    for layer, one in zip(stating, allowed, strict=True):
        if not one:
            return (layer,)
    cover = smallest_cover(takes_out, (1 << len(places)) - 1)
    return stating if cover is None else tuple(stating[place] for place in cover.places)


def _expanded(layer: Layer, facet: str, atlas: Atlas, instant: datetime) -> frozenset[str]:
    expression = layer.policy.places(facet)
    return frozenset() if expression is None else expression.expand_widely(atlas, instant)


def _sentence(facet: str, layers: tuple[Layer, ...]) -> str:
    said = [f"{layer.kind} {layer.name!r} says {layer.policy.places(facet)}" for layer in layers]
    ending = "which allows nowhere" if len(layers) == 1 else "which have no place in common"
    return f"{facet}: {' and '.join(said)}, {ending}"
