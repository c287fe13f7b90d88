"""Policies as documents: strict parsing, one canonical form, one digest.

The api parses what people state; store and certificates keep the canonical form. `parse_policy(policy_document(p))`
is `p` for every policy. Nothing here combines or judges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nordan_core.residency.canonical import digest_of
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.facets import (
    EMPTY,
    FACETS,
    PLACE_FACETS,
    SEAL_OBJECTIVES,
    UNENFORCED,
    OwnershipLimit,
    Policy,
    attribute_of,
    meet,
)
from nordan_core.residency.hints import did_you_mean
from nordan_core.residency.levels import Compute, DataClass, Encryption, Evidence, Level, Tenancy, parse_level
from nordan_core.residency.names import read_endpoint_name
from nordan_core.residency.places import Atlas, Scheme
from nordan_core.residency.reading import (
    print_instant,
    read_instant,
    read_integer,
    read_list,
    read_mapping,
    read_text,
    read_word,
)
from nordan_core.residency.sets import parse_set, print_set

__all__ = [
    "EMPTY",
    "FACETS",
    "PLACE_FACETS",
    "UNENFORCED",
    "OwnershipLimit",
    "Policy",
    "meet",
    "parse_policy",
    "policy_digest",
    "policy_document",
]

SHORTHAND = "residency"
HIGHEST_SEAL = 4
_LEVELS: Mapping[str, type[Level]] = {
    "encryption": Encryption,
    "compute": Compute,
    "tenancy": Tenancy,
    "evidence": Evidence,
    "class": DataClass,
}


def parse_policy(document: Mapping[str, object], atlas: Atlas) -> Policy:
    """Return the policy that a document states. `residency: [..]` stands for the five place facets together.

    Raises:
        PolicyError: for the first fault, with its field and what would be right.
    """
    stated = _spelled_out(read_mapping(document, "", (*FACETS, SHORTHAND)))
    for facet, value in stated.items():
        if value is None:
            raise PolicyError(facet, "nothing is given; leave the facet out to say nothing")
    return Policy(**{attribute_of(facet): _read_facet(facet, value, atlas) for facet, value in stated.items()})


def policy_document(policy: Policy) -> dict[str, object]:
    """Return the one document form of a policy: stated facets only, in a fixed order, JSON values without floats."""
    return {facet: _print_facet(facet, policy.facet(facet)) for facet in policy.stated()}


def facet_document(policy: Policy, facet: str) -> object:
    """Return the document form of one facet, or None when it is not stated."""
    value = policy.facet(facet)
    return None if value is None else _print_facet(facet, value)


def policy_digest(policy: Policy) -> str:
    """Return the SHA-256 of the canonical form, in hexadecimal; the same for equal policies on every machine."""
    return digest_of(policy_document(policy))


def _spelled_out(document: Mapping[str, object]) -> dict[str, object]:
    stated = dict(document)
    if SHORTHAND not in stated:
        return stated
    if twice := [facet for facet in PLACE_FACETS if facet in stated]:
        raise PolicyError(
            twice[0],
            f"{SHORTHAND} sets {twice[0]} already; leave {SHORTHAND} out and write {', '.join(PLACE_FACETS)}",
        )
    places = stated.pop(SHORTHAND)
    return {**dict.fromkeys(PLACE_FACETS, places), **stated}


def _read_facet(facet: str, value: object, atlas: Atlas) -> Any:  # Any: each facet has a type of its own
    if facet in PLACE_FACETS:
        return parse_set(value, atlas, facet)
    if facet in _LEVELS:
        return parse_level(value, _LEVELS[facet], facet)
    return _READERS[facet](value, atlas)


def _read_forbidden(value: object, atlas: Atlas) -> frozenset[str]:
    field = "forbid_exposure"
    return frozenset(
        atlas.parse_territory(state, f"{field}.{place}") for place, state in enumerate(read_list(value, field))
    )


def _read_certifications(value: object, atlas: Atlas) -> frozenset[tuple[str, str]]:
    field = "certifications"
    wanted = read_mapping(value, field)
    return frozenset(
        (name, level)
        for name, levels in wanted.items()
        for level in _read_scheme_levels(levels, _known_scheme(name, atlas, field), f"{field}.{name}")
    )


def _known_scheme(name: str, atlas: Atlas, field: str) -> Scheme:
    if name not in atlas.schemes:
        raise PolicyError(f"{field}.{name}", f"no such certification scheme{did_you_mean(name, atlas.schemes)}")
    return atlas.schemes[name]


def _read_scheme_levels(value: object, scheme: Scheme, field: str) -> list[str]:
    if isinstance(value, str):
        return [read_word(value, field, tuple(scheme.levels))]
    levels = read_list(value, field)
    if not levels:
        raise PolicyError(field, "no level is given; leave the scheme out to ask nothing of it")
    return [read_word(level, f"{field}.{place}", tuple(scheme.levels)) for place, level in enumerate(levels)]


def _read_seal(value: object, _atlas: Atlas) -> tuple[int, ...]:
    field = "seal_min"
    levels = read_list(value, field)
    if len(levels) != SEAL_OBJECTIVES:
        raise PolicyError(field, f"{len(levels)} levels; give one for each of SOV-1 to SOV-{SEAL_OBJECTIVES}")
    return tuple(
        read_integer(level, f"{field}.{place}", low=0, high=HIGHEST_SEAL) for place, level in enumerate(levels)
    )


def _read_ownership(value: object, atlas: Atlas) -> frozenset[OwnershipLimit]:
    field = "ownership_max"
    return frozenset(
        _read_limit(atlas.parse_term(group, f"{field}.{group}"), limit, f"{field}.{group}")
        for group, limit in read_mapping(value, field).items()
    )


def _read_limit(group: str, value: object, field: str) -> OwnershipLimit:
    shares = read_mapping(value, field, ("single", "collective"))
    if not shares:
        raise PolicyError(field, "give single, collective or both, in whole per cent")
    single, collective = (
        read_integer(shares.get(kind, 100), f"{field}.{kind}", low=0, high=100) for kind in ("single", "collective")
    )
    return OwnershipLimit(group, single, collective)


def _read_egress(value: object, _atlas: Atlas) -> object:
    if isinstance(value, str):
        return read_word(value, "egress", (UNENFORCED,))
    entries = read_list(value, "egress")
    return frozenset(read_endpoint_name(name, f"egress.{place}") for place, name in enumerate(entries))


def _read_valid_until(value: object, _atlas: Atlas) -> object:
    return read_instant(value, "valid_until")


def _read_non_derogable(value: object, _atlas: Atlas) -> frozenset[str]:
    field = "non_derogable"
    entries = [read_text(facet, f"{field}.{place}") for place, facet in enumerate(read_list(value, field))]
    return frozenset(read_word(facet, f"{field}.{place}", FACETS) for place, facet in enumerate(entries))


_READERS: Mapping[str, Callable[[object, Atlas], object]] = {
    "forbid_exposure": _read_forbidden,
    "certifications": _read_certifications,
    "seal_min": _read_seal,
    "ownership_max": _read_ownership,
    "egress": _read_egress,
    "valid_until": _read_valid_until,
    "non_derogable": _read_non_derogable,
}


def _print_facet(facet: str, value: Any) -> object:  # Any: each facet has a type of its own, which its printer knows
    if facet in PLACE_FACETS:
        return print_set(value)
    if facet in _LEVELS:
        return value.word
    return _PRINTERS[facet](value)


def _print_certifications(value: frozenset[tuple[str, str]]) -> object:
    wanted: dict[str, list[str]] = {}
    for scheme, level in sorted(value):
        wanted.setdefault(scheme, []).append(level)
    return {scheme: levels[0] if len(levels) == 1 else levels for scheme, levels in wanted.items()}


def _print_ownership(value: frozenset[OwnershipLimit]) -> object:
    return {limit.group: {"single": limit.single, "collective": limit.collective} for limit in sorted(value)}


def _print_egress(value: Any) -> object:  # Any: a set of names or the one word
    return value if value == UNENFORCED else sorted(value)


_PRINTERS: Mapping[str, Callable[[Any], object]] = {  # Any: one row for each facet's type
    "forbid_exposure": sorted,
    "certifications": _print_certifications,
    "seal_min": list,
    "ownership_max": _print_ownership,
    "egress": _print_egress,
    "valid_until": print_instant,
    "non_derogable": sorted,
}
