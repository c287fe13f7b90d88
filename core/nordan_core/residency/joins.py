"""What is enough for either of two statements of one facet: the widening that a derogation brings.

The counterpart of the meet, needed for derogations alone. For every pool, a facet that would pass under one of the two
statements passes under their join; the join never refuses what one of them allows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nordan_core.residency.facets import PLACE_FACETS, UNENFORCED, Egress, OwnershipLimit
from nordan_core.residency.places import Atlas
from nordan_core.residency.sets import SetExpression


def joined(facet: str, left: Any, right: Any, atlas: Atlas) -> Any:  # Any: both are of the facet's own type
    """Return the tightest statement of `facet` that asks no more than `left` and no more than `right`.

    The atlas orders the levels of certificates; sets of places stay symbolic.
    """
    return _JOINS[facet](left, right, atlas)


def _sets(left: SetExpression, right: SetExpression, _atlas: Atlas) -> SetExpression:
    # (A and B) or (C and D) is (A or C) and (A or D) and (B or C) and (B or D).
    return SetExpression(frozenset(one | other for one in left.clauses for other in right.clauses))


def _common(left: frozenset[str], right: frozenset[str], _atlas: Atlas) -> frozenset[str]:
    return left & right


def _certifications(
    left: frozenset[tuple[str, str]], right: frozenset[tuple[str, str]], atlas: Atlas
) -> frozenset[tuple[str, str]]:
    # A certificate stays asked for when both sides ask for it, the other one perhaps for more than that.
    return frozenset(
        asked
        for mine, theirs in ((left, right), (right, left))
        for asked in mine
        if any(_includes(other, asked, atlas) for other in theirs)
    )


def _includes(have: tuple[str, str], asked: tuple[str, str], atlas: Atlas) -> bool:
    scheme = atlas.schemes.get(asked[0])
    return have == asked or (have[0] == asked[0] and scheme is not None and scheme.satisfies(have[1], asked[1]))


def _pointwise_min(left: tuple[int, ...], right: tuple[int, ...], _atlas: Atlas) -> tuple[int, ...]:
    return tuple(min(pair) for pair in zip(left, right, strict=True))


def _looser_limits(
    left: frozenset[OwnershipLimit], right: frozenset[OwnershipLimit], _atlas: Atlas
) -> frozenset[OwnershipLimit]:
    others = {limit.group: limit for limit in right}
    return frozenset(
        OwnershipLimit(
            limit.group,
            max(limit.single, others[limit.group].single),
            max(limit.collective, others[limit.group].collective),
        )
        for limit in left
        if limit.group in others
    )


def _lower(left: Any, right: Any, _atlas: Atlas) -> Any:  # Any: both are levels of one scale
    return min(left, right)


def _egress(left: Egress, right: Egress, _atlas: Atlas) -> Egress:
    return UNENFORCED if isinstance(left, str) or isinstance(right, str) else left | right


_JOINS: Mapping[str, Callable[[Any, Any, Atlas], Any]] = {  # Any: one row for each facet's type
    **dict.fromkeys(PLACE_FACETS, _sets),
    "forbid_exposure": _common,
    "certifications": _certifications,
    "seal_min": _pointwise_min,
    "ownership_max": _looser_limits,
    **dict.fromkeys(("encryption", "compute", "tenancy", "evidence"), _lower),
    "egress": _egress,
}

#: The facets that can be widened. `class` says what data are, `valid_until` when a policy ends, `non_derogable` what
#: nobody may touch: none of them is a limit that a place could fall short of.
DEROGABLE = tuple(_JOINS)
