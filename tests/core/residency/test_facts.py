"""Facts as documents: strict, canonical, digested; what is not stated stays unknown."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from nordan_core.residency.entities import Entity, Ownership, entity_document, parse_entity
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.facts import (
    Certification,
    ControlPlaneFacts,
    EndpointKind,
    PoolFacts,
    Service,
    control_plane_document,
    facts_digest,
    facts_document,
)
from nordan_core.residency.facts_text import parse_control_plane, parse_pool_facts
from nordan_core.residency.levels import Compute, Encryption, Evidence, Tenancy
from support.residency import ATLAS, ENTITIES, FAR, NOW, OPERATOR, a_german_pool, a_pool, a_swedish_pool

LEAST: dict[str, Any] = {
    "pool": "p",
    "region": "r",
    "territory": "FR",
    "provider": "op",
    "operator": "op",
    "facts_version": 3,
    "valid_until": "2027-12-31",
    "entities": [{"name": "op", "seat": "FR"}],
}


@pytest.mark.parametrize("facts", [a_pool(), a_swedish_pool(), a_german_pool(seal=None, host=None, encryption=None)])
def test_facts_print_and_parse_back(facts: PoolFacts) -> None:
    document = json.loads(json.dumps(facts_document(facts)))
    again = parse_pool_facts(document, ATLAS)
    assert facts_document(again) == facts_document(facts)
    assert facts_digest(again) == facts_digest(facts)


def test_what_is_not_stated_stays_unknown() -> None:
    facts = parse_pool_facts(LEAST, ATLAS)
    assert facts.access_territories is None
    assert facts.host is None
    assert facts.endpoints == ()
    assert facts.seal is None
    assert facts.encryption is None
    assert facts.compute is None
    assert facts.tenancy == frozenset()
    assert facts.enforces == frozenset()
    assert facts.evidence is Evidence.E0
    assert facts.entities["op"] == Entity("op", "FR", None, None)
    assert facts.valid_until == datetime(2027, 12, 31, tzinfo=UTC)


def test_one_offered_tenancy_may_be_written_as_a_word() -> None:
    assert parse_pool_facts({**LEAST, "tenancy": "single"}, ATLAS).tenancy == {Tenancy.SINGLE}
    assert parse_pool_facts({**LEAST, "tenancy": ["shared", "single"]}, ATLAS).tenancy == {
        Tenancy.SHARED,
        Tenancy.SINGLE,
    }


def test_who_issued_a_certificate_is_kept_and_facts_without_keep_their_form() -> None:
    said = {"scheme": "c5", "level": "type2", "scope": ["compute"], "valid_until": "2028-03-31", "issuer": "Prüfer"}
    facts = parse_pool_facts({**LEAST, "certifications": [said]}, ATLAS)
    assert facts.certifications[0].issuer == "Prüfer"
    assert parse_pool_facts(facts_document(facts), ATLAS) == facts
    plain = replace(facts, certifications=(replace(facts.certifications[0], issuer=""),))
    assert "issuer" not in str(facts_document(plain))


def test_certificates_are_read_with_their_scope_and_dates() -> None:
    certificate = {"scheme": "c5", "level": "type2", "scope": ["compute", "storage"], "valid_until": date(2028, 3, 31)}
    facts = parse_pool_facts({**LEAST, "certifications": [certificate]}, ATLAS)
    scope = frozenset([Service.COMPUTE, Service.STORAGE])
    assert facts.certifications == (Certification("c5", "type2", scope, None, datetime(2028, 3, 31, tzinfo=UTC)),)


CHANGED: dict[str, dict[str, Any]] = {
    "territory": {"territory": "SE"},
    "access": {"access_territories": frozenset(["FR", "SE"])},
    "provider": {"provider": "mainkai"},
    "operator": {"operator": "mainkai"},
    "host": {"host": "dalarna-hallar"},
    "endpoints": {"endpoints": ()},
    "certifications": {"certifications": ()},
    "seal": {"seal": None},
    "tenancy": {"tenancy": frozenset()},
    "encryption": {"encryption": Encryption.NONE},
    "compute": {"compute": Compute.NONE},
    "evidence": {"evidence": Evidence.E0},
    "enforces": {"enforces": frozenset()},
    "version": {"facts_version": 2},
    "end": {"valid_until": NOW},
    "entities": {"entities": {**ENTITIES, "auvergne-calcul": replace(OPERATOR, seat="SE")}},
    "pool": {"pool": "other"},
    "region": {"region": "other"},
}


@pytest.mark.parametrize("changes", CHANGED.values(), ids=CHANGED)
def test_any_change_of_facts_changes_the_digest(changes: dict[str, Any]) -> None:
    assert a_pool(**changes).digest != a_pool().digest


def test_the_digest_does_not_depend_on_order() -> None:
    assert a_pool(endpoints=a_pool().endpoints[::-1]).digest == a_pool().digest
    assert a_pool(entities=dict(reversed(ENTITIES.items()))).digest == a_pool().digest


def test_each_operator_is_named_once_with_the_provider_first() -> None:
    assert a_pool().operators() == ("auvergne-calcul",)
    assert a_pool(endpoints=a_german_pool().endpoints).operators() == ("auvergne-calcul", "mainkai")
    assert a_pool(operator="mainkai", host="dalarna-hallar").operators() == ("auvergne-calcul", "mainkai")


def test_endpoints_are_found_by_kind() -> None:
    assert [one.kind for one in a_pool().endpoints_of(EndpointKind.LOG)] == [EndpointKind.LOG]


COVERS: dict[str, tuple[dict[str, Any], bool]] = {
    "in force and in scope": ({}, True),
    "on its first moment": ({"valid_from": NOW}, True),
    "not begun": ({"valid_from": FAR}, False),
    "at its end": ({"valid_until": NOW}, False),
    "out of scope": ({"scope": frozenset([Service.COMPUTE])}, False),
    "for everything": ({"scope": frozenset(Service)}, True),
}


@pytest.mark.parametrize(("changes", "covers"), COVERS.values(), ids=COVERS)
def test_a_certificate_covers_services_while_it_is_in_force(changes: dict[str, Any], covers: bool) -> None:
    both = frozenset([Service.COMPUTE, Service.STORAGE])
    certificate = replace(Certification("c5", "type1", both, None, FAR), **changes)
    assert certificate.covers(both, NOW) is covers


def test_the_control_plane_prints_and_parses_back() -> None:
    facts = ControlPlaneFacts(territory="FR", operator="auvergne-calcul", entities=ENTITIES)
    document = control_plane_document(facts)
    assert control_plane_document(parse_control_plane(json.loads(json.dumps(document)), ATLAS)) == document


def test_an_entity_prints_and_parses_back() -> None:
    document = entity_document(OPERATOR)
    assert document["owners"] == [
        {"owner": "famille-marchand", "capital_percent": "88", "votes_percent": "89", "control": False},
        {"owner": "pinecrest", "capital_percent": "12", "votes_percent": "11", "control": False},
    ]
    assert entity_document(parse_entity(document, ATLAS)) == document


def test_no_owners_differs_from_owners_that_were_never_recorded() -> None:
    assert parse_entity({"name": "x", "seat": "FR", "owners": []}, ATLAS).owners == ()
    assert parse_entity({"name": "x", "seat": "FR"}, ATLAS).owners is None
    assert parse_entity({"name": "x", "seat": "FR", "presences": []}, ATLAS).presences == frozenset()
    assert parse_entity({"name": "x"}, ATLAS).seat is None


def test_votes_follow_the_capital_unless_stated() -> None:
    owners = [{"owner": "a", "capital_percent": 12.5}, {"owner": "b", "capital_percent": "1.25", "votes_percent": 0}]
    parsed = parse_entity({"name": "x", "seat": "FR", "owners": owners}, ATLAS).owners
    assert parsed == (
        Ownership("a", Decimal("12.5"), Decimal("12.5")),
        Ownership("b", Decimal("1.25"), Decimal(0)),
    )


@pytest.mark.parametrize("written", [True, "veto", "board_majority"])
def test_control_may_be_named(written: object) -> None:
    owner = {"owner": "a", "capital_percent": 1, "control": written}
    owners = parse_entity({"name": "x", "owners": [owner]}, ATLAS).owners
    assert owners is not None
    assert owners[0].control


def with_owner(**changes: Any) -> dict[str, Any]:
    owner = {"owner": "a", "capital_percent": 10, **changes}
    return {"entities": [{"name": "op", "owners": [owner]}]}


FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "an unknown field": ({"gpus": 8}, "gpus", "no such field"),
    "no territory": ({"territory": None}, "territory", "found nothing"),
    "a wrong territory": ({"territory": "UK"}, "territory", "'GB'"),
    "YAML's NO": ({"territory": False}, "territory", '"NO"'),
    "a group as a territory": ({"territory": "EU"}, "territory", "is a group"),
    "a wrong access territory": ({"access_territories": ["FR", "fr"]}, "access_territories.1", "'FR'"),
    "no pool": ({"pool": None}, "pool", "expected text"),
    "a pool with a space": ({"pool": "a b"}, "pool", "is not a name"),
    "an operator with a newline": ({"operator": "op\n"}, "operator", "is not a name"),
    "a host without a name": ({"host": ""}, "host", "empty"),
    "an endpoint of an unknown kind": (
        {"endpoints": [{"kind": "backup", "territory": "FR", "operator": "op"}]},
        "endpoints.0.kind",
        "store, log, key",
    ),
    "an endpoint nowhere": ({"endpoints": [{"kind": "log", "operator": "op"}]}, "endpoints.0.territory", "nothing"),
    "an endpoint of nobody": ({"endpoints": [{"kind": "log", "territory": "FR"}]}, "endpoints.0.operator", "text"),
    "an unknown scheme": (
        {"certifications": [{"scheme": "C5"}]},
        "certifications.0.scheme",
        "did you mean 'c5'",
    ),
    "no scheme": ({"certifications": [{}]}, "certifications.0.scheme", "None is not"),
    "an unknown level": ({"certifications": [{"scheme": "c5", "level": "1"}]}, "certifications.0.level", "type1"),
    "no scope": (
        {"certifications": [{"scheme": "c5", "level": "type1", "valid_until": "2027-01-01"}]},
        "certifications.0.scope",
        "expected a list",
    ),
    "an unknown service": (
        {"certifications": [{"scheme": "c5", "level": "type1", "scope": ["gpu"]}]},
        "certifications.0.scope.0",
        "compute, storage, keys",
    ),
    "no end": (
        {"certifications": [{"scheme": "c5", "level": "type1", "scope": []}]},
        "certifications.0.valid_until",
        "found nothing",
    ),
    "a short SEAL vector": ({"seal": [1]}, "seal", "SOV-8"),
    "a SEAL level of five": ({"seal": [5] * 8}, "seal.0", "0 to 4"),
    "an unknown tenancy": ({"tenancy": "private"}, "tenancy.0", "shared, dedicated, single"),
    "an unknown encryption": ({"encryption": "aes"}, "encryption", "none, rest"),
    "an unknown shield": ({"compute": "sgx"}, "compute", "none, tee"),
    "unknown evidence": ({"evidence": "E5"}, "evidence", "E4"),
    "something that cannot be enforced": ({"enforces": ["law"]}, "enforces.0", "egress, isolation"),
    "a version that is no number": ({"facts_version": "3"}, "facts_version", "whole number"),
    "a version below zero": ({"facts_version": -1}, "facts_version", "not within"),
    "facts without an end": ({"valid_until": None}, "valid_until", "found nothing"),
    "no entities": ({"entities": None}, "entities", "expected a list"),
    "an entity described twice": ({"entities": [{"name": "a"}, {"name": "a"}]}, "entities.1.name", "twice"),
    "an entity without a name": ({"entities": [{}]}, "entities.0.name", "expected text"),
    "an entity with a wrong seat": ({"entities": [{"name": "a", "seat": "EL"}]}, "entities.0.seat", "'GR'"),
    "a wrong presence": ({"entities": [{"name": "a", "presences": ["EU"]}]}, "entities.0.presences.0", "is a group"),
    "a share over the whole": (with_owner(capital_percent=101), "entities.0.owners.0.capital_percent", "0 to 100"),
    "a share below zero": (with_owner(votes_percent=-1), "entities.0.owners.0.votes_percent", "0 to 100"),
    "a share that is no number": (with_owner(capital_percent="half"), "entities.0.owners.0.capital_percent", "'half'"),
    "a share that is not finite": (with_owner(capital_percent="NaN"), "entities.0.owners.0.capital_percent", "within"),
    "a share as a truth value": (with_owner(capital_percent=True), "entities.0.owners.0.capital_percent", "truth"),
    "a share with five decimals": (
        with_owner(capital_percent="1.00001"),
        "entities.0.owners.0.capital_percent",
        "4 decimals",
    ),
    "no share": (with_owner(capital_percent=None), "entities.0.owners.0.capital_percent", "nothing"),
    "an unknown kind of control": (with_owner(control="charm"), "entities.0.owners.0.control", "veto"),
    "an owner without a name": (with_owner(owner=""), "entities.0.owners.0.owner", "empty"),
}


@pytest.mark.parametrize(("changes", "field", "said"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named_with_what_would_be_right(changes: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_pool_facts({**LEAST, **changes}, ATLAS)
    assert caught.value.field == field
    assert said in caught.value.message
