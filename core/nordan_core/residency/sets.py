"""Allow-sets over territories and groups, kept symbolic: `EU` is stored as `EU` and expanded at each judgement.

A set expression is an intersection of unions. Stating a list gives one union; the meet of two policies puts their
unions side by side. It is expanded with an atlas and an instant, never at the time of writing, because a country that
leaves a group must leave every policy that names the group.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, reduce

from nordan_core.residency.errors import PolicyError
from nordan_core.residency.hints import listed
from nordan_core.residency.places import ADEQUATE, Atlas
from nordan_core.residency.reading import read_list, read_mapping

REMEMBERED = 1_024
"""Expansions that are kept: an instant is part of each, so old ones are of no use for long."""


@dataclass(frozen=True, slots=True)
class SetExpression:
    """An intersection of unions of names; an empty union allows nothing, which differs from not stating the facet."""

    clauses: frozenset[frozenset[str]]
    """The unions. Unions that a smaller one implies are dropped, so that equal meanings by name are equal values."""

    def __post_init__(self) -> None:
        if not self.clauses:
            raise ValueError("a set expression needs at least one union")
        minimal = frozenset(one for one in self.clauses if not any(other < one for other in self.clauses))
        object.__setattr__(self, "clauses", minimal)

    @classmethod
    def any_of(cls, names: Iterable[str]) -> SetExpression:
        """Return the union of `names`."""
        return cls(frozenset([frozenset(names)]))

    def meet(self, other: SetExpression) -> SetExpression:
        """Return the intersection, still symbolic."""
        return SetExpression(self.clauses | other.clauses)

    def names(self) -> frozenset[str]:
        """Return every territory and group that is mentioned."""
        return frozenset().union(*self.clauses)

    def expand(self, atlas: Atlas, instant: datetime, adequate: frozenset[str] = frozenset()) -> frozenset[str]:
        """Return the territories allowed at `instant`. A territory stands for itself alone, never its dependencies.

        `adequate` are those that the caller knows to be ADEQUATE for whoever is there (`adequacy`).
        """
        return _expanded(self.clauses, atlas, instant, adequate)

    def expand_widely(self, atlas: Atlas, instant: datetime) -> frozenset[str]:
        """Return the territories that are allowed for some recipients at least."""
        return self.expand(atlas, instant, atlas.perhaps_adequate(instant))

    def next_change(self, atlas: Atlas, instant: datetime) -> datetime | None:
        """Return when a group that is mentioned next changes."""
        return _next_change(self.clauses, atlas, instant)

    def __str__(self) -> str:
        return " and ".join(listed(clause) for clause in sorted(self.clauses, key=sorted))


def parse_set(value: object, atlas: Atlas, field: str) -> SetExpression:
    """Return the expression that a document holds: `[EU, CH]`, or `{all_of: [[EU], [FR, NO]]}` for an intersection.

    Raises:
        PolicyError: for an unknown name, with what was probably meant.
    """
    if isinstance(value, dict):
        unions = read_list(read_mapping(value, field, ("all_of",)).get("all_of"), f"{field}.all_of")
        if not unions:
            raise PolicyError(f"{field}.all_of", "at least one list is needed")
        return SetExpression(
            frozenset(_names(union, atlas, f"{field}.all_of.{place}") for place, union in enumerate(unions))
        )
    if value is None or isinstance(value, str):
        raise PolicyError(field, "expected a list such as [FR, SE]; leave it out to say nothing, [] allows nowhere")
    return SetExpression(frozenset([_names(value, atlas, field)]))


def print_set(expression: SetExpression) -> object:
    """Return the one document form of an expression."""
    unions = sorted(sorted(clause) for clause in expression.clauses)
    return unions[0] if len(unions) == 1 else {"all_of": unions}


# One expression is held against many pools at one instant, and comes to the same each time.
@lru_cache(maxsize=REMEMBERED)
def _expanded(
    clauses: frozenset[frozenset[str]], atlas: Atlas, instant: datetime, adequate: frozenset[str]
) -> frozenset[str]:
    unions = [
        frozenset().union(
            *(_atoms(name, atlas, instant) for name in clause), adequate if ADEQUATE in clause else frozenset()
        )
        for clause in clauses
    ]
    return reduce(frozenset.intersection, unions)


@lru_cache(maxsize=REMEMBERED)
def _next_change(clauses: frozenset[frozenset[str]], atlas: Atlas, instant: datetime) -> datetime | None:
    changes = (atlas.next_change(name, instant) for name in frozenset().union(*clauses))
    return min((change for change in changes if change), default=None)


def _names(value: object, atlas: Atlas, field: str) -> frozenset[str]:
    return frozenset(atlas.parse_term(name, f"{field}.{place}") for place, name in enumerate(read_list(value, field)))


def _atoms(name: str, atlas: Atlas, instant: datetime) -> frozenset[str]:
    # Read narrowly: a name that this atlas does not know allows nothing.
    return frozenset([name]) if atlas.is_territory(name) else atlas.group(name, instant)
