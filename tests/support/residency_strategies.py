"""Hypothesis strategies for residency: small worlds in which lawful and unlawful pools are both common."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from nordan_core.residency.facts import Certification, PoolFacts, Service
from nordan_core.residency.layers import Layer, LayerKind
from nordan_core.residency.levels import Compute, Encryption, Evidence, Tenancy
from nordan_core.residency.policy import FACETS, PLACE_FACETS, UNENFORCED, Policy
from support.residency import FAR, NOW, a_german_pool, a_policy, a_pool, a_swedish_pool

PLACES = ("FR", "SE", "DE", "NO", "EU", "EEA", "ADEQUATE")
INSTANTS = (NOW, datetime(2027, 6, 1, tzinfo=UTC), FAR)

#: Lists wide enough that two of them often share the place of a pool.
place_lists = st.one_of(
    st.lists(st.sampled_from(PLACES), min_size=2, max_size=4),
    st.sampled_from([["EU"], ["EEA"], ["FR"], ["SE", "FR"], []]),
)
place_sets = st.one_of(
    place_lists, st.lists(place_lists, min_size=1, max_size=3).map(lambda unions: {"all_of": unions})
)
egress_lists = st.lists(st.sampled_from(["hub", "pip", "models"]), max_size=2)

FACET_VALUES: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(PLACE_FACETS, place_sets),
    "forbid_exposure": st.lists(st.sampled_from(["US", "CN", "SE", "DK"]), max_size=2),
    "certifications": st.sampled_from([{}, {"c5": "type1"}, {"c5": "type2"}, {"acn": ["QC1", "QI1"]}]),
    "seal_min": st.lists(st.integers(0, 4), min_size=8, max_size=8).map(lambda levels: [one // 2 for one in levels]),
    "ownership_max": st.sampled_from(
        [{}, {"EU": {"single": 24, "collective": 39}}, {"EU": {"single": 12}}, {"EEA": {"collective": 5}}]
    ),
    "encryption": st.sampled_from(["none", "rest", "byok", "hyok"]),
    "compute": st.sampled_from(["none", "tee", "tee_gpu"]),
    "tenancy": st.sampled_from(["shared", "dedicated", "single"]),
    "evidence": st.sampled_from(["E0", "E1", "E2", "E3", "E4"]),
    "class": st.sampled_from(["public", "internal", "confidential", "restricted"]),
    "egress": st.one_of(egress_lists, st.just(UNENFORCED)),
    "valid_until": st.sampled_from(["2027-01-01", "2028-01-01", "2031-01-01", "2026-11-22T09:30:00Z"]),
    "non_derogable": st.lists(st.sampled_from(FACETS), max_size=3),
}


STATEMENTS = st.sampled_from(FACETS).flatmap(lambda facet: FACET_VALUES[facet].map(lambda value: (facet, value)))
STATEMENTS_OF_JOBS = STATEMENTS.filter(lambda stated: stated != ("egress", UNENFORCED))


def _stating(statements: list[tuple[str, Any]]) -> Policy:
    return a_policy(**dict(statements))


def policies(most: int = 3, *, may_waive: bool = True) -> st.SearchStrategy[Policy]:
    """Return policies that state one to `most` facets."""
    statements = STATEMENTS if may_waive else STATEMENTS_OF_JOBS
    return st.lists(statements, min_size=1, max_size=most).map(_stating)


def full_policies() -> st.SearchStrategy[Policy]:
    """Return policies that may state anything."""
    return st.lists(STATEMENTS, max_size=len(FACETS)).map(_stating)


#: Policies that state most facets, so that two of them often state the same one.
rich_policies = st.fixed_dictionaries(
    {facet: st.none() | values | values for facet, values in FACET_VALUES.items()}
).map(lambda drawn: a_policy(**{facet: value for facet, value in drawn.items() if value is not None}))

SHORT_C5 = Certification("c5", "type1", frozenset(Service), None, datetime(2027, 3, 1, tzinfo=UTC))
GOOD_POOLS = (a_pool(), a_pool(), a_swedish_pool(), a_german_pool())
WORSE: tuple[tuple[str, Any], ...] = (
    *(("territory", code) for code in ("NO", "CH", "GP")),
    *(("access_territories", sits) for sits in (None, frozenset(["FR", "IN"]))),
    *(("endpoints", some) for some in ((), a_pool().endpoints[:2])),
    *(("seal", levels) for levels in (None, (1,) * 8)),
    *(("tenancy", frozenset(levels)) for levels in ((), (Tenancy.SINGLE,), (Tenancy.SHARED,))),
    *(("encryption", level) for level in (None, Encryption.REST)),
    *(("compute", level) for level in (None, Compute.TEE)),
    *(("evidence", level) for level in (Evidence.E0, Evidence.E2)),
    *(("enforces", frozenset(some)) for some in ((), ("isolation",))),
    *(("certifications", some) for some in ((), (SHORT_C5,))),
    *(("valid_until", end) for end in (NOW, datetime(2027, 4, 1, tzinfo=UTC))),
    *(("operator", name) for name in ("mainkai", "ghost")),
)


def _worse_pool(pool: PoolFacts, changes: list[tuple[str, Any]]) -> PoolFacts:
    return replace(pool, **dict(changes)) if changes else pool


#: A pool: usually a good one, with up to two of its facts changed for the worse.
pools = st.builds(_worse_pool, st.sampled_from(GOOD_POOLS), st.lists(st.sampled_from(WORSE), max_size=2))


def _floor(class_: str, residency: list[str]) -> list[Layer]:
    return [Layer(LayerKind.PROJECT, "floor", a_policy(class_=class_, residency=residency))]


def _owners(stated: list[tuple[LayerKind, Policy]]) -> list[Layer]:
    return [Layer(kind, f"owner-{place}", policy) for place, (kind, policy) in enumerate(stated)]


floors = st.builds(_floor, FACET_VALUES["class"], st.sampled_from([["EU"], ["EEA"], ["FR", "SE"]]))
owners = st.lists(st.tuples(st.sampled_from([LayerKind.INPUT, LayerKind.PARENT]), policies(most=2)), max_size=2)
#: The layers that a job cannot choose. Most often a floor states the five places, as real projects do.
owner_and_floor_layers = st.builds(
    lambda floor, owned: floor + owned, st.one_of(floors, floors, floors, st.just([])), owners.map(_owners)
)
instants = st.sampled_from(INSTANTS)
