"""How policies combine: every facet, every pair."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from nordan_core.residency.policy import EMPTY, FACETS, PLACE_FACETS, Policy, meet
from support.residency import a_policy

PLACES: list[object] = [[], ["FR"], ["SE", "FR"], ["EU"], ["NO"], {"all_of": [["EU"], ["FR", "NO"]]}]

#: Values of each facet to combine, weak and strong, comparable and not. None is added to all.
VALUES: dict[str, list[object]] = {
    **dict.fromkeys(PLACE_FACETS, PLACES),
    "forbid_exposure": [[], ["US"], ["CN"], ["CN", "US"]],
    "certifications": [{}, {"c5": "type1"}, {"c5": "type2"}, {"acn": "QC1"}, {"acn": "QI1", "c5": "type1"}],
    "seal_min": [[0] * 8, [4] * 8, [1, 2, 3, 4, 0, 0, 0, 0], [4, 3, 2, 1, 0, 0, 0, 0]],
    "ownership_max": [
        {},
        {"EU": {"single": 24, "collective": 39}},
        {"EU": {"single": 39, "collective": 24}},
        {"EEA": {"single": 10}},
    ],
    "encryption": ["none", "rest", "byok", "hyok"],
    "compute": ["none", "tee", "tee_gpu"],
    "tenancy": ["shared", "dedicated", "single"],
    "evidence": ["E0", "E1", "E2", "E3", "E4"],
    "class": ["public", "internal", "confidential", "restricted"],
    "egress": ["unenforced", [], ["a"], ["a", "b"], ["b", "c"]],
    "valid_until": ["2027-01-01", "2028-01-01", "2026-01-01T00:00:01Z"],
    "non_derogable": [[], ["process"], ["process", "key"], ["class"]],
}


def stated(facet: str) -> list[Policy]:
    return [EMPTY, *(a_policy(**{facet: value}) for value in VALUES[facet])]


def test_the_matrix_covers_every_facet() -> None:
    assert set(VALUES) == set(FACETS)


@pytest.mark.parametrize("facet", FACETS)
def test_the_meet_is_commutative_and_idempotent_and_nothing_is_neutral(facet: str) -> None:
    for left, right in product(stated(facet), repeat=2):
        assert meet(left, right) == meet(right, left)
    for policy in stated(facet):
        assert meet(policy, policy) == policy
        assert meet(policy, EMPTY) == policy


@pytest.mark.parametrize("facet", FACETS)
def test_the_meet_is_associative(facet: str) -> None:
    for one, two, three in product(stated(facet), repeat=3):
        assert meet(meet(one, two), three) == meet(one, meet(two, three))


@pytest.mark.parametrize("facet", FACETS)
def test_a_facet_does_not_disturb_another(facet: str) -> None:
    for other in FACETS:
        if other != facet:
            left, right = stated(facet)[1], stated(other)[-1]
            assert meet(left, right).facet(facet) == left.facet(facet)
            assert meet(left, right).facet(other) == right.facet(other)


MEETS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "places intersect by name": (
        {"store": ["EU"]},
        {"store": ["FR", "NO"]},
        {"store": {"all_of": [["EU"], ["FR", "NO"]]}},
    ),
    "the smaller of two lists implies the larger": ({"key": ["FR"]}, {"key": ["FR", "SE"]}, {"key": ["FR"]}),
    "an empty list wins": ({"process": []}, {"process": ["FR"]}, {"process": []}),
    "forbidden states add up": (
        {"forbid_exposure": ["US"]},
        {"forbid_exposure": ["CN"]},
        {"forbid_exposure": ["CN", "US"]},
    ),
    "certificates add up": (
        {"certifications": {"c5": "type1"}},
        {"certifications": {"acn": "QC1"}},
        {"certifications": {"acn": "QC1", "c5": "type1"}},
    ),
    "incomparable levels are both asked": (
        {"certifications": {"acn": "QC1"}},
        {"certifications": {"acn": "QI1"}},
        {"certifications": {"acn": ["QC1", "QI1"]}},
    ),
    "each SEAL floor is the higher": (
        {"seal_min": [1, 2, 3, 4, 0, 0, 0, 0]},
        {"seal_min": [4, 3, 2, 1, 0, 0, 0, 1]},
        {"seal_min": [4, 3, 3, 4, 0, 0, 0, 1]},
    ),
    "each ownership limit is the lower": (
        {"ownership_max": {"EU": {"single": 24, "collective": 39}}},
        {"ownership_max": {"EU": {"single": 30, "collective": 30}}},
        {"ownership_max": {"EU": {"single": 24, "collective": 30}}},
    ),
    "limits for different groups stand side by side": (
        {"ownership_max": {"EU": {"single": 24}}},
        {"ownership_max": {"EEA": {"single": 10}}},
        {"ownership_max": {"EU": {"single": 24}, "EEA": {"single": 10}}},
    ),
    "the stronger encryption": ({"encryption": "byok"}, {"encryption": "rest"}, {"encryption": "byok"}),
    "the stronger shield": ({"compute": "tee"}, {"compute": "tee_gpu"}, {"compute": "tee_gpu"}),
    "the stricter tenancy": ({"tenancy": "single"}, {"tenancy": "dedicated"}, {"tenancy": "single"}),
    "the better evidence": ({"evidence": "E1"}, {"evidence": "E3"}, {"evidence": "E3"}),
    "the higher class": ({"class": "restricted"}, {"class": "public"}, {"class": "restricted"}),
    "egress lists intersect": ({"egress": ["a", "b"]}, {"egress": ["b", "c"]}, {"egress": ["b"]}),
    "lists without a common endpoint allow none": ({"egress": ["a"]}, {"egress": ["b"]}, {"egress": []}),
    "a list wins over unenforced": ({"egress": "unenforced"}, {"egress": ["a"]}, {"egress": ["a"]}),
    "the earlier end": ({"valid_until": "2028-01-01"}, {"valid_until": "2027-01-01"}, {"valid_until": "2027-01-01"}),
    "what nobody may widen adds up": (
        {"non_derogable": ["key"]},
        {"non_derogable": ["process"]},
        {"non_derogable": ["key", "process"]},
    ),
}


@pytest.mark.parametrize(("left", "right", "together"), MEETS.values(), ids=MEETS)
def test_two_policies_meet(left: dict[str, Any], right: dict[str, Any], together: dict[str, Any]) -> None:
    assert meet(a_policy(**left), a_policy(**right)) == a_policy(**together)
