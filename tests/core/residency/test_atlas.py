"""The packaged atlas says what the law says, and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pycountry
import pytest

from nordan_core.atlas.loader import default_atlas, default_atlas_bytes
from nordan_core.residency.atlas import parse_atlas
from support.residency import ATLAS, NOW, an_atlas


def codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


EU_STATES = codes("AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK")
OVERSEAS = codes("AX GF GP MF MQ RE YT")
SUBDIVISIONS = codes("ES-CE ES-CN ES-ML PT-20 PT-30")
SINCE_GDPR = datetime(2018, 5, 25, tzinfo=UTC)
SINCE_GDPR_IN_EFTA = datetime(2018, 7, 20, tzinfo=UTC)
A_MOMENT = timedelta(microseconds=1)


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_every_code_of_iso_3166_1_is_a_territory_and_little_else() -> None:
    ours = {code for code in ATLAS.territories if "-" not in code}
    assert ours == {country.alpha_2 for country in pycountry.countries}
    assert {code for code in ATLAS.territories if "-" in code} == SUBDIVISIONS


def test_subdivisions_exist_in_iso_3166_2() -> None:
    known = {subdivision.code for subdivision in pycountry.subdivisions}
    assert {code for code in ATLAS.territories if "-" in code} <= known


def test_the_eu_is_its_states_and_the_regions_where_its_treaties_apply_in_full() -> None:
    assert ATLAS.group("EU", NOW) == EU_STATES | OVERSEAS | SUBDIVISIONS


def test_overseas_territories_outside_the_gdpr_are_in_no_group() -> None:
    outside = codes("PM BL WF PF NC TF GL SJ GI AW CW SX BQ")
    assert all(not outside & ATLAS.group(name, NOW) for name in ATLAS.groups)


def test_the_eea_adds_three_efta_states_and_not_switzerland() -> None:
    assert ATLAS.group("EEA", NOW) - ATLAS.group("EU", NOW) == {"IS", "LI", "NO"}
    assert ATLAS.group("EFTA", NOW) == {"CH", "IS", "LI", "NO"}


def test_since_the_gdpr_the_eu_lies_within_the_eea_at_each_change() -> None:
    changes = {change for name in ("EU", "EEA") for change in ATLAS.groups[name].changes}
    instants = {SINCE_GDPR, NOW} | {change for change in changes if change > SINCE_GDPR}
    assert len(instants) >= 3
    assert all(ATLAS.group("EU", instant) <= ATLAS.group("EEA", instant) for instant in instants)


def test_the_gdpr_applies_in_the_whole_eea_since_its_three_efta_states_took_it_over() -> None:
    assert ATLAS.group("GDPR", NOW) == ATLAS.group("EEA", NOW)
    instants = [one for name in ("EEA", "GDPR") for one in ATLAS.groups[name].changes if one >= SINCE_GDPR_IN_EFTA]
    assert len(instants) >= 3
    assert all(ATLAS.group("EEA", instant) <= ATLAS.group("GDPR", instant) for instant in instants)
    assert not ATLAS.group("GDPR", SINCE_GDPR - A_MOMENT)
    assert "NO" in ATLAS.group("EEA", SINCE_GDPR) - ATLAS.group("GDPR", SINCE_GDPR)


def test_the_gdpr_applied_in_great_britain_for_a_year_after_it_left() -> None:
    assert {"GB", "GI"} == ATLAS.group("GDPR", day("2020-12-31")) - ATLAS.group("EEA", day("2020-12-31"))


APART = {
    "French overseas inside": ("GP MQ GF RE YT MF", "FR", True),
    "French overseas outside": ("PM BL WF PF NC TF", "FR", False),
    "Danish": ("GL FO", "DK", False),
    "Svalbard and Jan Mayen": ("SJ", "NO", False),
    "Aland": ("AX", "FI", True),
    "Spanish": ("ES-CN ES-CE ES-ML", "ES", True),
    "Portuguese": ("PT-20 PT-30", "PT", True),
    "Dutch": ("AW CW SX BQ", "NL", False),
    "Crown dependencies and Gibraltar": ("GG JE IM GI", "GB", False),
}


@pytest.mark.parametrize(("listed", "state", "inside"), APART.values(), ids=APART)
def test_what_differs_in_law_from_its_state_has_a_code_of_its_own(listed: str, state: str, inside: bool) -> None:
    assert codes(listed) <= ATLAS.dependencies(state)
    assert {code in ATLAS.group("GDPR", NOW) for code in codes(listed)} == {inside}


def test_nesting_is_a_fact_of_today_and_not_a_rule() -> None:
    assert "HR" in ATLAS.group("EU", day("2013-12-01")) - ATLAS.group("EEA", day("2013-12-01"))


LEFT_OR_JOINED = {
    "Great Britain left the EU": ("EU", "GB", "2020-02-01", False),
    "Gibraltar left with it": ("EU", "GI", "2020-02-01", False),
    "Great Britain left the EEA": ("EEA", "GB", "2020-02-01", False),
    "Brazil became adequate": ("ADEQUATE", "BR", "2026-01-27", True),
    "South Korea became adequate": ("ADEQUATE", "KR", "2021-12-17", True),
    "Great Britain became adequate": ("ADEQUATE", "GB", "2021-06-28", True),
    "the decision on Great Britain ends": ("ADEQUATE", "GB", "2031-12-27", False),
    "Croatia joined the EU": ("EU", "HR", "2013-07-01", True),
}


@pytest.mark.parametrize(("group", "territory", "on", "joins"), LEFT_OR_JOINED.values(), ids=LEFT_OR_JOINED)
def test_membership_changes_at_the_first_moment_of_its_day(group: str, territory: str, on: str, joins: bool) -> None:
    at = day(on)
    assert (territory in ATLAS.group(group, at)) is joins
    assert (territory in ATLAS.group(group, at - A_MOMENT)) is not joins
    assert ATLAS.next_change(group, at - A_MOMENT) == at


def test_conditional_adequacy_is_a_predicate_and_never_part_of_the_group() -> None:
    for territory in ("CA", "US"):
        decision = ATLAS.adequate(territory, NOW)
        assert decision is not None
        assert decision.condition
        assert territory not in ATLAS.group("ADEQUATE", NOW)


def test_every_unconditional_decision_in_force_is_in_the_group() -> None:
    plain = {one.territory for one in ATLAS.adequacy if one.condition is None and one.holds_at(NOW)}
    assert plain == ATLAS.group("ADEQUATE", NOW)
    assert plain == codes("AD AR BR CH FO GB GG IL IM JE JP KR NZ UY")


def test_an_adequacy_decision_counts_from_its_date() -> None:
    assert ATLAS.adequate("BR", day("2026-01-26")) is None
    assert ATLAS.adequate("FR", NOW) is None


def test_every_membership_decision_and_scheme_names_its_source() -> None:
    assert all(one.source for group in ATLAS.groups.values() for one in group.memberships)
    assert all(one.source for one in ATLAS.adequacy)
    assert all(scheme.source for scheme in ATLAS.schemes.values())


def test_no_group_has_the_name_of_a_territory() -> None:
    assert not ATLAS.groups.keys() & ATLAS.territories.keys()


DEPENDENCIES = {"FR": "BL GF GP MF MQ NC PF PM RE TF WF YT", "US": "AS GU MP PR UM VI", "CN": "HK MO", "DK": "FO GL"}


@pytest.mark.parametrize(("state", "listed"), DEPENDENCIES.items())
def test_a_state_has_its_dependencies_without_itself(state: str, listed: str) -> None:
    assert ATLAS.dependencies(state) == codes(listed)


def test_whoever_depends_on_nobody_has_no_parent_and_parents_are_states() -> None:
    parents = {one.parent for one in ATLAS.territories.values() if one.parent}
    assert all(ATLAS.territories[parent].parent is None for parent in parents)
    assert ATLAS.dependencies("SE") == frozenset()


def test_an_unknown_group_allows_nothing_and_never_changes() -> None:
    assert ATLAS.group("EUU", NOW) == frozenset()
    assert ATLAS.next_change("EUU", NOW) is None
    assert not ATLAS.is_group("EUU")
    assert ATLAS.is_group("EU")


def test_before_its_first_change_a_group_is_empty() -> None:
    assert ATLAS.group("EU", day("1950-01-01")) == frozenset()


def test_a_territory_may_come_back() -> None:
    atlas = an_atlas()
    inside = ["SE" in atlas.group("UNION", day(text)) for text in ("2026-06-01", "2027-06-01", "2028-06-01")]
    assert inside == [True, False, True]
    assert atlas.next_change("UNION", day("2027-01-01")) == day("2028-01-01")
    assert atlas.next_change("UNION", day("2028-01-01")) is None


def test_certification_levels_include_the_weaker_ones_only() -> None:
    c5, acn = ATLAS.schemes["c5"], ATLAS.schemes["acn"]
    assert c5.satisfies("type2", "type1")
    assert c5.satisfies("type1", "type1")
    assert not c5.satisfies("type1", "type2")
    assert acn.satisfies("QC4", "QC1")
    assert not acn.satisfies("QC4", "QI1")
    assert not c5.satisfies("type3", "type1")


def test_the_packaged_atlas_is_read_once_and_pinned_by_its_bytes() -> None:
    assert default_atlas() is ATLAS
    assert parse_atlas(default_atlas_bytes()).digest == ATLAS.digest
    assert parse_atlas(default_atlas_bytes() + b"\n").digest != ATLAS.digest
    assert ATLAS.version == "europe-2026-11"
