"""The effective policy of a job: the meet of everything that speaks about it, then the defaults, once.

The api builds it at submission; apply, redeem and renew judge what it stored. A layer that says nothing is neutral.
A job can only tighten: what it states never stands in for what an owner or a floor did not say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import reduce
from types import MappingProxyType

from nordan_core.residency.canonical import digest_of
from nordan_core.residency.derogations import Covering, derogation_document
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.facets import EMPTY, FACETS, PLACE_FACETS, UNENFORCED, Egress, Policy, meet
from nordan_core.residency.levels import DataClass
from nordan_core.residency.policy import policy_digest, policy_document


class LayerKind(StrEnum):
    """Who speaks. The order is from the widest scope to the narrowest, and that of every list of kinds."""

    ORGANISATION = "organisation"
    PROJECT = "project"
    INPUT = "input"
    PARENT = "parent"
    JOB = "job"


KINDS = tuple(LayerKind)
FLOORS = frozenset({LayerKind.ORGANISATION, LayerKind.PROJECT})
OWNERS = frozenset({LayerKind.INPUT, LayerKind.PARENT})
"""The kinds that speak for data: only they may accept that egress is not enforced."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One voice: what kind it is, the name that its owner knows it by, and what it states."""

    kind: LayerKind
    name: str
    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """The policy that a job, dataset or artifact is judged by, with where each facet came from."""

    policy: Policy
    """The meet, with defaults."""
    layers: tuple[Layer, ...]
    """Sorted by kind and name; the derivation can be repeated from them."""
    stated_by: Mapping[str, tuple[LayerKind, ...]] = field(hash=False)
    """For each facet of the meet, the kinds that stated it. A facet that only a default set is not in it."""
    missing: tuple[str, ...]
    """Place facets that an owner or a floor must state and did not; the judge denies for each."""
    has_content: bool
    """Whether the job has an input, secret or file."""
    derogations: tuple[Covering, ...] = ()
    """Used on it, in order of their ids. `policy` is what it is without them; see `widening.in_force`."""
    digest: str = field(init=False)
    """SHA-256 of what a judgement depends on: the policy and what is missing. Names of layers do not count, unless a
    derogation tells layers apart."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", digest_of(judged_values(self)))

    @property
    def class_(self) -> DataClass:
        """Return the data class; it is always known after the defaults."""
        return self.policy.class_ if self.policy.class_ is not None else DataClass.CONFIDENTIAL

    def layers_stating(self, facet: str) -> tuple[Layer, ...]:
        """Return the layers that state a facet."""
        return tuple(layer for layer in self.layers if layer.policy.facet(facet) is not None)


def judged_values(of: Effective) -> dict[str, object]:
    """Return what the digest is taken over, as JSON values."""
    judged: dict[str, object] = {"policy": policy_document(of.policy), "missing": list(of.missing)}
    if of.derogations:
        judged["derogations"] = covering_documents(of.derogations)
        judged["layers"] = layer_documents(of.layers)
    return judged


def layer_documents(layers: Iterable[Layer]) -> list[dict[str, object]]:
    """Return layers as JSON values."""
    return [{"kind": one.kind.value, "name": one.name, "policy": policy_document(one.policy)} for one in layers]


def covering_documents(covered: Iterable[Covering]) -> list[dict[str, object]]:
    """Return derogations, each with the inputs that it covers, as JSON values; null is everything."""
    return [
        {"text": derogation_document(one.derogation), "inputs": None if one.inputs is None else sorted(one.inputs)}
        for one in covered
    ]


def effective(layers: Iterable[Layer], *, has_content: bool) -> Effective:
    """Return the meet of all layers with the defaults applied once. The order of layers makes no difference.

    Raises:
        PolicyError: when a floor or a job states `egress: unenforced`, which is a data owner's to say.
    """
    ordered = tuple(sorted(layers, key=lambda one: (KINDS.index(one.kind), one.name, policy_digest(one.policy))))
    _only_owners_waive_egress(ordered)
    together = combined(ordered)
    # 1. The class, because the other defaults depend on it.
    class_ = _class_of(together, ordered, has_content=has_content)
    # 2. Egress.
    policy = replace(together, class_=class_, egress=_egress_of(together, ordered, class_))
    # 3. What must have been said and was not.
    return Effective(
        policy=policy,
        layers=ordered,
        stated_by=_stated_by(ordered),
        missing=_missing(ordered, class_),
        has_content=has_content,
    )


def combined(layers: Iterable[Layer]) -> Policy:
    """Return the meet of what the layers state, without defaults."""
    return reduce(meet, (layer.policy for layer in layers), EMPTY)


def output_policy(of: Effective) -> Policy:
    """Return what outputs are born with: the meet of inputs, parents and job. Floors stay with their project.

    A job's word that its owners left to a default must not replace that default elsewhere: a class below
    `confidential` stays unstated unless every owner stated it, and a job's own list of endpoints becomes none.
    """
    born_of = tuple(layer for layer in of.layers if layer.kind not in FLOORS)
    born = combined(born_of)
    says_class = _every_owner_states(born_of, "class") or (born.class_ or DataClass.PUBLIC) >= DataClass.CONFIDENTIAL
    egress = _egress_said(born, born_of)
    if not _egress_is_settled(born_of) and LayerKind.JOB in _stating_kinds(born_of, "egress"):
        egress = frozenset()
    return replace(born, class_=born.class_ if says_class else None, egress=egress)


def _only_owners_waive_egress(layers: Sequence[Layer]) -> None:
    for layer in layers:
        if layer.kind not in OWNERS and layer.policy.egress == UNENFORCED:
            raise PolicyError(
                "egress",
                f"{layer.kind} {layer.name!r} says {UNENFORCED}, which only the owner of the data may say; "
                "state it on the dataset, or give a list of endpoints here",
            )


def _class_of(together: Policy, layers: Sequence[Layer], *, has_content: bool) -> DataClass:
    default = DataClass.CONFIDENTIAL if has_content else DataClass.INTERNAL
    if together.class_ is None:
        return default
    # A job's word, or that of one owner among several, must not lower what the default gives the others.
    said_for_all = _every_owner_states(layers, "class") or _stating_kinds(layers, "class") & FLOORS
    return together.class_ if said_for_all else max(together.class_, default)


def _egress_of(together: Policy, layers: Sequence[Layer], class_: DataClass) -> Egress | None:
    if class_ >= DataClass.CONFIDENTIAL and not _egress_is_settled(layers):
        return frozenset()
    return _egress_said(together, layers)


def _egress_said(together: Policy, layers: Sequence[Layer]) -> Egress | None:
    # One owner cannot waive the guard for another's data.
    is_waived_for_some = together.egress == UNENFORCED and not _every_owner_states(layers, "egress")
    return None if is_waived_for_some else together.egress


def _egress_is_settled(layers: Sequence[Layer]) -> bool:
    # By a list from an owner or a floor, or because every owner spoke; a job's own list only narrows what they say.
    listed = any(layer.kind is not LayerKind.JOB and isinstance(layer.policy.egress, frozenset) for layer in layers)
    return listed or _every_owner_states(layers, "egress")


def _every_owner_states(layers: Sequence[Layer], facet: str) -> bool:
    owners = [layer for layer in layers if layer.kind in OWNERS]
    return bool(owners) and all(layer.policy.facet(facet) is not None for layer in owners)


def _stating_kinds(layers: Sequence[Layer], facet: str) -> frozenset[LayerKind]:
    return frozenset(layer.kind for layer in layers if layer.policy.facet(facet) is not None)


def _stated_by(layers: Sequence[Layer]) -> Mapping[str, tuple[LayerKind, ...]]:
    kinds = {facet: _stating_kinds(layers, facet) for facet in FACETS}
    return MappingProxyType({facet: tuple(k for k in KINDS if k in said) for facet, said in kinds.items() if said})


def _missing(layers: Sequence[Layer], class_: DataClass) -> tuple[str, ...]:
    if class_ is DataClass.PUBLIC:
        return ()
    return tuple(facet for facet in PLACE_FACETS if not _stating_kinds(layers, facet) - {LayerKind.JOB})
