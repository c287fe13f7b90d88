"""Chains of owners, loops included."""

from __future__ import annotations

import time
from decimal import Decimal
from fractions import Fraction
from functools import partial

import pytest

from nordan_core.residency import ownership
from nordan_core.residency.entities import Entity, Ownership
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.ownership import (
    Hold,
    UnsettledError,
    connected,
    controlled_by,
    controllers_of,
    foreign_shares,
    holds_of,
    unrecorded,
    untraced,
)
from support.residency import by_name

PERCENT = 10_000


def person(name: str, seat: str = "US") -> Entity:
    return Entity(name, seat, frozenset(), ())


def owned(name: str, *owners: tuple[str, object] | tuple[str, object, object] | Ownership, seat: str = "FR") -> Entity:
    return Entity(name, seat, frozenset(), tuple(one if isinstance(one, Ownership) else share(*one) for one in owners))


def share(owner: str, capital: object, votes: object = None) -> Ownership:
    return Ownership(owner, Decimal(str(capital)), Decimal(str(capital if votes is None else votes)))


CONTROL: dict[str, tuple[list[Entity], list[str]]] = {
    "more than half of both": ([owned("op", ("x", "50.0001"))], ["x"]),
    "exactly half": ([owned("op", ("x", 50))], []),
    "more than half of the votes alone": ([owned("op", ("x", 10, 51))], ["x"]),
    "more than half of the capital alone": ([owned("op", ("x", 51, 10))], ["x"]),
    "a minority": ([owned("op", ("x", 49))], []),
    "a minority with a veto": ([owned("op", Ownership("x", 5, 5, control=True))], ["x"]),
    "a veto without shares": ([owned("op", Ownership("x", 0, 0, control=True))], ["x"]),
    "a parent of the parent": ([owned("op", ("mid", 60)), owned("mid", ("x", 60))], ["mid", "x"]),
    "a minority above a majority": ([owned("op", ("mid", 60)), owned("mid", ("x", 40))], ["mid"]),
    "a majority above a minority": ([owned("op", ("mid", 40)), owned("mid", ("x", 60))], []),
    "two minorities under one parent": (
        [owned("op", ("a", 30), ("b", 30)), owned("a", ("x", 60)), owned("b", ("x", 60))],
        ["x"],
    ),
    "a minority beside that of a subsidiary": ([owned("op", ("x", 25), ("a", 30)), owned("a", ("x", 60))], ["x"]),
    "shares that add up through the chain": (
        [owned("op", ("x", 40), ("a", 60)), owned("a", ("x", 50))],
        ["a", "x"],
    ),
    "shares that add up to half": ([owned("op", ("x", 20), ("a", 60)), owned("a", ("x", 50))], ["a"]),
    "a veto over the parent": (
        [owned("op", ("mid", 60)), owned("mid", Ownership("x", 1, 1, control=True))],
        ["mid", "x"],
    ),
    "a veto of a subsidiary": ([owned("op", Ownership("a", 1, 1, control=True)), owned("a", ("x", 60))], ["a", "x"]),
    "a veto of somebody not controlled": (
        [owned("op", Ownership("a", 1, 1, control=True)), owned("a", ("x", 40))],
        ["a"],
    ),
    "votes in one step and capital in the next": (
        [owned("op", ("mid", 10, 60)), owned("mid", ("x", 60, 10))],
        ["mid", "x"],
    ),
    "an owner who is not described": ([owned("op", ("ghost", 60))], ["ghost"]),
    "nobody": ([owned("op", ("x", 30), ("y", 30), ("z", 40))], []),
}


@pytest.mark.parametrize(("entities", "controllers"), CONTROL.values(), ids=CONTROL)
def test_control_is_more_than_half_through_the_chain_or_a_recorded_say(
    entities: list[Entity], controllers: list[str]
) -> None:
    everyone = by_name(*entities, person("x"), person("y"), person("z"))
    assert list(controllers_of("op", everyone)) == controllers


@pytest.mark.parametrize(("entities", "controllers"), CONTROL.values(), ids=CONTROL)
def test_control_reads_the_same_from_above(entities: list[Entity], controllers: list[str]) -> None:
    everyone = by_name(*entities, person("x"), person("y"), person("z"))
    for holder in [*everyone, "ghost"]:
        assert ("op" in controlled_by(holder, everyone)) is (holder in controllers)


def test_companies_that_own_each_other_end() -> None:
    loop = by_name(owned("op", ("b", 60), ("x", 40)), owned("b", ("op", 60), ("x", 40)), person("x"))
    assert controllers_of("op", loop) == ("b", "x")
    assert holds_of("x", loop)["op"].share == 1_000_000


def test_what_a_holder_has_is_told_of_every_entity_and_of_no_other() -> None:
    entities = by_name(owned("op", ("x", 40), ("ghost", 20)), person("x"), person("y"))
    holds = holds_of("x", entities)
    assert {name: hold.share for name, hold in holds.items()} == {"op": 400_000, "x": 1_000_000, "y": 0}
    assert {name: hold.share for name, hold in holds_of("ghost", entities).items()} == {
        "op": 200_000,
        "ghost": 1_000_000,
        "x": 0,
        "y": 0,
    }


def test_a_company_that_owns_itself_ends() -> None:
    assert controllers_of("op", by_name(owned("op", ("op", 20), ("x", 45)), person("x"))) == ("x",)


def test_a_loop_without_anybody_outside_has_its_members_as_controllers_and_no_top() -> None:
    loop = by_name(owned("op", ("b", 100)), owned("b", ("op", 100)))
    assert controllers_of("op", loop) == ("b",)
    assert untraced(loop) == {"op", "b"}


def test_a_ring_where_everyone_owns_everyone_ends_quickly() -> None:
    names = [f"n{place}" for place in range(12)]
    ring = by_name(*(owned(name, *((other, 8) for other in names if other != name)) for name in names))
    assert controllers_of("n0", ring) == ()
    assert untraced(ring) == set(names)


def ring_of(size: int) -> list[Entity]:
    return [owned(f"n{place}", (f"n{(place + 1) % size}", 40), ("x", 20)) for place in range(size)]


def test_loops_of_more_companies_than_any_register_has_are_said_to_be_so() -> None:
    settled = holds_of("x", by_name(*ring_of(ownership.MOST_IN_A_LOOP), person("x")))
    assert {hold.share for name, hold in settled.items() if name != "x"} == {Fraction(1_000_000, 3)}
    too_large = by_name(*ring_of(ownership.MOST_IN_A_LOOP + 1), person("x"))
    for ask in (partial(holds_of, "x"), untraced, partial(foreign_shares, "n0", is_home=home_is_france)):
        with pytest.raises(UnsettledError):
            ask(too_large)


def test_long_chains_of_owners_end_quickly() -> None:
    chain = [owned(f"n{place:04}", (f"n{place + 1:04}", 51), ("fr", 49)) for place in range(3_000)]
    everyone = by_name(*chain, owned("n3000", ("x", 51), ("fr", 49)), person("fr", "FR"), person("x"))
    begun = time.process_time()
    assert holds_of("x", everyone)["n0000"].controls
    assert untraced(everyone) == frozenset()
    assert time.process_time() - begun < 5


SELF_HELD = {
    "at home, and nothing is left for others": ([owned("op", ("op", 49), ("fr", 51))], "0", "0"),
    "of what others have, its own part is theirs": (
        [owned("op", ("op", 30), ("fr", 55), ("us", 15))],
        "21.4286",
        "21.4286",
    ),
    "with what others together have, more than half": (
        [owned("op", ("op", 49), ("fr", 26), ("us", 25))],
        "49.0197",
        "74",
    ),
    "through a company that it holds a minority of": (
        [owned("op", ("b", 49), ("fr", 51)), owned("b", ("op", 49), ("fr", 51))],
        "0",
        "0",
    ),
    "by a loop that nobody enters": ([owned("op", ("b", 10), ("fr", 90)), owned("b", ("b", 100))], "10", "10"),
}


@pytest.mark.parametrize(("entities", "single", "together"), SELF_HELD.values(), ids=SELF_HELD)
def test_a_company_that_holds_itself_is_held_by_those_who_hold_the_rest(
    entities: list[Entity], single: str, together: str
) -> None:
    everyone = by_name(*entities, person("fr", "FR"), person("us"))
    wanted = tuple(int(Decimal(text) * PERCENT) for text in (single, together))
    assert foreign_shares("op", everyone, is_home=home_is_france) == wanted


def test_exactly_half_is_no_control_where_a_company_holds_itself() -> None:
    """Of the 60 % that are not its own, 30 % are half: rounded up in millionths, they would be more."""
    entities = by_name(owned("op", ("op", 40), ("x", 30), ("y", 30)), person("x"), person("y"))
    assert holds_of("x", entities)["op"] == Hold(Fraction(500_000), Fraction(500_000), controls=False)
    third = by_name(owned("op", ("op", 40), ("x", "30.0001"), ("y", "29.9999")), person("x"), person("y"))
    assert controllers_of("op", third) == ("x",)


def test_the_result_does_not_depend_on_the_order_of_entities() -> None:
    entities = [owned("op", ("a", 30), ("b", 30)), owned("a", ("x", 60)), owned("b", ("x", 60)), person("x")]
    assert controllers_of("op", by_name(*entities)) == controllers_of("op", by_name(*reversed(entities)))


def test_everyone_tied_by_ownership_is_connected_and_nobody_else() -> None:
    everyone = by_name(
        owned("op", ("mid", 60), ("ghost", 40)),
        owned("mid", ("x", 60)),
        owned("sister", ("x", 10)),
        owned("sub", ("op", 100)),
        owned("stranger", ("y", 100)),
        person("x"),
        person("y"),
    )
    assert set(connected(["op"], everyone)) == {"op", "mid", "x", "sister", "sub"}
    assert set(connected(["op", "stranger", "nobody"], everyone)) == set(everyone)


UNTRACED: dict[str, tuple[list[Entity], bool]] = {
    "owners were never recorded": ([Entity("op", "FR", frozenset(), None)], True),
    "there can be no owners": ([person("op")], False),
    "all owners are known": ([owned("op", ("x", 100))], False),
    "a quarter less one point is unrecorded": ([owned("op", ("x", 76))], False),
    "more than that is unrecorded": ([owned("op", ("x", "75.9999"))], True),
    "the votes are unrecorded": ([owned("op", ("x", 100, 75))], True),
    "a named owner is not described": ([owned("op", ("x", 75), ("ghost", 25))], True),
    "a small named owner is not described": ([owned("op", ("x", 80), ("ghost", 20))], False),
    "the parent is unrecorded": ([owned("op", ("mid", 60), ("x", 40)), Entity("mid", "FR", frozenset(), None)], True),
    "a large minority is unrecorded": (
        [owned("op", ("mid", 40), ("x", 60)), Entity("mid", "FR", frozenset(), None)],
        False,
    ),
    "minorities that could be one hand": (
        [
            owned("op", ("a", 30), ("b", 30), ("x", 40)),
            Entity("a", "FR", frozenset(), None),
            Entity("b", "FR", frozenset(), None),
        ],
        True,
    ),
    "exactly half is a minority whose owners are unknown": (
        [owned("op", ("deep", 50), ("x", 50)), Entity("deep", "FR", None, None)],
        False,
    ),
    "exactly half of the parent is unknown": (
        [owned("op", ("mid", 60), ("x", 40)), owned("mid", ("deep", 50), ("x", 50)), Entity("deep", "FR", None, None)],
        False,
    ),
    "small unknown shares at each step stay small": (
        [owned("op", ("mid", 80)), owned("mid", ("x", 80))],
        False,
    ),
    "unknown shares at each step that add up": (
        [owned("op", ("mid", 76)), owned("mid", ("deep", 50), ("x", 50)), Entity("deep", "FR", frozenset(), None)],
        True,
    ),
    "minorities that one hand controls by capital and that vote together": (
        [
            owned("op", ("a", 0, 30), ("b", 0, 30), ("x", 100, 40)),
            owned("a", ("x", 40, 100)),
            owned("b", ("x", 40, 100)),
        ],
        True,
    ),
    "whoever is unknown has a say in what leads": (
        [
            owned("op", ("a", 30), ("b", 30), ("x", 40)),
            *(owned(one, Ownership("mid", 0, 0, control=True), ("x", 100)) for one in ("a", "b")),
            Entity("mid", "FR", frozenset(), None),
        ],
        True,
    ),
    "companies hold more than half of each other": (
        [owned("op", ("twin", 51), ("x", 49)), owned("twin", ("op", 51), ("x", 49))],
        True,
    ),
    "companies hold half of each other": (
        [owned("op", ("twin", 50), ("x", 50)), owned("twin", ("op", 50), ("x", 50))],
        False,
    ),
    "a subsidiary has a say in its own parent": (
        [owned("op", ("x", 100), Ownership("sub", 0, 0, control=True)), owned("sub", ("op", 100))],
        False,
    ),
}


@pytest.mark.parametrize(("entities", "is_untraced"), UNTRACED.values(), ids=UNTRACED)
def test_an_entity_is_untraced_when_somebody_unknown_may_control_it(entities: list[Entity], is_untraced: bool) -> None:
    assert ("op" in untraced(by_name(*entities, person("x")))) is is_untraced


def home_is_france(seat: str) -> bool:
    return seat == "FR"


FOREIGN: dict[str, tuple[list[Entity], str, str]] = {
    "all owners at home": ([owned("op", ("fr", 100))], "0", "0"),
    "one from outside": ([owned("op", ("fr", 80), ("us", 20))], "20", "20"),
    "two from outside": ([owned("op", ("fr", 60), ("us", 20), ("uk", 20))], "20", "40"),
    "votes count like capital": ([owned("op", ("fr", 90, 70), ("us", 10, 30))], "30", "30"),
    "through an owner at home, in proportion": (
        [owned("op", ("mid", 40), ("fr", 60)), owned("mid", ("us", 30), ("fr", 70))],
        "12",
        "12",
    ),
    "of capital, more of it through an owner at home": (
        [owned("op", ("mid", 40), ("fr", 60)), owned("mid", ("us", 30, 10), ("fr", 70, 90))],
        "12",
        "12",
    ),
    "of votes, more of them through an owner at home": (
        [owned("op", ("mid", 40), ("fr", 60)), owned("mid", ("us", 10, 30), ("fr", 90, 70))],
        "12",
        "12",
    ),
    "through an owner at home that is controlled, in full": (
        [owned("op", ("mid", 40), ("fr", 60)), owned("mid", ("us", 60), ("fr", 40))],
        "40",
        "40",
    ),
    "two owners outside under one owner outside": (
        [
            owned("op", ("a", 20), ("b", 20), ("fr", 60)),
            owned("a", ("us", 100), seat="US"),
            owned("b", ("us", 100), seat="US"),
        ],
        "40",
        "40",
    ),
    "an owner outside whose owners are at home is outside": (
        [owned("op", ("a", 30), ("fr", 70)), owned("a", ("fr", 100), seat="US")],
        "30",
        "30",
    ),
    "what is not recorded counts as outside": ([owned("op", ("fr", 85))], "15", "15"),
    "votes that are not recorded count as outside": ([owned("op", ("fr", 100, 85))], "15", "15"),
    "what is not recorded adds to the rest": ([owned("op", ("fr", 70), ("us", 20))], "20", "30"),
    "an owner who is not described counts as outside": ([owned("op", ("fr", 85), ("ghost", 15))], "15", "15"),
    "owners of an owner that are not recorded count in proportion": (
        [owned("op", ("mid", 20), ("fr", 80)), Entity("mid", "FR", frozenset(), None)],
        "20",
        "20",
    ),
    "an entity outside is all outside": ([owned("op", ("fr", 100), seat="US")], "100", "100"),
    "an entity without a seat is all outside": ([Entity("op", None, frozenset(), (share("fr", 100),))], "100", "100"),
    "nobody recorded at all": ([Entity("op", "FR", frozenset(), None)], "100", "100"),
    "a controlling owner outside holds no more than it has": ([owned("op", ("us", 60), ("fr", 40))], "60", "60"),
    "a veto from outside is no share": (
        [owned("op", Ownership("us", 5, 5, control=True), ("fr", 95))],
        "5",
        "5",
    ),
    "owners outside who together control by capital vote in full": (
        [owned("op", ("mid", 0, 40), ("fr", 100, 60)), owned("mid", ("us", 30, 0), ("uk", 30, 0), ("fr", 40, 100))],
        "0",
        "40",
    ),
    "what owners outside have a say in together counts in full": (
        [
            owned("op", ("sub", 40), ("fr", 60)),
            owned("sub", Ownership("mid", 5, 5, control=True), ("fr", 95)),
            owned("mid", ("us", 30), ("uk", 30), ("fr", 40)),
        ],
        "0.6",
        "40",
    ),
    "a loop at home with an owner outside": (
        [owned("op", ("b", 20), ("us", 20), ("fr", 60)), owned("b", ("op", 50), ("fr", 50))],
        "22.2223",
        "22.2223",
    ),
}


@pytest.mark.parametrize(("entities", "single", "together"), FOREIGN.values(), ids=FOREIGN)
def test_shares_from_outside_count_alone_and_together(entities: list[Entity], single: str, together: str) -> None:
    everyone = by_name(*entities, person("fr", "FR"), person("us"), person("uk", "GB"))
    wanted = tuple(int(Decimal(text) * PERCENT) for text in (single, together))
    assert foreign_shares("op", everyone, is_home=home_is_france) == wanted


def test_what_belongs_to_no_described_entity_is_unrecorded() -> None:
    known = by_name(person("x"), owned("op", ("x", 60, 70), ("ghost", 10)))
    assert unrecorded(known["op"], known) == 40 * PERCENT
    assert unrecorded(Entity("op", "FR", None, None), known) == 100 * PERCENT
    assert unrecorded(person("op"), known) == 0


def test_an_entity_that_is_not_described_is_all_outside() -> None:
    assert foreign_shares("op", {}, is_home=home_is_france) == (1_000_000, 1_000_000)


def test_owners_cannot_hold_more_than_the_whole() -> None:
    for capital, votes in ((101, 0), (0, 101)):
        with pytest.raises(PolicyError, match="more than 100 %"):
            owned("op", ("x", capital, votes))
    with pytest.raises(PolicyError, match="more than 100 %"):
        owned("op", ("x", 60), ("y", "40.0001"))


def test_an_owner_is_named_once() -> None:
    with pytest.raises(PolicyError, match="names an owner twice"):
        owned("op", ("x", 30), ("x", 30))
