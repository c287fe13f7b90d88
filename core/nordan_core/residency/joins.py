"""What is enough for either of two statements of one facet: the widening that a derogation brings.

The counterpart of the meet, needed for derogations alone. For every pool, a facet passes under the join where it passes
under one of the two statements, and nowhere else. Not each facet has one: no single statement says "this certificate
or that one". Those in `ALTERNATIVES` are asked one statement after the other instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nordan_core.residency.facets import FACETS, PLACE_FACETS, UNENFORCED, Egress
from nordan_core.residency.sets import SetExpression


def joined(facet: str, left: Any, right: Any) -> Any:  # Any: both are of the facet's own type
    """Return the statement of `facet` that lets through what `left` or `right` does; sets of places stay symbolic."""
    return _JOINS[facet](left, right)


def _sets(left: SetExpression, right: SetExpression) -> SetExpression:
    # (A and B) or (C and D) is (A or C) and (A or D) and (B or C) and (B or D).
    return SetExpression(frozenset(one | other for one in left.clauses for other in right.clauses))


def _lower(left: Any, right: Any) -> Any:  # Any: both are levels of one scale
    return min(left, right)


def _egress(left: Egress, right: Egress) -> Egress:
    return UNENFORCED if isinstance(left, str) or isinstance(right, str) else left | right


_JOINS: Mapping[str, Callable[[Any, Any], Any]] = {  # Any: one row for each facet's type
    **dict.fromkeys(PLACE_FACETS, _sets),
    **dict.fromkeys(("encryption", "compute", "tenancy", "evidence"), _lower),
    "egress": _egress,
}

#: Lists of several demands at once. What all of them have in common is weaker than each, down to nothing.
ALTERNATIVES = ("forbid_exposure", "certifications", "seal_min", "ownership_max")

#: The facets that can be widened. `class` says what data are, `valid_until` when a policy ends, `non_derogable` what
#: nobody may touch: none of them is a limit that a place could fall short of.
DEROGABLE = tuple(facet for facet in FACETS if facet in _JOINS or facet in ALTERNATIVES)
