"""Why no pool will do: the smallest conflict, and the nearest change that would help."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nordan_core.residency.entities import Entity
from nordan_core.residency.explain import DEFAULT, Never, explain_never
from nordan_core.residency.facts import PoolFacts
from nordan_core.residency.judge import judge, permits
from nordan_core.residency.layers import Effective, Layer
from nordan_core.residency.levels import Encryption, Tenancy
from nordan_core.residency.policy import parse_policy, policy_document
from nordan_core.residency.relaxations import Relaxation, nearest_relaxation, relaxation_for
from support.residency import (
    ATLAS,
    ENTITIES,
    NOW,
    a_german_pool,
    a_layer,
    a_pool,
    a_swedish_pool,
    endpoints,
    in_force,
)

POOLS = (a_pool(), a_german_pool(), a_swedish_pool())
FLOOR = a_layer("project", "default", class_="public")


def never(*layers: Layer, pools: tuple[PoolFacts, ...] = POOLS) -> Never:
    effective = in_force(FLOOR, *layers, has_content=True)
    assert not any(judge(effective, facts, ATLAS, NOW).allowed for facts in pools)
    return explain_never(effective, pools, ATLAS, NOW)


def parts(found: Never) -> list[tuple[str, str]]:
    return [(part.facet, part.layer) for part in found.conflict]


CONFLICTS: dict[str, tuple[list[Layer], list[tuple[str, str]]]] = {
    "one facet of one layer": ([a_layer("input", "a", process=["NO"])], [("process", "input 'a'")]),
    "one certificate that nobody has": (
        [a_layer("input", "a", process=["FR"], certifications={"soc2": "type1"})],
        [("certifications", "input 'a'")],
    ),
    "two layers on one facet": (
        [a_layer("input", "a", process=["FR", "SE"]), a_layer("input", "b", process=["DE"])],
        [("process", "input 'a'"), ("process", "input 'b'")],
    ),
    "two facets of one layer": (
        [a_layer("input", "a", process=["DE"], forbid_exposure=["US"])],
        [("process", "input 'a'"), ("forbid_exposure", "input 'a'")],
    ),
    "two facets of two layers": (
        [a_layer("input", "a", process=["DE"]), a_layer("job", "j", forbid_exposure=["US"])],
        [("process", "input 'a'"), ("forbid_exposure", "job 'j'")],
    ),
    "a bystander is not named": (
        [a_layer("input", "a", process=["DE"], encryption="hyok"), a_layer("job", "j", forbid_exposure=["US"])],
        [("process", "input 'a'"), ("forbid_exposure", "job 'j'")],
    ),
    "three that are needed together": (
        [a_layer("input", "a", process=["DE", "SE"], key=["DE", "FR"], forbid_exposure=["US"])],
        [("process", "input 'a'"), ("key", "input 'a'"), ("forbid_exposure", "input 'a'")],
    ),
}


@pytest.mark.parametrize(("layers", "conflict"), CONFLICTS.values(), ids=CONFLICTS)
def test_the_smallest_conflict_is(layers: list[Layer], conflict: list[tuple[str, str]]) -> None:
    assert parts(never(*layers)) == conflict


def test_what_nobody_stated_is_a_conflict_of_its_own() -> None:
    found = explain_never(in_force(a_layer("job", residency=["FR"])), POOLS, ATLAS, NOW)
    assert parts(found) == [("process", DEFAULT)]
    assert "needed above class public" in found.sentence


def test_egress_that_a_default_closed_is_named_as_such() -> None:
    bare = (a_pool(enforces=frozenset(["isolation"])),)
    owner = in_force(a_layer("input", "a", residency=["FR"]), has_content=True)
    found = explain_never(owner, bare, ATLAS, NOW)
    assert parts(found) == [("egress", DEFAULT)]
    assert found.conflict[0].sentence.startswith("the default of class confidential asks egress: ")


def test_without_pools_there_is_nothing_to_relax() -> None:
    found = explain_never(in_force(FLOOR), (), ATLAS, NOW)
    assert (found.conflict, found.relaxation, found.sentence) == ((), None, "no pool is registered")


def test_expired_facts_are_no_fault_of_the_policy() -> None:
    found = explain_never(in_force(FLOOR), (a_pool(valid_until=NOW),), ATLAS, NOW)
    assert (found.conflict, found.relaxation) == ((), None)
    assert found.sentence == "the facts about every pool have expired"


def test_a_pool_with_expired_facts_is_left_out_of_the_conflict() -> None:
    found = never(a_layer("input", "a", process=["FR"]), pools=(a_pool(valid_until=NOW), a_german_pool()))
    assert parts(found) == [("process", "input 'a'")]
    assert found.relaxation is not None
    assert found.relaxation.pool == "de-fra-1-h100"


def test_the_sentence_names_layers_with_an_empty_set() -> None:
    found = never(a_layer("input", "a", process=["FR"]), a_layer("input", "b", process=["DE"]))
    assert "input 'a' says [FR] and input 'b' says [DE], which have no place in common" in found.sentence


def test_the_sentence_ends_with_what_would_help() -> None:
    found = never(a_layer("input", "patients", process=["NO"]))
    assert found.sentence == (
        "no registered pool is lawful: input 'patients' asks process: [NO]. fr-bru-1-h100 would be lawful if "
        "process were [FR, NO] instead of [NO] (stated by input 'patients')"
    )


STRICT: dict[str, Any] = {"process": ["SE"], "forbid_exposure": ["US"], "encryption": "hyok"}

#: What is stated, how the pool differs, and the one change that is proposed.
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], str, object]] = {
    "a place more": ({"process": ["SE"]}, {}, "process", ["FR", "SE"]),
    "a place more in each union": (
        {"process": {"all_of": [["SE"], ["EEA", "CH"], ["NO"]]}},
        {},
        "process",
        {"all_of": [["CH", "EEA"], ["FR", "NO"], ["FR", "SE"]]},
    ),
    "a place for the description": ({"describe": ["SE"]}, {}, "describe", ["FR", "SE"]),
    "places for people and the building": (
        {"access": ["DE"]},
        {"host": "dalarna-hallar"},
        "access",
        ["DE", "FR", "SE"],
    ),
    "places for store and logs": ({"store": ["SE"]}, {}, "store", ["FR", "SE"]),
    "a place for keys": ({"key": []}, {}, "key", ["FR"]),
    "no word on access where it is unknown": ({"access": ["FR"]}, {"access_territories": None}, "access", None),
    "no word on access where the building's owner is unknown": ({"access": ["FR"]}, {"host": "ghost"}, "access", None),
    "no word on access where the building's owner has no seat": (
        {"access": ["FR"]},
        {"host": "x", "entities": {**ENTITIES, "x": Entity("x", None)}},
        "access",
        None,
    ),
    "no word on store where logs are unknown": (
        {"store": ["FR"]},
        {"endpoints": (endpoints("FR")[0], endpoints("FR")[2])},
        "store",
        None,
    ),
    "no word on keys where they are unknown": ({"key": ["FR"]}, {"endpoints": endpoints("FR")[:2]}, "key", None),
    "fewer forbidden states": ({"forbid_exposure": ["CN", "SE"]}, {}, "forbid_exposure", ["CN"]),
    "no forbidden states where exposure is unknown": (
        {"forbid_exposure": ["CN"]},
        {"operator": "x"},
        "forbid_exposure",
        None,
    ),
    "fewer certificates": ({"certifications": {"c5": "type1", "soc2": "type1"}}, {}, "certifications", {"c5": "type1"}),
    "lower SEAL floors": (
        {"seal_min": [2] * 8},
        {"seal": (4, 1, 4, 4, 4, 4, 0, 4)},
        "seal_min",
        [2, 1, 2, 2, 2, 2, 0, 2],
    ),
    "no SEAL floors where levels are unknown": ({"seal_min": [2] * 8}, {"seal": None}, "seal_min", None),
    "fewer limits on owners": (
        {"ownership_max": {"EU": {"single": 1}, "EEA": {"single": 30}}},
        {},
        "ownership_max",
        {"EEA": {"single": 30, "collective": 100}},
    ),
    "weaker encryption": ({"encryption": "hyok"}, {"encryption": Encryption.REST}, "encryption", "rest"),
    "no word on encryption where it is unknown": ({"encryption": "rest"}, {"encryption": None}, "encryption", None),
    "looser tenancy": (
        {"tenancy": "single"},
        {"tenancy": frozenset([Tenancy.SHARED, Tenancy.DEDICATED])},
        "tenancy",
        "dedicated",
    ),
    "egress without a guard": ({"egress": ["hub"]}, {"enforces": frozenset(["isolation"])}, "egress", "unenforced"),
    "a policy without an end": ({"valid_until": "2026-01-01"}, {}, "valid_until", None),
}


@pytest.mark.parametrize(("facets", "changes", "facet", "value"), CHANGES.values(), ids=CHANGES)
def test_the_nearest_relaxation_is(facets: dict[str, Any], changes: dict[str, Any], facet: str, value: object) -> None:
    effective = in_force(a_layer("input", "patients", class_="public", **facets))
    found = relaxation_for(effective, a_pool(**changes), ATLAS, NOW)
    assert found is not None
    assert [(change.facet, change.value) for change in found.changes] == [(facet, value)]
    assert found.changes[0].stated_by == ("input 'patients'",)
    assert after(effective, found, a_pool(**changes))


def after(effective: Effective, found: Relaxation, facts: PoolFacts) -> bool:
    """Return whether the pool is lawful once the proposed changes are made."""
    document = policy_document(effective.policy)
    for change in found.changes:
        document.pop(change.facet, None)
        if change.value is not None:
            document[change.facet] = change.value
    return permits(parse_policy(document, ATLAS), facts, ATLAS, NOW).allowed


def test_the_pool_with_the_fewest_changes_is_proposed() -> None:
    effective = in_force(a_layer("input", class_="public", process=["NO"], forbid_exposure=["US"], key=["DE"]))
    found = nearest_relaxation(effective, [a_german_pool(), a_pool(endpoints=endpoints("DE"))], ATLAS, NOW)
    assert found is not None
    assert (found.pool, len(found.changes)) == ("fr-bru-1-h100", 1)


def test_among_equals_the_first_pool_is_proposed() -> None:
    effective = in_force(a_layer("input", class_="public", process=["NO"]))
    found = nearest_relaxation(effective, [a_swedish_pool(), a_pool()], ATLAS, NOW)
    assert found is not None
    assert found.pool == "se-bor-1-h200"


def test_more_than_one_change_is_proposed_where_one_is_not_enough() -> None:
    effective = in_force(a_layer("input", class_="public", **STRICT))
    found = relaxation_for(effective, a_german_pool(), ATLAS, NOW)
    assert found is not None
    assert [change.facet for change in found.changes] == ["process", "forbid_exposure"]
    assert after(effective, found, a_german_pool())


def test_what_is_missing_is_for_an_owner_or_a_floor_to_state() -> None:
    others = {"process": ["FR"], "store": ["FR"], "describe": ["FR"], "access": ["FR"]}
    effective = in_force(a_layer("input", class_="internal", **others), a_layer("job", key=["FR"]))
    found = relaxation_for(effective, a_pool(), ATLAS, NOW)
    assert found is not None
    assert [(change.facet, change.value, change.stated_by) for change in found.changes] == [("key", ["FR"], ())]
    assert "for a dataset, the project or the organisation to state" in found.sentence


def test_without_an_owner_a_lower_class_is_proposed_instead_of_a_waiver() -> None:
    floor = a_layer("project", "default", residency=["FR"])
    effective = in_force(floor, a_layer("job", "j"), has_content=True)
    found = relaxation_for(effective, a_pool(enforces=frozenset(["isolation"])), ATLAS, NOW)
    assert found is not None
    assert [(change.facet, change.value) for change in found.changes] == [("class", "internal")]
    listed = in_force(replace(floor), a_layer("job", "j", egress=["hub"]), has_content=True)
    found = relaxation_for(listed, a_pool(enforces=frozenset(["isolation"])), ATLAS, NOW)
    assert found is not None
    assert [(change.facet, change.value) for change in found.changes] == [("class", "internal"), ("egress", None)]


def test_what_nobody_stated_at_all_is_proposed_as_the_pool_has_it() -> None:
    effective = in_force(a_layer("input", class_="internal", process=["FR"], store=["FR"], describe=["FR"], key=["FR"]))
    found = relaxation_for(effective, a_pool(), ATLAS, NOW)
    assert found is not None
    assert [(change.facet, change.value) for change in found.changes] == [("access", ["FR"])]


def test_an_owner_among_floors_may_waive_the_guard() -> None:
    floor = a_layer("project", "default", residency=["FR"])
    effective = in_force(floor, a_layer("input", "patients", class_="confidential"))
    found = relaxation_for(effective, a_pool(enforces=frozenset(["isolation"])), ATLAS, NOW)
    assert found is not None
    assert [(change.facet, change.value) for change in found.changes] == [("egress", "unenforced")]


def test_a_place_that_must_be_stated_and_is_unknown_for_the_pool_is_beyond_policy() -> None:
    effective = in_force(a_layer("input", class_="internal", residency=["FR"]))
    assert relaxation_for(effective, a_pool(access_territories=None), ATLAS, NOW) is None


def test_a_pool_beyond_help_is_passed_over() -> None:
    effective = in_force(a_layer("input", class_="public", process=["NO"]))
    found = nearest_relaxation(effective, [a_pool(valid_until=NOW), a_swedish_pool()], ATLAS, NOW)
    assert found is not None
    assert found.pool == "se-bor-1-h200"


def test_a_lawful_pool_or_one_with_expired_facts_has_no_relaxation() -> None:
    effective = in_force(a_layer("input", class_="public", process=["FR"]))
    assert relaxation_for(effective, a_pool(), ATLAS, NOW) is None
    assert relaxation_for(effective, a_pool(valid_until=NOW, territory="SE"), ATLAS, NOW) is None
    assert nearest_relaxation(effective, (), ATLAS, NOW) is None
