"""A policy: a conjunction of facets, and how two policies combine.

Datasets, projects, organisations and jobs each state one. A facet that is not stated is None and neutral in the meet;
that differs from a facet stated as empty. Defaults are no business of this module: `layers` applies them once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal

from nordan_core.residency.levels import Compute, DataClass, Encryption, Evidence, Tenancy
from nordan_core.residency.sets import SetExpression

#: Places are judged by these five, and above `public` all five must be stated.
PLACE_FACETS = ("process", "store", "describe", "access", "key")

#: Every facet, in the order in which they are judged and printed.
FACETS = (
    *PLACE_FACETS,
    *("forbid_exposure", "certifications", "seal_min", "ownership_max"),
    *("encryption", "compute", "tenancy", "evidence"),
    *("class", "egress", "valid_until", "non_derogable"),
)

SEAL_OBJECTIVES = 8
"""Objectives of the EC Cloud Sovereignty Framework, SOV-1 to SOV-8; each has a SEAL level of 0 to 4."""

Unenforced = Literal["unenforced"]
UNENFORCED: Unenforced = "unenforced"
"""Egress that the owner accepts without a guard: neutral in the meet, so that any list beside it wins."""
Egress = frozenset[str] | Unenforced


@dataclass(frozen=True, slots=True, order=True)
class OwnershipLimit:
    """The largest share that owners from outside `group` may hold, in whole per cent of capital or votes."""

    group: str
    single: int
    """By any one of them."""
    collective: int
    """By all of them together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What one layer states. None means not stated."""

    process: SetExpression | None = None
    store: SetExpression | None = None
    describe: SetExpression | None = None
    access: SetExpression | None = None
    key: SetExpression | None = None
    forbid_exposure: frozenset[str] | None = None
    certifications: frozenset[tuple[str, str]] | None = None
    """Pairs of scheme and minimum level. All must hold, so a stronger level beside a weaker one decides."""
    seal_min: tuple[int, ...] | None = None
    ownership_max: frozenset[OwnershipLimit] | None = None
    """At most one limit for each group."""
    encryption: Encryption | None = None
    compute: Compute | None = None
    tenancy: Tenancy | None = None
    evidence: Evidence | None = None
    class_: DataClass | None = None
    egress: Egress | None = None
    valid_until: datetime | None = None
    """The first instant at which everything is denied."""
    non_derogable: frozenset[str] | None = None

    def stated(self) -> tuple[str, ...]:
        """Return the names of the facets that are stated, in the order of FACETS."""
        return tuple(facet for facet in FACETS if self.facet(facet) is not None)

    def facet(self, name: str) -> Any:  # Any: each facet has a type of its own; callers compare, print or pass it on
        """Return the value of the facet called `name` in documents."""
        return getattr(self, attribute_of(name))

    def places(self, facet: str) -> SetExpression | None:
        """Return the set that one of the five place facets states."""
        value: SetExpression | None = self.facet(facet)
        return value


EMPTY = Policy()
"""States nothing: the neutral element of the meet."""


def attribute_of(facet: str) -> str:
    """Return the field of `Policy` that holds a facet: `class` is a word of Python's own."""
    return "class_" if facet == "class" else facet


def meet(left: Policy, right: Policy) -> Policy:
    """Return the loosest policy that is at least as tight as both: commutative, associative, idempotent."""
    values = {one.name: _met(one.name, getattr(left, one.name), getattr(right, one.name)) for one in fields(Policy)}
    return Policy(**values)


def _met(name: str, left: Any, right: Any) -> Any:  # Any: both are of the facet's own type, which the table below knows
    if left is None or right is None:
        return right if left is None else left
    return _MEETS[name](left, right)


def _met_sets(left: SetExpression, right: SetExpression) -> SetExpression:
    return left.meet(right)


def _union(left: frozenset[Any], right: frozenset[Any]) -> frozenset[Any]:
    return left | right


def _pointwise_max(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(pair) for pair in zip(left, right, strict=True))


def _tighter_limits(left: frozenset[OwnershipLimit], right: frozenset[OwnershipLimit]) -> frozenset[OwnershipLimit]:
    tightest: dict[str, OwnershipLimit] = {}
    for limit in (*left, *right):
        other = tightest.get(limit.group, limit)
        single, collective = min(limit.single, other.single), min(limit.collective, other.collective)
        tightest[limit.group] = OwnershipLimit(limit.group, single, collective)
    return frozenset(tightest.values())


def _met_egress(left: Egress, right: Egress) -> Egress:
    if isinstance(left, str):
        return right
    return left if isinstance(right, str) else left & right


_MEETS: Mapping[str, Callable[[Any, Any], Any]] = {  # Any: one row for each facet's type
    **dict.fromkeys(PLACE_FACETS, _met_sets),
    **dict.fromkeys(("forbid_exposure", "certifications", "non_derogable"), _union),
    **dict.fromkeys(("encryption", "compute", "tenancy", "evidence", "class_"), max),
    "seal_min": _pointwise_max,
    "ownership_max": _tighter_limits,
    "egress": _met_egress,
    "valid_until": min,
}
