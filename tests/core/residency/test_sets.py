"""Set expressions stay symbolic until they are judged."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nordan_core.residency.errors import PolicyError
from nordan_core.residency.sets import SetExpression, parse_set, print_set
from support.residency import ATLAS, NOW, an_atlas

EU, FR_NO = SetExpression.any_of(["EU"]), SetExpression.any_of(["FR", "NO"])
NOWHERE = SetExpression.any_of([])


def test_a_list_is_a_union() -> None:
    assert parse_set(["SE", "FR"], ATLAS, "process").expand(ATLAS, NOW) == {"FR", "SE"}


def test_the_meet_of_two_lists_is_their_intersection() -> None:
    assert EU.meet(FR_NO).expand(ATLAS, NOW) == {"FR"}


def test_groups_keep_their_names_until_they_are_expanded() -> None:
    assert print_set(EU.meet(FR_NO)) == {"all_of": [["EU"], ["FR", "NO"]]}
    assert EU.meet(FR_NO).names() == {"EU", "FR", "NO"}


def test_a_country_that_leaves_a_group_leaves_every_expression_that_names_it() -> None:
    before, after = datetime(2020, 1, 31, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC)
    assert "GB" in EU.expand(ATLAS, before)
    assert "GB" not in EU.expand(ATLAS, after)


def test_allow_reads_narrowly() -> None:
    assert SetExpression.any_of(["FR"]).expand(ATLAS, NOW) == {"FR"}


def test_an_empty_list_allows_nowhere_and_stays_so() -> None:
    assert parse_set([], ATLAS, "process") == NOWHERE
    assert NOWHERE.expand(ATLAS, NOW) == frozenset()
    assert NOWHERE.meet(EU) == NOWHERE


def test_a_union_that_a_smaller_one_implies_is_dropped() -> None:
    wide = SetExpression.any_of(["FR", "SE", "EU"])
    assert wide.meet(SetExpression.any_of(["FR", "SE"])) == SetExpression.any_of(["FR", "SE"])


def test_a_name_that_another_atlas_does_not_know_allows_nothing() -> None:
    assert SetExpression.any_of(["DE", "FR"]).expand(an_atlas(), NOW) == {"FR"}


def test_the_next_change_is_that_of_any_group_named() -> None:
    atlas = an_atlas()
    both = SetExpression.any_of(["UNION", "ADEQUATE", "FR"])
    assert both.next_change(atlas, NOW) == datetime(2027, 1, 1, tzinfo=UTC)
    assert SetExpression.any_of(["FR"]).next_change(atlas, NOW) is None


def test_an_expression_prints_as_a_person_reads_it() -> None:
    assert str(EU.meet(FR_NO)) == "[EU] and [FR, NO]"
    assert str(NOWHERE) == "[]"


def test_an_expression_needs_a_union() -> None:
    with pytest.raises(ValueError, match="at least one union"):
        SetExpression(frozenset())


REFUSED: dict[str, tuple[object, str]] = {
    "one name": ("FR", "process"),
    "nothing": (None, "process"),
    "a number": (3, "process"),
    "a wrong name": (["FR", "UK"], "process.1"),
    "an unknown key": ({"any_of": [["FR"]]}, "process.any_of"),
    "no lists": ({"all_of": []}, "process.all_of"),
    "no list of lists": ({"all_of": ["FR"]}, "process.all_of.0"),
    "a wrong name inside": ({"all_of": [["FR"], ["fr"]]}, "process.all_of.1.0"),
    "too many names": (["FR"] * 1001, "process"),
}


@pytest.mark.parametrize(("written", "field"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_expression_is_refused_at_its_place(written: object, field: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_set(written, ATLAS, "process")
    assert caught.value.field == field
