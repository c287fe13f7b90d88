"""Which states can compel an entity: each clause of the rule, by name."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from nordan_core.residency import ownership
from nordan_core.residency.entities import Entity, Ownership
from nordan_core.residency.exposure import exposure, forbidden_territories
from support.residency import ATLAS, ENTITIES, by_name

NOBODY: frozenset[str] = frozenset()
FR_PERSON = Entity("fr", "FR", NOBODY, ())
SE_PERSON = Entity("se", "SE", NOBODY, ())
US_FUND = Entity("us", "US", NOBODY, ())


def operator(*owners: Ownership, seat: str | None = "FR", presences: Sequence[str] | None = ()) -> Entity:
    return Entity("op", seat, None if presences is None else frozenset(presences), owners)


EXPOSED: dict[str, tuple[list[Entity], str]] = {
    "its seat": ([operator(Ownership("fr", 100, 100))], "FR"),
    "a presence": ([operator(Ownership("fr", 100, 100), presences=["CA"])], "CA FR"),
    "a subsidiary that it controls": (
        [
            operator(Ownership("fr", 100, 100)),
            Entity("sub", "CA", NOBODY, (Ownership("op", 51, 51), Ownership("fr", 49, 49))),
        ],
        "CA FR",
    ),
    "a subsidiary of a subsidiary": (
        [
            operator(Ownership("fr", 100, 100)),
            Entity("sub", "FR", NOBODY, (Ownership("op", 100, 100),)),
            Entity("deep", "US", NOBODY, (Ownership("sub", 100, 100),)),
        ],
        "FR US",
    ),
    "no company in which it holds a minority": (
        [operator(Ownership("fr", 100, 100)), Entity("other", "US", NOBODY, (Ownership("op", 50, 50),))],
        "FR",
    ),
    "whoever controls it": ([operator(Ownership("us", 51, 51), Ownership("fr", 49, 49))], "FR US"),
    "whoever controls its parent": (
        [
            operator(Ownership("mid", 60, 60), Ownership("fr", 40, 40)),
            Entity("mid", "SE", NOBODY, (Ownership("us", 60, 60), Ownership("se", 40, 40))),
        ],
        "FR SE US",
    ),
    "whoever has a veto": ([operator(Ownership("us", 5, 5, control=True), Ownership("fr", 95, 95))], "FR US"),
    "no minority owner, however close to half": ([operator(Ownership("us", 50, 50), Ownership("fr", 50, 50))], "FR"),
    "not where its controller is merely present": (
        [operator(Ownership("mid", 100, 100)), Entity("mid", "SE", frozenset(["US"]), (Ownership("se", 100, 100),))],
        "FR SE",
    ),
    "not where its controller's other companies sit": (
        [
            operator(Ownership("mid", 100, 100)),
            Entity("mid", "SE", NOBODY, (Ownership("se", 100, 100),)),
            Entity("sister", "US", NOBODY, (Ownership("mid", 100, 100),)),
        ],
        "FR SE",
    ),
}


@pytest.mark.parametrize(("entities", "territories"), EXPOSED.values(), ids=EXPOSED)
def test_an_entity_is_exposed_to(entities: list[Entity], territories: str) -> None:
    found = exposure("op", by_name(*entities, FR_PERSON, SE_PERSON, US_FUND))
    assert found.territories == set(territories.split())
    assert not found.is_unknown


def test_a_french_operator_with_a_small_us_shareholder_is_not_exposed_to_the_us() -> None:
    found = exposure("auvergne-calcul", ENTITIES)
    assert found.territories == {"FR", "SE"}
    assert not found.is_unknown


def test_an_operator_controlled_from_the_us_is_exposed_to_it() -> None:
    found = exposure("mainkai", ENTITIES)
    assert found.territories == {"DE", "US"}
    assert found.because["US"] == "larkspur, which controls mainkai, has its seat there"


UNKNOWN: dict[str, tuple[list[Entity], str]] = {
    "it is not described": ([], "op is not described"),
    "its seat is not recorded": ([operator(Ownership("fr", 100, 100), seat=None)], "the seat of op"),
    "its presences are not recorded": ([operator(Ownership("fr", 100, 100), presences=None)], "the presences of op"),
    "its owners are not recorded": ([Entity("op", "FR", NOBODY, None)], "share of op belongs to owners"),
    "more than 24 % is unrecorded": ([operator(Ownership("fr", 75, 75))], "share of op belongs to owners"),
    "its controller is not described": (
        [operator(Ownership("ghost", 60, 60), Ownership("fr", 40, 40))],
        "ghost, which controls op",
    ),
    "a veto holder is not described": (
        [operator(Ownership("ghost", 0, 0, control=True), Ownership("fr", 100, 100))],
        "ghost, which controls op, is not described",
    ),
    "its controller's seat is not recorded": (
        [operator(Ownership("mid", 100, 100)), Entity("mid", None, NOBODY, ())],
        "the seat of mid",
    ),
    "a veto holder's owners are not recorded": (
        [operator(Ownership("mid", 1, 1, control=True), Ownership("fr", 99, 99)), Entity("mid", "FR", NOBODY, None)],
        "share of mid, which controls op",
    ),
    "its controller's owners are not recorded": (
        [operator(Ownership("mid", 100, 100)), Entity("mid", "FR", NOBODY, None)],
        "share of mid, which controls op",
    ),
    "a subsidiary's seat is not recorded": (
        [operator(Ownership("fr", 100, 100)), Entity("sub", None, NOBODY, (Ownership("op", 100, 100),))],
        "the seat of sub",
    ),
    "its owners are a closed loop": (
        [operator(Ownership("mid", 100, 100)), Entity("mid", "FR", NOBODY, (Ownership("op", 100, 100),))],
        "share of op belongs to owners",
    ),
}


@pytest.mark.parametrize(("entities", "said"), UNKNOWN.values(), ids=UNKNOWN)
def test_exposure_is_unknown_when(entities: list[Entity], said: str) -> None:
    found = exposure("op", by_name(*entities, FR_PERSON))
    assert found.is_unknown
    assert any(said in sentence for sentence in found.unknown)


def test_up_to_24_percent_may_be_unrecorded() -> None:
    found = exposure("op", by_name(operator(Ownership("fr", 76, 76)), FR_PERSON))
    assert not found.is_unknown


def test_what_is_known_is_said_even_when_something_is_not() -> None:
    found = exposure("op", by_name(operator(Ownership("us", 60, 60)), US_FUND))
    assert found.is_unknown
    assert found.territories == {"FR", "US"}


def test_loops_that_are_too_large_to_be_resolved_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "MOST_IN_A_LOOP", 0)
    assert "loops" in exposure("op", by_name(operator(Ownership("fr", 100, 100)), FR_PERSON)).unknown[0]


FORBIDDEN = {
    "a state with its dependencies": (["US"], {"US", "AS", "GU", "MP", "PR", "UM", "VI"}),
    "a state without any": (["SE"], {"SE"}),
    "a dependency alone": (["GG"], {"GG"}),
    "several": (["CN", "DK"], {"CN", "HK", "MO", "DK", "FO", "GL"}),
    "none": ([], set()),
}


@pytest.mark.parametrize(("states", "territories"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_forbid_reads_widely(states: list[str], territories: set[str]) -> None:
    assert forbidden_territories(states, ATLAS) == territories
