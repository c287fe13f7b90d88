"""Adequacy decisions with a condition, and one without a territory: asked of everybody who runs a place."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from nordan_core.residency.compare import at_least
from nordan_core.residency.conflicts import empty_facets
from nordan_core.residency.entities import Attestation, Entity, entity_document, parse_entity
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.facts import ControlPlaneFacts, Endpoint, EndpointKind, PoolFacts
from nordan_core.residency.judge import judge_control_plane, judge_reader, permits
from nordan_core.residency.policy import parse_policy
from support.residency import ATLAS, FAR, NOW, a_pool, an_atlas, as_owner, by_name, endpoints

ADEQUATE = parse_policy({"process": ["EEA", "ADEQUATE"], "store": ["EEA", "ADEQUATE"], "describe": ["ADEQUATE"]}, ATLAS)
DPF = (Attestation("dpf", None, FAR),)
LATER = datetime(2027, 3, 1, tzinfo=UTC)


def company(name: str, *attestations: Attestation, seat: str = "US") -> Entity:
    return Entity(name, seat, frozenset(), (), tuple(attestations))


def american(*entities: Entity, territory: str = "US", **changes: Any) -> PoolFacts:
    """Return a pool there that the first entity brings and the last runs."""
    first, last = entities[0].name, entities[-1].name
    pool = a_pool(territory=territory, provider=first, operator=last, endpoints=endpoints(territory, last))
    return replace(pool, entities=by_name(*entities), **changes)


def failing(pool: PoolFacts, instant: datetime = NOW) -> frozenset[str]:
    return permits(ADEQUATE, pool, ATLAS, instant).failing


CERTIFIED = company("larkspur", *DPF)
PLAIN = company("alder")
WHERE = {"process", "store", "describe"}

#: A pool, and what of it is outside ADEQUATE.
CASES: dict[str, tuple[PoolFacts, set[str]]] = {
    "a certified company in the United States": (american(CERTIFIED), set()),
    "one of whom nothing is recorded": (american(PLAIN), WHERE),
    "one that was certified until a moment ago": (american(company("x", Attestation("dpf", None, NOW))), WHERE),
    "one that is certified from now on": (american(company("x", Attestation("dpf", NOW, None))), set()),
    "one that will be certified": (american(company("x", Attestation("dpf", LATER, None))), WHERE),
    "one that is covered by another country's decision": (american(company("x", Attestation("pipeda"))), WHERE),
    "a certified one that brings the machines of one that is not": (american(CERTIFIED, PLAIN), WHERE),
    "machines of one that is not, run by a certified one": (american(PLAIN, CERTIFIED), {"process", "describe"}),
    "a certified one whose operator nobody described": (
        replace(american(CERTIFIED), operator="ghost"),
        {"process", "describe"},
    ),
    "a commercial organisation in Canada": (american(company("x", Attestation("pipeda")), territory="CA"), set()),
    "an American certified company in Canada": (american(CERTIFIED, territory="CA"), WHERE),
    "a certified company where there is no decision": (american(CERTIFIED, territory="CN"), WHERE),
    "an organisation without a territory, wherever it is": (
        american(company("epo", Attestation("epo"), seat="DE"), territory="TR"),
        set(),
    ),
}


@pytest.mark.parametrize(("pool", "outside"), CASES.values(), ids=CASES)
def test_every_one_who_runs_a_place_must_be_covered(pool: PoolFacts, outside: set[str]) -> None:
    assert failing(pool) == outside


def test_each_endpoint_is_asked_about_who_runs_it() -> None:
    log = Endpoint(EndpointKind.LOG, "US", "alder")
    pool = american(CERTIFIED, endpoints=(*endpoints("US", "larkspur"), log))
    pool = replace(pool, entities=by_name(CERTIFIED, PLAIN))
    assert failing(pool) == {"store"}
    assert failing(replace(pool, entities=by_name(CERTIFIED, company("alder", *DPF)))) == set()


def test_before_a_decision_and_where_adequacy_is_not_asked_a_certificate_says_nothing() -> None:
    assert failing(american(CERTIFIED), datetime(2023, 7, 9, tzinfo=UTC)) == WHERE
    narrow = parse_policy({"process": ["EEA", "GB"]}, ATLAS)
    assert permits(narrow, american(CERTIFIED), ATLAS, NOW).failing == {"process"}


def test_a_place_must_be_in_every_list_still() -> None:
    both = parse_policy({"process": {"all_of": [["ADEQUATE"], ["US", "FR"]]}}, ATLAS)
    assert permits(both, american(CERTIFIED), ATLAS, NOW).allowed
    apart = parse_policy({"process": {"all_of": [["ADEQUATE"], ["CA", "FR"]]}}, ATLAS)
    assert not permits(apart, american(CERTIFIED), ATLAS, NOW).allowed


def test_the_refusal_says_whom_the_decision_covers() -> None:
    [refusal] = [one for one in permits(ADEQUATE, american(PLAIN), ATLAS, NOW).refusals if one.facet == "process"]
    assert "companies certified under the EU-US Data Privacy Framework" in refusal.message


def test_a_verdict_ends_when_an_attestation_does() -> None:
    ending = american(company("x", Attestation("dpf", None, LATER)))
    verdict = permits(ADEQUATE, ending, ATLAS, NOW)
    assert (verdict.allowed, verdict.good_until) == (True, LATER)
    assert failing(ending, LATER) == WHERE
    beginning = american(company("x", Attestation("dpf", LATER, None)))
    assert permits(ADEQUATE, beginning, ATLAS, NOW).good_until == LATER


def test_a_verdict_ends_when_a_decision_does() -> None:
    one = {"territory": "FR", "from": "2020-01-01", "until": "2027-02-01", "source": "s"}
    atlas = an_atlas(adequacy=[{**one, "attestation": "dpf", "condition": "some"}])
    asked = parse_policy({"process": ["ADEQUATE"]}, atlas)
    pool = american(company("x", Attestation("dpf")), territory="FR", valid_until=FAR)
    verdict = permits(asked, pool, atlas, NOW)
    assert (verdict.allowed, verdict.good_until) == (True, datetime(2027, 2, 1, tzinfo=UTC))


def test_a_control_plane_counts_by_its_operator_and_its_verdict_ends_with_the_attestation() -> None:
    of = as_owner(residency=["ADEQUATE"], class_="internal")
    for attested, allowed in ((Attestation("dpf", None, LATER), True), (Attestation("pipeda", None, LATER), False)):
        operator = company("larkspur", attested)
        cell = ControlPlaneFacts(territory="US", operator="larkspur", entities=by_name(operator))
        verdict = judge_control_plane(of, cell, ATLAS, NOW)
        assert (verdict.allowed, verdict.good_until) == (allowed, LATER)


def test_a_reader_is_nobody_whom_a_decision_with_a_condition_covers() -> None:
    of = as_owner(residency=["ADEQUATE"], class_="internal")
    assert not judge_reader(of, "US", ATLAS, NOW).allowed
    assert judge_reader(of, "CH", ATLAS, NOW).allowed


def test_a_policy_that_some_recipient_could_satisfy_is_no_contradiction() -> None:
    assert empty_facets(as_owner(process={"all_of": [["ADEQUATE"], ["US"]]}), ATLAS, NOW) == ()
    assert [one.facet for one in empty_facets(as_owner(process=[]), ATLAS, NOW)] == ["process"]


def test_adequate_asks_less_than_the_list_of_its_territories() -> None:
    listed = sorted(ATLAS.group("ADEQUATE", NOW))
    names, codes = (parse_policy({"process": one}, ATLAS) for one in (["ADEQUATE"], listed))
    assert at_least("process", codes, names, ATLAS, NOW)
    assert not at_least("process", names, codes, ATLAS, NOW)


def test_attestations_are_read_and_written_in_one_form_and_left_out_where_there_are_none() -> None:
    entity = company("x", Attestation("dpf", NOW, LATER), Attestation("pipeda"))
    document = entity_document(entity)
    assert parse_entity(document, ATLAS) == entity
    assert "attestations" not in entity_document(PLAIN)
    with pytest.raises(PolicyError, match="dpf") as caught:
        parse_entity({**document, "attestations": [{"name": "dpff"}]}, ATLAS)
    assert caught.value.field == "attestations.0.name"


FAULTS: dict[str, dict[str, Any]] = {
    "nothing that it is about": {},
    "a territory and an organisation": {"territory": "FR", "organisation": "x", "attestation": "a", "condition": "c"},
    "an organisation that nobody can be shown to be": {"organisation": "x", "condition": "c"},
    "an attestation without words for it": {"territory": "FR", "attestation": "a"},
    "an attestation that is no name": {"territory": "FR", "attestation": "A b", "condition": "c"},
}


@pytest.mark.parametrize("entry", FAULTS.values(), ids=FAULTS)
def test_a_decision_that_could_not_be_judged_by_is_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match=r"adequacy|attestation"):
        an_atlas(adequacy=[{"from": "2020-01-01", "source": "s", **entry}])
