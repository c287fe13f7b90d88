"""Running on a pool: each check refuses exactly what it is there for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from nordan_core.residency.entities import Entity, Ownership
from nordan_core.residency.facts import Certification, Endpoint, EndpointKind, PoolFacts, Service
from nordan_core.residency.judge import judge, permits
from nordan_core.residency.levels import Compute, Encryption, Evidence, Tenancy
from nordan_core.residency.policy import EMPTY, PLACE_FACETS
from nordan_core.residency.verdicts import Verdict
from support.residency import (
    ATLAS,
    ENTITIES,
    FAR,
    NOW,
    a_german_pool,
    a_layer,
    a_policy,
    a_pool,
    a_swedish_pool,
    an_atlas,
    as_owner,
    endpoints,
    facets_of,
    in_force,
)

STORE, LOG, KEY = endpoints("FR")
BOTH = frozenset([Service.COMPUTE, Service.STORAGE])


def verdict(pool: PoolFacts, **facets: object) -> Verdict:
    return judge(as_owner(**facets), pool, ATLAS, NOW)


def elsewhere(kind: EndpointKind, operator: str = "auvergne-calcul") -> tuple[Endpoint, ...]:
    """Return the French endpoints with the one of `kind` in Germany."""
    return tuple(
        replace(one, territory="DE", operator=operator) if one.kind is kind else one for one in endpoints("FR")
    )


def without(kind: EndpointKind) -> tuple[Endpoint, ...]:
    return tuple(one for one in endpoints("FR") if one.kind is not kind)


def c5(**changes: Any) -> tuple[Certification, ...]:
    return (replace(Certification("c5", "type2", BOTH, None, FAR), **changes),)


def owned_by(**shares: int) -> dict[str, Entity]:
    """Return the entities with other owners of the operator."""
    owners = tuple(Ownership(name.replace("_", "-"), share, share) for name, share in shares.items())
    return {**ENTITIES, "auvergne-calcul": replace(ENTITIES["auvergne-calcul"], owners=owners)}


FRANCE = ["FR"]
US_OUT: dict[str, Any] = {"forbid_exposure": ["US"]}
EU_OWNED: dict[str, Any] = {"ownership_max": {"EU": {"single": 24, "collective": 39}}}
STRICT: dict[str, Any] = {
    "residency": FRANCE,
    **US_OUT,
    **EU_OWNED,
    "certifications": {"c5": "type1"},
    "seal_min": [2] * 8,
    "encryption": "byok",
    "compute": "tee",
    "tenancy": "dedicated",
    "evidence": "E2",
    "egress": ["hub"],
    "valid_until": "2028-01-01",
}

#: For each check: what is stated, what is wrong with the pool, and the one facet that must fail.
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a pool elsewhere": ({"process": FRANCE}, {"territory": "DE"}, "process"),
    "a dependency is not its state": ({"process": FRANCE}, {"territory": "GP"}, "process"),
    "nowhere at all": ({"process": []}, {}, "process"),
    "a place outside the group": ({"process": ["EU"]}, {"territory": "CH"}, "process"),
    "a description that would go elsewhere": ({"describe": FRANCE}, {"territory": "DE"}, "describe"),
    "bytes that would rest elsewhere": ({"store": FRANCE}, {"endpoints": elsewhere(EndpointKind.STORE)}, "store"),
    "logs that would rest elsewhere": ({"store": FRANCE}, {"endpoints": elsewhere(EndpointKind.LOG)}, "store"),
    "a store that is not recorded": ({"store": FRANCE}, {"endpoints": without(EndpointKind.STORE)}, "store"),
    "a log endpoint that is not recorded": ({"store": FRANCE}, {"endpoints": without(EndpointKind.LOG)}, "store"),
    "one of two stores elsewhere": (
        {"store": FRANCE},
        {"endpoints": (*endpoints("FR"), Endpoint(EndpointKind.STORE, "DE", "auvergne-calcul"))},
        "store",
    ),
    "keys that would rest elsewhere": ({"key": FRANCE}, {"endpoints": elsewhere(EndpointKind.KEY)}, "key"),
    "a key endpoint that is not recorded": ({"key": FRANCE}, {"endpoints": without(EndpointKind.KEY)}, "key"),
    "people with access elsewhere": ({"access": FRANCE}, {"access_territories": frozenset(["FR", "IN"])}, "access"),
    "access that is not recorded": ({"access": FRANCE}, {"access_territories": None}, "access"),
    "access from nowhere": ({"access": FRANCE}, {"access_territories": frozenset()}, "access"),
    "a building owned elsewhere": ({"access": FRANCE}, {"host": "dalarna-hallar"}, "access"),
    "a building of an operator from elsewhere": (
        {"access": FRANCE},
        {"entities": {**ENTITIES, "auvergne-calcul": replace(ENTITIES["auvergne-calcul"], seat="SE")}},
        "access",
    ),
    "a building owned by nobody described": ({"access": FRANCE}, {"host": "ghost"}, "access"),
    "a building whose owner has no seat on record": (
        {"access": FRANCE},
        {"host": "x", "entities": {**ENTITIES, "x": Entity("x", None)}},
        "access",
    ),
    "a provider that can be compelled": (US_OUT, {"provider": "mainkai"}, "forbid_exposure"),
    "an operator that can be compelled": (US_OUT, {"operator": "mainkai"}, "forbid_exposure"),
    "a store run by somebody who can be compelled": (
        US_OUT,
        {"endpoints": (replace(STORE, operator="mainkai"), LOG, KEY)},
        "forbid_exposure",
    ),
    "logs run by somebody who can be compelled": (
        US_OUT,
        {"endpoints": (STORE, replace(LOG, operator="mainkai"), KEY)},
        "forbid_exposure",
    ),
    "keys run by somebody who can be compelled": (
        US_OUT,
        {"endpoints": (STORE, LOG, replace(KEY, operator="mainkai"))},
        "forbid_exposure",
    ),
    "an operator that is not described": (US_OUT, {"operator": "ghost"}, "forbid_exposure"),
    "an operator whose owners are not recorded": (
        US_OUT,
        {"entities": owned_by(famille_marchand=70)},
        "forbid_exposure",
    ),
    "an operator in a dependency of a forbidden state": (
        US_OUT,
        {"entities": {**ENTITIES, "auvergne-calcul": replace(ENTITIES["auvergne-calcul"], seat="PR")}},
        "forbid_exposure",
    ),
    "no certificate": ({"certifications": {"c5": "type1"}}, {"certifications": ()}, "certifications"),
    "a certificate of another scheme": ({"certifications": {"soc2": "type1"}}, {}, "certifications"),
    "a certificate too low": (
        {"certifications": {"c5": "type2"}},
        {"certifications": c5(level="type1")},
        "certifications",
    ),
    "a certificate of another branch": (
        {"certifications": {"acn": "QI1"}},
        {"certifications": c5(scheme="acn", level="QC4")},
        "certifications",
    ),
    "a certificate that has ended": (
        {"certifications": {"c5": "type1"}},
        {"certifications": c5(valid_until=NOW)},
        "certifications",
    ),
    "a certificate that has not begun": (
        {"certifications": {"c5": "type1"}},
        {"certifications": c5(valid_from=FAR)},
        "certifications",
    ),
    "a certificate for computing only": (
        {"certifications": {"c5": "type1"}},
        {"certifications": c5(scope=frozenset([Service.COMPUTE]))},
        "certifications",
    ),
    "a certificate for storage only": (
        {"certifications": {"c5": "type1"}},
        {"certifications": c5(scope=frozenset([Service.STORAGE]))},
        "certifications",
    ),
    "one certificate of two": ({"certifications": {"c5": "type1", "hds": "v2"}}, {}, "certifications"),
    "one SEAL level too low": ({"seal_min": [2] * 8}, {"seal": (4, 4, 4, 4, 4, 4, 4, 1)}, "seal_min"),
    "SEAL levels that are not recorded": ({"seal_min": [0] * 7 + [1]}, {"seal": None}, "seal_min"),
    "one owner from outside with too much": (
        {"ownership_max": {"EU": {"single": 11}}},
        {},
        "ownership_max",
    ),
    "owners from outside with too much together": (
        {"ownership_max": {"EU": {"collective": 20}}},
        {"entities": owned_by(famille_marchand=76, pinecrest=12, larkspur=12)},
        "ownership_max",
    ),
    "an endpoint's operator owned from outside": (
        EU_OWNED,
        {"endpoints": (STORE, LOG, replace(KEY, operator="mainkai"))},
        "ownership_max",
    ),
    "a provider owned from outside": (EU_OWNED, {"provider": "mainkai"}, "ownership_max"),
    "owners counted against one territory": ({"ownership_max": {"SE": {"single": 50}}}, {}, "ownership_max"),
    "weaker encryption": ({"encryption": "hyok"}, {"encryption": Encryption.BYOK}, "encryption"),
    "encryption that is not recorded": ({"encryption": "rest"}, {"encryption": None}, "encryption"),
    "a weaker shield": ({"compute": "tee_gpu"}, {"compute": Compute.TEE}, "compute"),
    "a shield that is not recorded": ({"compute": "tee"}, {"compute": None}, "compute"),
    "looser tenancy": ({"tenancy": "single"}, {"tenancy": frozenset([Tenancy.DEDICATED])}, "tenancy"),
    "no tenancy on record": ({"tenancy": "dedicated"}, {"tenancy": frozenset()}, "tenancy"),
    "tenancy that is not enforced": (
        {"tenancy": "dedicated"},
        {"tenancy": frozenset([Tenancy.DEDICATED]), "enforces": frozenset(["egress"])},
        "tenancy",
    ),
    "weaker evidence": ({"evidence": "E2"}, {"evidence": Evidence.E1}, "evidence"),
    "egress that is not enforced": ({"egress": ["hub"]}, {"enforces": frozenset(["isolation"])}, "egress"),
    "no egress that is not enforced": ({"egress": []}, {"enforces": frozenset(["isolation"])}, "egress"),
    "a policy that has ended": ({"valid_until": "2026-11-22T09:30:00Z"}, {}, "valid_until"),
    "facts that have expired": ({}, {"valid_until": NOW}, "facts"),
}


@pytest.mark.parametrize(("facets", "changes", "facet"), REFUSED.values(), ids=REFUSED)
def test_a_pool_is_refused_for_one_facet_alone(facets: dict[str, Any], changes: dict[str, Any], facet: str) -> None:
    found = verdict(a_pool(**changes), **facets)
    assert not found.allowed
    assert found.failing == {facet}


ALLOWED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing is asked of public data": ({}, {"seal": None, "access_territories": None, "endpoints": ()}),
    "everything is asked and there": (STRICT, {}),
    "the place is in the group": ({"residency": ["EU"]}, {}),
    "the place is in both lists": ({"process": {"all_of": [["EU"], ["FR", "NO"]]}}, {}),
    "nobody is forbidden": ({"forbid_exposure": []}, {"operator": "ghost"}),
    "a forbidden state reaches nobody": ({"forbid_exposure": ["US", "CN"]}, {}),
    "the building's owner is never asked who compels it": (
        {"forbid_exposure": ["SE"]},
        {
            "host": "dalarna-hallar",
            "entities": {**ENTITIES, "auvergne-calcul": replace(ENTITIES["auvergne-calcul"], presences=frozenset())},
        },
    ),
    "the building is where access may be": ({"access": ["FR", "SE"]}, {"host": "dalarna-hallar"}),
    "a stronger certificate": ({"certifications": {"c5": "type1"}}, {}),
    "no certificate is asked": ({"certifications": {}}, {"certifications": ()}),
    "one of two certificates fits": (
        {"certifications": {"c5": "type2"}},
        {"certifications": (*c5(level="type1"), *c5())},
    ),
    "a certificate that begins now": ({"certifications": {"c5": "type1"}}, {"certifications": c5(valid_from=NOW)}),
    "no SEAL level is asked": ({"seal_min": [0] * 8}, {"seal": None}),
    "SEAL levels exactly met": ({"seal_min": [1, 2, 3, 4, 1, 2, 3, 4]}, {"seal": (1, 2, 3, 4, 1, 2, 3, 4)}),
    "owners exactly at the limit": ({"ownership_max": {"EU": {"single": 12, "collective": 12}}}, {}),
    "the weakest levels need no fact": (
        {"encryption": "none", "compute": "none", "tenancy": "shared", "evidence": "E0"},
        {"encryption": None, "compute": None, "tenancy": frozenset(), "evidence": Evidence.E0},
    ),
    "levels exactly met": (
        {"encryption": "rest", "compute": "tee", "tenancy": "dedicated", "evidence": "E1"},
        {
            "encryption": Encryption.REST,
            "compute": Compute.TEE,
            "tenancy": frozenset([Tenancy.DEDICATED]),
            "evidence": Evidence.E1,
        },
    ),
    "a pool for one tenant alone needs no isolation": (
        {"tenancy": "single"},
        {"tenancy": frozenset([Tenancy.SINGLE]), "enforces": frozenset()},
    ),
    "egress that the owner waived": ({"egress": "unenforced"}, {"enforces": frozenset()}),
    "a policy before its end": ({"valid_until": "2026-11-22T09:30:01Z"}, {}),
    "facts before their end": ({}, {"valid_until": NOW + timedelta(seconds=1)}),
}


@pytest.mark.parametrize(("facets", "changes"), ALLOWED.values(), ids=ALLOWED)
def test_a_pool_is_allowed_when(facets: dict[str, Any], changes: dict[str, Any]) -> None:
    assert facets_of(verdict(a_pool(**changes), **facets).refusals) == []


def test_all_failing_facets_are_reported_in_order() -> None:
    found = verdict(a_german_pool(enforces=frozenset(), seal=None, valid_until=NOW), **STRICT)
    reported = list(dict.fromkeys(facets_of(found.refusals)))
    assert reported == [
        "facts",
        *PLACE_FACETS[:1],
        "store",
        "describe",
        "access",
        "key",
        "forbid_exposure",
        "seal_min",
        "ownership_max",
        "egress",
    ]


@pytest.mark.parametrize("facet", PLACE_FACETS)
def test_a_place_that_only_the_job_states_is_refused_above_public(facet: str) -> None:
    stated = {name: FRANCE for name in PLACE_FACETS if name != facet}
    both = in_force(a_layer("input", class_="internal", **stated), a_layer("job", **{facet: FRANCE}))
    found = judge(both, a_pool(), ATLAS, NOW)
    assert found.failing == {facet}
    assert found.refusals[0].have == "stated by the job alone"


def test_a_place_that_nobody_states_is_refused_above_public() -> None:
    found = judge(in_force(a_layer("input", class_="internal")), a_pool(), ATLAS, NOW)
    assert tuple(facets_of(found.refusals)) == PLACE_FACETS
    assert {refusal.have for refusal in found.refusals} == {"not stated"}


def test_permits_asks_only_what_is_stated() -> None:
    assert permits(EMPTY, a_german_pool(enforces=frozenset()), ATLAS, NOW).allowed
    assert permits(a_policy(process=["DE"]), a_german_pool(), ATLAS, NOW).allowed
    assert permits(a_policy(process=["FR"]), a_german_pool(), ATLAS, NOW).failing == {"process"}


PATIENTS: dict[str, Any] = {
    "residency": ["FR", "SE"],
    "forbid_exposure": ["US"],
    "egress": "unenforced",
    "class_": "restricted",
}
NORWEGIAN: dict[str, Any] = {
    "pool": "no-nar-1",
    "region": "no-nar-1",
    "territory": "NO",
    "endpoints": endpoints("NO", "mainkai"),
}


def test_the_sample_world_sorts_itself_as_its_page_says() -> None:
    pools = [a_pool(), a_swedish_pool(), a_german_pool(**NORWEGIAN), a_german_pool()]
    assert [verdict(pool, **PATIENTS).allowed for pool in pools] == [True, True, False, False]
    for pool in pools[2:]:
        assert {"process", "forbid_exposure"} <= verdict(pool, **PATIENTS).failing


def test_a_swedish_project_under_a_french_control_plane_runs_in_sweden() -> None:
    sweden = a_layer(
        "project",
        class_="internal",
        process=["SE"],
        store=["SE"],
        key=["SE"],
        describe=["SE", "FR"],
        access=["SE", "FR"],
    )
    assert judge(in_force(sweden), a_swedish_pool(), ATLAS, NOW).allowed
    assert judge(in_force(sweden), a_pool(), ATLAS, NOW).failing == {"process", "store", "key"}


def test_a_refusal_says_what_was_wanted_and_what_there_is() -> None:
    process = verdict(a_german_pool(), process=["FR", "SE"]).refusals[0]
    assert (process.want, process.have) == ("[FR, SE]", "DE")
    assert process.message == "de-fra-1-h100 computes in DE; process allows [FR, SE]"
    exposed = verdict(a_german_pool(), **US_OUT).refusals[0]
    assert (exposed.want, exposed.have) == ("no exposure to [US]", "mainkai exposed to [US]")
    assert exposed.message == "mainkai can be compelled (US: larkspur, which controls mainkai, has its seat there)"


def test_an_unknown_exposure_says_so_and_never_that_the_state_was_found() -> None:
    refusal = verdict(a_pool(operator="ghost"), **US_OUT).refusals[0]
    assert refusal.have == "exposure of ghost unknown"
    assert "what is unknown is denied" in refusal.message


def test_the_egress_refusal_says_who_may_waive_it() -> None:
    refusal = verdict(a_pool(enforces=frozenset()), egress=[]).refusals[0]
    assert "nothing reachable" in refusal.want
    assert "owner of the data may state `egress: unenforced`" in refusal.message


def test_what_is_allowed_without_being_enforced_is_a_gap() -> None:
    bare = a_pool(enforces=frozenset(), tenancy=frozenset([Tenancy.SHARED]), evidence=Evidence.E0)
    gaps = verdict(bare, egress="unenforced").gaps
    assert [gap.split(":")[0] for gap in gaps] == ["egress", "tenancy", "evidence"]
    assert verdict(a_pool(), egress="unenforced").gaps == ()
    assert verdict(a_pool(enforces=frozenset(), tenancy=frozenset([Tenancy.SINGLE]))).gaps == ()


def test_a_group_is_expanded_at_the_instant_of_the_judgement() -> None:
    atlas = an_atlas()
    owner = in_force(a_layer("input", class_="public"))
    union = replace(owner, policy=a_policy(atlas, process=["UNION"]))
    before, after = NOW, NOW + timedelta(days=60)
    swedish = a_swedish_pool(entities={}, certifications=())
    assert judge(union, swedish, atlas, before).allowed
    assert not judge(union, swedish, atlas, after).allowed


def test_an_unknown_territory_is_in_no_set() -> None:
    assert verdict(a_pool(territory="QQ"), process=["EU", "EEA", "ADEQUATE"]).failing == {"process"}


def test_a_scheme_that_the_atlas_does_not_know_is_never_held() -> None:
    public = as_owner()
    asked = replace(public, policy=a_policy(certifications={"c5": "type1"}))
    assert judge(asked, a_pool(), an_atlas(), NOW).failing == {"certifications"}
