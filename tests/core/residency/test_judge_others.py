"""The other acts: putting bytes into a region, describing a job to a control plane, reading."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nordan_core.residency.entities import Entity, Ownership
from nordan_core.residency.facts import Certification, ControlPlaneFacts, EndpointKind, Service
from nordan_core.residency.judge import judge, judge_control_plane, judge_reader, judge_storage
from nordan_core.residency.layers import Effective
from nordan_core.residency.levels import Compute, Encryption, Evidence, Tenancy
from nordan_core.residency.policy import PLACE_FACETS
from support.residency import (
    ATLAS,
    ENTITIES,
    FAR,
    NOW,
    a_german_pool,
    a_layer,
    a_pool,
    as_owner,
    endpoints,
    facets_of,
    in_force,
)

GERMAN_LOG = tuple(replace(one, territory="DE") if one.kind is EndpointKind.LOG else one for one in endpoints("FR"))
FRANCE = ["FR"]
STORAGE_ONLY = (Certification("c5", "type2", frozenset([Service.STORAGE]), None, FAR),)
COMPUTE_ONLY = (Certification("c5", "type2", frozenset([Service.COMPUTE]), None, FAR),)

STORAGE_REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "bytes would rest elsewhere": ({"store": ["SE"]}, {}, "store"),
    "the region is told what it keeps": ({"describe": ["SE"]}, {}, "describe"),
    "people elsewhere could reach them": ({"access": ["SE"]}, {}, "access"),
    "their keys would rest elsewhere": ({"key": ["SE"]}, {}, "key"),
    "somebody can be compelled": ({"forbid_exposure": ["US"]}, {"operator": "mainkai"}, "forbid_exposure"),
    "storage is not certified": (
        {"certifications": {"c5": "type1"}},
        {"certifications": COMPUTE_ONLY},
        "certifications",
    ),
    "a SEAL level is too low": ({"seal_min": [4] * 8}, {"seal": (0,) * 8}, "seal_min"),
    "owners from outside hold too much": ({"ownership_max": {"EU": {"single": 1}}}, {}, "ownership_max"),
    "encryption is too weak": ({"encryption": "hyok"}, {"encryption": Encryption.REST}, "encryption"),
    "evidence is too weak": ({"evidence": "E3"}, {"evidence": Evidence.E0}, "evidence"),
    "the policy has ended": ({"valid_until": "2026-01-01"}, {}, "valid_until"),
    "the facts have expired": ({}, {"valid_until": NOW}, "facts"),
}


@pytest.mark.parametrize(("facets", "changes", "facet"), STORAGE_REFUSED.values(), ids=STORAGE_REFUSED)
def test_bytes_may_not_be_put_where(facets: dict[str, Any], changes: dict[str, Any], facet: str) -> None:
    assert judge_storage(as_owner(**facets), a_pool(**changes), ATLAS, NOW).failing == {facet}


STORAGE_ALLOWED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing may be computed there": ({"process": ["SE"]}, {}),
    "computing is not shielded": ({"compute": "tee_gpu"}, {"compute": Compute.NONE}),
    "others share the machines": ({"tenancy": "single"}, {"tenancy": frozenset([Tenancy.SHARED])}),
    "egress is not enforced": ({"egress": []}, {"enforces": frozenset(["isolation"])}),
    "logs would rest elsewhere": ({"store": FRANCE}, {"endpoints": GERMAN_LOG}),
    "computing is not certified": ({"certifications": {"c5": "type1"}}, {"certifications": STORAGE_ONLY}),
}


@pytest.mark.parametrize(("facets", "changes"), STORAGE_ALLOWED.values(), ids=STORAGE_ALLOWED)
def test_bytes_may_be_put_although(facets: dict[str, Any], changes: dict[str, Any]) -> None:
    assert judge_storage(as_owner(**facets), a_pool(**changes), ATLAS, NOW).allowed
    assert not judge(as_owner(**facets), a_pool(**changes), ATLAS, NOW).allowed


def test_storing_needs_every_place_stated_but_process() -> None:
    found = judge_storage(in_force(a_layer("input", class_="internal")), a_pool(), ATLAS, NOW)
    assert tuple(facets_of(found.refusals)) == PLACE_FACETS[1:]


def control_plane(territory: str = "FR", operator: str = "auvergne-calcul") -> ControlPlaneFacts:
    return ControlPlaneFacts(territory=territory, operator=operator, entities=ENTITIES)


CONTROL_PLANES: dict[str, tuple[Effective, ControlPlaneFacts, list[str]]] = {
    "describe allows its place": (as_owner(describe=["SE", "FR"]), control_plane(), []),
    "describe allows another place alone": (as_owner(describe=["SE"]), control_plane(), ["describe"]),
    "describe allows nowhere": (as_owner(describe=[]), control_plane(), ["describe"]),
    "describe allows its group": (as_owner(describe=["EU"]), control_plane("DE"), []),
    "describe is not stated for public data": (as_owner(), control_plane("US"), []),
    "describe is missing": (in_force(a_layer("job", residency=["FR"])), control_plane(), ["describe"]),
    "a forbidden state reaches its operator": (
        as_owner(forbid_exposure=["US"]),
        control_plane(operator="mainkai"),
        ["forbid_exposure"],
    ),
    "its operator is not described": (
        as_owner(forbid_exposure=["US"]),
        control_plane(operator="x"),
        ["forbid_exposure"],
    ),
    "no forbidden state reaches it": (as_owner(forbid_exposure=["US"]), control_plane(), []),
    "the policy has ended": (as_owner(valid_until="2026-01-01"), control_plane(), ["valid_until"]),
    "the other facets are none of its business": (
        as_owner(process=["SE"], store=["SE"], access=["SE"], key=["SE"], seal_min=[4] * 8, egress=[]),
        control_plane(),
        [],
    ),
}


@pytest.mark.parametrize(("effective", "facts", "failing"), CONTROL_PLANES.values(), ids=CONTROL_PLANES)
def test_a_control_plane_is_judged_by_its_place_and_operator(
    effective: Effective, facts: ControlPlaneFacts, failing: list[str]
) -> None:
    assert facets_of(judge_control_plane(effective, facts, ATLAS, NOW).refusals) == failing


def test_a_refused_description_says_what_to_do() -> None:
    refusal = judge_control_plane(as_owner(describe=["SE"]), control_plane(), ATLAS, NOW).refusals[0]
    assert (refusal.want, refusal.have) == ("[SE]", "FR")
    assert refusal.message == (
        "this control plane stands in FR and would hold the job's description, but describe allows [SE]; "
        "submit to a control plane inside, or add FR to describe where it is stated"
    )


READERS: dict[str, tuple[Effective, str | None, bool]] = {
    "inside": (as_owner(access=["FR"]), "FR", True),
    "outside": (as_owner(access=["FR"]), "SE", False),
    "in the group": (as_owner(access=["EU"]), "SE", True),
    "nowhere is allowed": (as_owner(access=[]), "FR", False),
    "access is not stated for public data": (as_owner(), "US", True),
    "unknown, public": (as_owner(access=["FR"]), None, True),
    "unknown, internal": (as_owner(access=["FR"], class_="internal"), None, True),
    "unknown, confidential": (as_owner(access=["FR"], class_="confidential"), None, False),
    "unknown, restricted": (as_owner(access=["FR"], class_="restricted"), None, False),
    "inside, restricted": (as_owner(access=["FR"], class_="restricted"), "FR", True),
    "inside, but only the job says so": (
        in_force(a_layer("input", class_="internal"), a_layer("job", access=["FR"])),
        "FR",
        False,
    ),
    "inside, after the end of the policy": (as_owner(access=["FR"], valid_until="2026-01-01"), "FR", False),
    "the overseas part of an allowed state": (as_owner(access=["FR"]), "GP", False),
}


@pytest.mark.parametrize(("effective", "territory", "allowed"), READERS.values(), ids=READERS)
def test_a_reader_is_judged_by_the_territory_on_record(
    effective: Effective, territory: str | None, allowed: bool
) -> None:
    assert judge_reader(effective, territory, ATLAS, NOW).allowed is allowed


def test_a_reader_without_a_territory_learns_what_to_do() -> None:
    refusal = judge_reader(as_owner(access=["FR"], class_="confidential"), None, ATLAS, NOW).refusals[0]
    assert (refusal.facet, refusal.want) == ("access", "[FR]")
    assert "an administrator makes one with a territory" in refusal.message


def test_only_the_missing_access_stops_a_reader() -> None:
    owner = in_force(a_layer("input", class_="internal", access=["FR"]))
    assert owner.missing == ("process", "store", "describe", "key")
    assert judge_reader(owner, "FR", ATLAS, NOW).allowed


def test_a_control_plane_with_unknown_owners_is_refused_where_anything_is_forbidden() -> None:
    hidden = {**ENTITIES, "op": Entity("op", "FR", frozenset(), (Ownership("famille-marchand", 50, 50),))}
    facts = ControlPlaneFacts(territory="FR", operator="op", entities=hidden)
    assert judge_control_plane(as_owner(forbid_exposure=["CN"]), facts, ATLAS, NOW).failing == {"forbid_exposure"}


def test_a_german_region_may_keep_what_a_german_policy_allows() -> None:
    policy = as_owner(class_="confidential", residency=["DE"], egress=[])
    assert judge_storage(policy, a_german_pool(), ATLAS, NOW).allowed
