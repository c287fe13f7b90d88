"""Effective policies as plain JSON: what the store keeps with a job and a certificate prints.

Read back, the stored derivation is taken as it was written, so that a change of defaults never rewrites the past;
`repeats` says whether today's rules still derive the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from nordan_core.residency.atlas import Atlas
from nordan_core.residency.derogations import Covering, parse_derogation
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.facets import FACETS, PLACE_FACETS, Policy
from nordan_core.residency.layers import (
    KINDS,
    Effective,
    Layer,
    LayerKind,
    covering_documents,
    effective,
    judged_values,
    layer_documents,
)
from nordan_core.residency.policy import parse_policy, policy_document
from nordan_core.residency.reading import read_flag, read_list, read_mapping, read_text, read_word

_FIELDS = ("policy", "layers", "stated_by", "missing", "has_content", "derogations", "digest")


def effective_document(of: Effective) -> dict[str, object]:
    """Return the effective policy with its derivation as JSON values."""
    return {
        "policy": policy_document(of.policy),
        "layers": layer_documents(of.layers),
        "stated_by": {facet: [kind.value for kind in kinds] for facet, kinds in of.stated_by.items()},
        "missing": list(of.missing),
        "has_content": of.has_content,
        # Left out where there are none, as by versions that knew of none.
        **({"derogations": covering_documents(of.derogations)} if of.derogations else {}),
        "digest": of.digest,
    }


def parse_effective(document: Mapping[str, object], atlas: Atlas) -> Effective:
    """Return the effective policy that `effective_document` wrote.

    Raises:
        PolicyError: when it is not one, or when its digest is not that of its content.
    """
    stored = read_mapping(document, "", _FIELDS)
    parsed = Effective(
        policy=_policy(stored.get("policy"), atlas, "policy"),
        layers=tuple(_layer(entry, atlas, place) for place, entry in _entries(stored, "layers")),
        stated_by=MappingProxyType(_stated_by(stored.get("stated_by"))),
        missing=tuple(
            read_word(facet, f"missing.{place}", PLACE_FACETS) for place, facet in _entries(stored, "missing")
        ),
        has_content=read_flag(stored.get("has_content"), "has_content"),
        derogations=tuple(_covering(entry, atlas, place) for place, entry in _optional(stored, "derogations")),
    )
    if stored.get("digest") != parsed.digest:
        raise PolicyError("digest", "the digest does not fit the policy: one of the two was changed")
    return parsed


def judged_document(of: Effective) -> dict[str, object]:
    """Return what `digest` is taken over: no names of layers, unless a derogation tells them apart."""
    return judged_values(of)


def parse_judged(document: Mapping[str, object], atlas: Atlas) -> Effective:
    """Return a policy that judges as the one did that `judged_document` wrote; it does not know its layers.

    Raises:
        PolicyError: when it is none.
    """
    stored = read_mapping(document, "", ("policy", "missing", "derogations", "layers"))
    missing = _entries(stored, "missing")
    layers = tuple(_layer(entry, atlas, place) for place, entry in _optional(stored, "layers"))
    stated_by = {
        facet: kinds
        for facet in FACETS
        if (kinds := tuple(dict.fromkeys(one.kind for one in layers if one.policy.facet(facet) is not None)))
    }
    return Effective(
        policy=_policy(stored.get("policy"), atlas, "policy"),
        layers=layers,
        stated_by=MappingProxyType(stated_by),
        missing=tuple(read_word(facet, f"missing.{place}", PLACE_FACETS) for place, facet in missing),
        has_content=False,
        derogations=tuple(_covering(entry, atlas, place) for place, entry in _optional(stored, "derogations")),
    )


def repeats(of: Effective) -> bool:
    """Return whether the layers derive exactly this policy under the rules of this version."""
    try:
        again = effective(of.layers, has_content=of.has_content)
    except PolicyError:
        return False
    return replace(again, derogations=of.derogations) == of


def _entries(stored: Mapping[str, object], field: str) -> enumerate[object]:
    return enumerate(read_list(stored.get(field), field))


def _optional(stored: Mapping[str, object], field: str) -> enumerate[object]:
    return enumerate(read_list(stored.get(field, ()), field))


def _covering(value: object, atlas: Atlas, place: int) -> Covering:
    field = f"derogations.{place}"
    entry = read_mapping(value, field, ("text", "inputs"))
    try:
        derogation = parse_derogation(read_mapping(entry.get("text"), ""), atlas)
    except PolicyError as error:
        raise error.under(f"{field}.text") from None
    inputs = entry.get("inputs")
    if inputs is None:
        return Covering(derogation, None)
    names = enumerate(read_list(inputs, f"{field}.inputs"))
    return Covering(derogation, frozenset(read_text(name, f"{field}.inputs.{number}") for number, name in names))


def _policy(value: object, atlas: Atlas, field: str) -> Policy:
    try:
        return parse_policy(read_mapping(value, ""), atlas)
    except PolicyError as error:
        raise error.under(field) from None


def _layer(value: object, atlas: Atlas, place: int) -> Layer:
    field = f"layers.{place}"
    entry = read_mapping(value, field, ("kind", "name", "policy"))
    kind = LayerKind(read_word(entry.get("kind"), f"{field}.kind", tuple(one.value for one in KINDS)))
    name = entry.get("name")
    if not isinstance(name, str):
        raise PolicyError(f"{field}.name", "expected text")
    return Layer(kind, name, _policy(entry.get("policy"), atlas, f"{field}.policy"))


def _stated_by(value: object) -> dict[str, tuple[LayerKind, ...]]:
    words = tuple(one.value for one in KINDS)
    return {
        facet: tuple(LayerKind(read_word(kind, f"stated_by.{facet}", words)) for kind in read_list(kinds, facet))
        for facet, kinds in read_mapping(value, "stated_by", FACETS).items()
    }
