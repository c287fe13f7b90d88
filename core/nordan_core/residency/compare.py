"""How one policy differs from another, facet by facet: what got tighter, what got wider.

For whoever reviews a change; nothing here decides about a job. Places are compared by the territories that they allow
at an instant, and what a default stands in for by that default, as for data whose owner states the policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from nordan_core.residency.exposure import forbidden_territories
from nordan_core.residency.facets import FACETS, PLACE_FACETS, UNENFORCED, Egress, Policy, meet
from nordan_core.residency.levels import DataClass
from nordan_core.residency.places import Atlas
from nordan_core.residency.policy import facet_document

DEFAULT_CLASS = DataClass.CONFIDENTIAL
"""What data are whose owner states no class."""


class Direction(StrEnum):
    """What a change does to what is lawful."""

    SAME = "same"
    """Said differently, and means the same at this instant."""
    TIGHTER = "tighter"
    WIDER = "wider"
    MIXED = "mixed"
    """Tighter in one respect and wider in another."""


@dataclass(frozen=True, slots=True)
class FacetChange:
    """One facet before and after, in document form; None where it is not stated."""

    facet: str
    direction: Direction
    before: object
    after: object
    added: tuple[str, ...]
    """Territories that a place facet allows now and did not before, or that are newly forbidden; else empty."""
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The facets that are stated differently, in their order."""

    changes: tuple[FacetChange, ...]

    @property
    def direction(self) -> Direction:
        """Return the direction of the policy as a whole."""
        return _together(change.direction for change in self.changes)


@dataclass(frozen=True, slots=True)
class _When:
    atlas: Atlas
    instant: datetime


def compare(before: Policy, after: Policy, atlas: Atlas, instant: datetime) -> Comparison:
    """Return what changes from one policy to the other, both read at `instant`."""
    when = _When(atlas, instant)
    # A class that changes moves the default of egress with it.
    changed = [facet for facet in FACETS if before.facet(facet) != after.facet(facet) or _moves(facet, before, after)]
    return Comparison(tuple(_change(facet, before, after, when) for facet in changed))


def at_least(facet: str, left: Policy, right: Policy, atlas: Atlas, instant: datetime) -> bool:
    """Return whether `left` asks at least what `right` asks in one facet: whatever satisfies it satisfies the other."""
    compared = _places_at_least if facet in PLACE_FACETS else _AT_LEAST.get(facet, _met_at_least)
    return compared(facet, left, right, _When(atlas, instant))


def _moves(facet: str, before: Policy, after: Policy) -> bool:
    return facet == "egress" and _egress_in_force(before) != _egress_in_force(after)


def _change(facet: str, before: Policy, after: Policy, when: _When) -> FacetChange:
    is_tighter = at_least(facet, after, before, when.atlas, when.instant)
    is_wider = at_least(facet, before, after, when.atlas, when.instant)
    was, becomes = (_territories(facet, policy, when) for policy in (before, after))
    return FacetChange(
        facet,
        _direction(is_tighter=is_tighter, is_wider=is_wider),
        facet_document(before, facet),
        facet_document(after, facet),
        added=tuple(sorted(becomes - was)),
        removed=tuple(sorted(was - becomes)),
    )


def _direction(*, is_tighter: bool, is_wider: bool) -> Direction:
    if is_tighter and is_wider:
        return Direction.SAME
    if is_tighter or is_wider:
        return Direction.TIGHTER if is_tighter else Direction.WIDER
    return Direction.MIXED


def _together(directions: Iterable[Direction]) -> Direction:
    found = set(directions) - {Direction.SAME}
    if len(found) > 1:
        return Direction.MIXED
    return found.pop() if found else Direction.SAME


def _territories(facet: str, policy: Policy, when: _When) -> frozenset[str]:
    if facet == "forbid_exposure":
        return forbidden_territories(policy.forbid_exposure or (), when.atlas)
    expression = policy.places(facet) if facet in PLACE_FACETS else None
    return frozenset() if expression is None else expression.expand(when.atlas, when.instant)


def _places_at_least(facet: str, left: Policy, right: Policy, when: _When) -> bool:
    mine, theirs = left.places(facet), right.places(facet)
    if mine is None or theirs is None:
        return theirs is None
    # For everybody, and for the recipients that a decision with a condition covers.
    plainly = mine.expand(when.atlas, when.instant) <= theirs.expand(when.atlas, when.instant)
    return plainly and mine.expand_widely(when.atlas, when.instant) <= theirs.expand_widely(when.atlas, when.instant)


def _exposure_at_least(facet: str, left: Policy, right: Policy, when: _When) -> bool:
    return _territories(facet, left, when) >= _territories(facet, right, when)


def _certifications_at_least(_facet: str, left: Policy, right: Policy, when: _When) -> bool:
    asked = left.certifications or frozenset()
    return all(
        any(scheme == other and when.atlas.schemes[scheme].satisfies(level, wanted) for other, level in asked)
        for scheme, wanted in right.certifications or ()
    )


def _class_at_least(_facet: str, left: Policy, right: Policy, _when: _When) -> bool:
    return _class_in_force(left) >= _class_in_force(right)


def _egress_at_least(_facet: str, left: Policy, right: Policy, _when: _When) -> bool:
    asked, wanted = _egress_in_force(left), _egress_in_force(right)
    if isinstance(wanted, str):
        return True
    return not isinstance(asked, str) and asked <= wanted


def _met_at_least(facet: str, left: Policy, right: Policy, _when: _When) -> bool:
    return bool(meet(left, right).facet(facet) == left.facet(facet))


def _class_in_force(policy: Policy) -> DataClass:
    return DEFAULT_CLASS if policy.class_ is None else policy.class_


def _egress_in_force(policy: Policy) -> Egress:
    if policy.egress is not None:
        return policy.egress
    return frozenset() if _class_in_force(policy) >= DataClass.CONFIDENTIAL else UNENFORCED


_AT_LEAST: Mapping[str, Callable[[str, Policy, Policy, _When], bool]] = {
    "forbid_exposure": _exposure_at_least,
    "certifications": _certifications_at_least,
    "class": _class_at_least,
    "egress": _egress_at_least,
}
