"""Policies as documents: strict, canonical, digested."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from nordan_core.residency.errors import PolicyError
from nordan_core.residency.levels import Compute, DataClass, Encryption, Evidence, Tenancy
from nordan_core.residency.policy import (
    EMPTY,
    FACETS,
    PLACE_FACETS,
    UNENFORCED,
    OwnershipLimit,
    Policy,
    parse_policy,
    policy_digest,
    policy_document,
)
from nordan_core.residency.sets import SetExpression
from support.residency import ATLAS, a_policy

FULL: dict[str, object] = {
    "process": ["FR", "SE"],
    "store": ["SE"],
    "describe": ["EU"],
    "access": {"all_of": [["EU"], ["FR", "NO"]]},
    "key": [],
    "forbid_exposure": ["CN", "US"],
    "certifications": {"acn": ["QC2", "QI1"], "c5": "type2"},
    "seal_min": [2, 2, 2, 2, 3, 2, 0, 4],
    "ownership_max": {"EU": {"single": 24, "collective": 39}},
    "encryption": "hyok",
    "compute": "tee_gpu",
    "tenancy": "single",
    "evidence": "E2",
    "class": "restricted",
    "egress": ["registry.example:443", "models"],
    "valid_until": "2027-01-01T00:00:00Z",
    "non_derogable": ["process", "forbid_exposure"],
}


def test_every_facet_can_be_stated() -> None:
    assert set(FULL) == set(FACETS)
    policy = parse_policy(FULL, ATLAS)
    assert policy.stated() == FACETS
    assert policy == Policy(
        process=SetExpression.any_of(["FR", "SE"]),
        store=SetExpression.any_of(["SE"]),
        describe=SetExpression.any_of(["EU"]),
        access=SetExpression(frozenset([frozenset(["EU"]), frozenset(["FR", "NO"])])),
        key=SetExpression.any_of([]),
        forbid_exposure=frozenset(["CN", "US"]),
        certifications=frozenset([("acn", "QC2"), ("acn", "QI1"), ("c5", "type2")]),
        seal_min=(2, 2, 2, 2, 3, 2, 0, 4),
        ownership_max=frozenset([OwnershipLimit("EU", 24, 39)]),
        encryption=Encryption.HYOK,
        compute=Compute.TEE_GPU,
        tenancy=Tenancy.SINGLE,
        evidence=Evidence.E2,
        class_=DataClass.RESTRICTED,
        egress=frozenset(["registry.example:443", "models"]),
        valid_until=datetime(2027, 1, 1, tzinfo=UTC),
        non_derogable=frozenset(["process", "forbid_exposure"]),
    )


def test_the_full_policy_prints_in_canonical_form_and_parses_back() -> None:
    policy = parse_policy(FULL, ATLAS)
    printed = policy_document(policy)
    assert list(printed) == list(FACETS)
    assert parse_policy(printed, ATLAS) == policy
    assert printed["egress"] == ["models", "registry.example:443"]


def test_an_empty_document_states_nothing() -> None:
    assert parse_policy({}, ATLAS) == EMPTY
    assert policy_document(EMPTY) == {}
    assert EMPTY.stated() == ()


def test_an_empty_list_is_stated_and_differs_from_saying_nothing() -> None:
    denies_all = a_policy(process=[])
    assert denies_all.stated() == ("process",)
    assert denies_all != EMPTY
    assert policy_digest(denies_all) != policy_digest(EMPTY)
    assert policy_document(denies_all) == {"process": []}


def test_residency_sets_the_five_places_together() -> None:
    assert a_policy(residency=["FR"]) == a_policy(**{facet: ["FR"] for facet in PLACE_FACETS})
    assert a_policy(residency=["FR"]).stated() == PLACE_FACETS


def test_residency_beside_one_of_its_five_is_refused_with_the_long_form() -> None:
    with pytest.raises(PolicyError, match="residency sets describe already; leave residency out and write process"):
        a_policy(residency=["SE"], describe=["SE", "FR"])


def test_the_digest_does_not_depend_on_how_a_policy_was_written() -> None:
    one = a_policy(process=["SE", "FR", "SE"], forbid_exposure=["US", "CN"], valid_until="2027-01-01T01:00:00+01:00")
    other = a_policy(forbid_exposure=["CN", "US"], process=["FR", "SE"], valid_until="2027-01-01")
    assert policy_digest(one) == policy_digest(other)


def test_the_digest_is_the_sha_256_of_the_canonical_json() -> None:
    canonical = b'{"forbid_exposure":["US"],"process":["FR","SE"]}'
    assert (
        policy_digest(a_policy(process=["SE", "FR"], forbid_exposure=["US"])) == hashlib.sha256(canonical).hexdigest()
    )


DIFFERENT = {
    "another place": {"process": ["SE"]},
    "another facet": {"store": ["FR"]},
    "an intersection": {"process": {"all_of": [["FR"], ["EU"]]}},
    "one facet more": {"process": ["FR"], "forbid_exposure": []},
}


@pytest.mark.parametrize("facets", DIFFERENT.values(), ids=DIFFERENT)
def test_different_policies_have_different_digests(facets: dict[str, Any]) -> None:
    assert policy_digest(a_policy(**facets)) != policy_digest(a_policy(process=["FR"]))


def test_egress_may_be_waived_by_one_word() -> None:
    assert a_policy(egress="unenforced").egress == UNENFORCED
    assert policy_document(a_policy(egress="unenforced")) == {"egress": "unenforced"}
    assert a_policy(egress=[]).egress == frozenset()


def test_half_of_an_ownership_limit_leaves_the_other_half_open() -> None:
    assert a_policy(ownership_max={"EU": {"single": 24}}).ownership_max == frozenset([OwnershipLimit("EU", 24, 100)])


def test_several_levels_of_one_scheme_may_be_asked() -> None:
    assert a_policy(certifications={"acn": ["QC1", "QI1"]}).certifications == frozenset(
        [("acn", "QC1"), ("acn", "QI1")]
    )


INSTANTS = {
    "a UTC instant": "2027-03-01T12:00:00Z",
    "another zone": "2027-03-01T13:00:00+01:00",
    "an aware object": datetime(2027, 3, 1, 14, 0, tzinfo=timezone(timedelta(hours=2))),
}


@pytest.mark.parametrize("written", INSTANTS.values(), ids=INSTANTS)
def test_an_end_is_kept_in_utc(written: object) -> None:
    assert policy_document(a_policy(valid_until=written)) == {"valid_until": "2027-03-01T12:00:00Z"}


def test_a_day_ends_at_its_first_moment() -> None:
    for written in ("2027-03-01", date(2027, 3, 1)):
        assert policy_document(a_policy(valid_until=written)) == {"valid_until": "2027-03-01T00:00:00Z"}


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "an unknown facet": ({"proces": ["FR"]}, "proces", "did you mean 'process'"),
    "an unknown facet far from all": ({"colour": "red"}, "colour", "no such field"),
    "nothing for a facet": ({"process": None}, "process", "leave the facet out"),
    "nothing for the shorthand": ({"residency": None}, "process", "leave the facet out"),
    "UK": ({"process": ["UK"]}, "process.0", "did you mean 'GB'"),
    "YAML's NO": ({"process": ["SE", False]}, "process.1", 'write "NO" in quotes'),
    "one name instead of a list": ({"process": "FR"}, "process", "a list such as [FR, SE]"),
    "a group that is forbidden": ({"forbid_exposure": ["EU"]}, "forbid_exposure.0", "is a group"),
    "a forbidden state in lower case": ({"forbid_exposure": ["us"]}, "forbid_exposure.0", "did you mean 'US'"),
    "an unknown scheme": ({"certifications": {"C5": "type1"}}, "certifications.C5", "did you mean 'c5'"),
    "an unknown level": ({"certifications": {"c5": "type3"}}, "certifications.c5", "type1, type2"),
    "an unknown level in a list": ({"certifications": {"c5": ["typ1"]}}, "certifications.c5.0", "did you mean 'type1'"),
    "no level": ({"certifications": {"c5": []}}, "certifications.c5", "leave the scheme out"),
    "certifications as a list": ({"certifications": ["c5"]}, "certifications", "expected a mapping"),
    "seven SEAL levels": ({"seal_min": [1] * 7}, "seal_min", "7 levels; give one for each of SOV-1 to SOV-8"),
    "a SEAL level of five": ({"seal_min": [0, 5, 0, 0, 0, 0, 0, 0]}, "seal_min.1", "5 is not within 0 to 4"),
    "a SEAL level below zero": ({"seal_min": [-1, 0, 0, 0, 0, 0, 0, 0]}, "seal_min.0", "not within"),
    "a truth value as a level": ({"seal_min": [True] * 8}, "seal_min.0", "a truth value"),
    "ownership of an unknown group": (
        {"ownership_max": {"eu": {"single": 1}}},
        "ownership_max.eu",
        "did you mean 'EU'",
    ),
    "ownership without a limit": ({"ownership_max": {"EU": {}}}, "ownership_max.EU", "single, collective or both"),
    "ownership over the whole": ({"ownership_max": {"EU": {"single": 101}}}, "ownership_max.EU.single", "0 to 100"),
    "half a per cent": ({"ownership_max": {"EU": {"single": 24.5}}}, "ownership_max.EU.single", "whole number"),
    "an unknown class": ({"class": "secret"}, "class", "public, internal, confidential, restricted"),
    "a class in capitals": ({"class": "Public"}, "class", "did you mean 'public'"),
    "evidence in lower case": ({"evidence": "e1"}, "evidence", "did you mean"),
    "a number as a level": ({"encryption": 2}, "encryption", "expected text"),
    "another word for egress": ({"egress": "open"}, "egress", "unenforced"),
    "an endpoint with a space": ({"egress": ["a b"]}, "egress.0", "is not an endpoint's name"),
    "an endpoint in capitals": ({"egress": ["Hub"]}, "egress.0", "is not an endpoint's name"),
    "an instant without a zone": ({"valid_until": "2027-01-01T00:00:00"}, "valid_until", "time zone"),
    "an object without a zone": ({"valid_until": datetime(2027, 1, 1)}, "valid_until", "no time zone"),  # noqa: DTZ001
    "a date that is none": ({"valid_until": "2027-02-30"}, "valid_until", "exists"),
    "digits of another script": ({"valid_until": "\u0662027-01-01"}, "valid_until", "not an instant"),
    "a number as an instant": ({"valid_until": 1800000000}, "valid_until", "found a number"),
    "an unknown facet in non_derogable": ({"non_derogable": ["residency"]}, "non_derogable.0", "is not one of"),
}


@pytest.mark.parametrize(("document", "field", "said"), REFUSED.values(), ids=REFUSED)
def test_a_fault_is_named_with_what_would_be_right(document: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(document, ATLAS)
    assert caught.value.field == field
    assert said in caught.value.message


def test_what_is_no_mapping_is_refused() -> None:
    for document in (["process"], "process", None, 3):
        with pytest.raises(PolicyError, match="expected a mapping"):
            parse_policy(document, ATLAS)  # type: ignore[arg-type]  # what a caller without types may do
    with pytest.raises(PolicyError, match="not text"):
        parse_policy({False: ["FR"]}, ATLAS)  # type: ignore[dict-item]  # YAML's NO as a key


def test_an_error_can_be_placed_inside_a_larger_document() -> None:
    with pytest.raises(PolicyError) as caught:
        a_policy(process=["UK"])
    assert caught.value.under("policy").field == "policy.process.0"
    assert str(PolicyError("", "x").under("policy")) == "policy: x"
