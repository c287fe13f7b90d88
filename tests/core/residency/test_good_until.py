"""A verdict holds until the first instant at which something in it can change, and not a moment longer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nordan_core.residency.facts import Certification, ControlPlaneFacts, PoolFacts, Service
from nordan_core.residency.judge import judge, judge_control_plane, judge_reader, judge_storage
from nordan_core.residency.layers import Effective
from support.residency import FAR, NOW, a_policy, a_pool, an_atlas, as_owner

ATLAS = an_atlas()
A_MOMENT = timedelta(microseconds=1)
SPLIT = Certification("split", "left", frozenset(Service), None, datetime(2027, 5, 1, tzinfo=UTC))


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def policy(**facets: object) -> Effective:
    return replace(as_owner(), policy=a_policy(ATLAS, **facets))


def pool(**changes: Any) -> PoolFacts:
    return a_pool(**{"certifications": (SPLIT,), "territory": "SE", **changes})


UNTIL: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "only the facts end": ({}, {}, "2030-01-01"),
    "the policy ends": ({"valid_until": "2026-12-24"}, {}, "2026-12-24"),
    "the facts end before the policy": (
        {"valid_until": "2028-01-01"},
        {"valid_until": day("2027-02-02")},
        "2027-02-02",
    ),
    "a group of process changes": ({"process": ["UNION"]}, {}, "2027-01-01"),
    "a group of store changes": ({"store": ["UNION"]}, {}, "2027-01-01"),
    "a group of describe changes": ({"describe": ["UNION"]}, {}, "2027-01-01"),
    "a group of access changes": ({"access": ["ADEQUATE"]}, {}, "2027-06-01"),
    "a group of key changes": ({"key": ["ADEQUATE", "FR"]}, {}, "2027-06-01"),
    "a group inside an intersection changes": ({"key": {"all_of": [["ADEQUATE"], ["UNION"]]}}, {}, "2027-01-01"),
    "a group of owners changes": ({"ownership_max": {"UNION": {"single": 50}}}, {}, "2027-01-01"),
    "a certificate that is asked ends": ({"certifications": {"split": "low"}}, {}, "2027-05-01"),
    "a certificate that is asked begins": (
        {"certifications": {"split": "low"}},
        {"certifications": (replace(SPLIT, valid_from=day("2026-12-01")),)},
        "2026-12-01",
    ),
    "a certificate that nobody asks ends": ({"certifications": {}}, {}, "2030-01-01"),
    "territories never change": ({"process": ["SE", "FR"]}, {}, "2030-01-01"),
}


@pytest.mark.parametrize(("facets", "changes", "until"), UNTIL.values(), ids=UNTIL)
def test_a_verdict_on_a_pool_is_good_until(facets: dict[str, Any], changes: dict[str, Any], until: str) -> None:
    assert judge(policy(**facets), pool(**changes), ATLAS, NOW).good_until == day(until)
    assert judge_storage(policy(**facets), pool(**changes), ATLAS, NOW).good_until == day(until)


def test_what_has_passed_no_longer_counts() -> None:
    asked = policy(process=["UNION"], valid_until="2026-01-01", certifications={"split": "low"})
    late = judge(asked, pool(), ATLAS, day("2031-01-01"))
    assert late.good_until is None
    assert not late.allowed


def test_at_its_end_a_verdict_is_taken_anew_for_the_next_stretch() -> None:
    union = policy(process=["UNION"])
    stretches = [day(text) for text in ("2026-12-01", "2027-01-01", "2028-01-01")]
    verdicts = [judge(union, pool(), ATLAS, instant) for instant in stretches]
    assert [verdict.allowed for verdict in verdicts] == [True, False, True]
    assert [verdict.good_until for verdict in verdicts] == [day("2027-01-01"), day("2028-01-01"), FAR]


@pytest.mark.parametrize("facets", [facets for facets, changes, _ in UNTIL.values() if not changes])
def test_until_then_nothing_changes(facets: dict[str, Any]) -> None:
    first = judge(policy(**facets), pool(), ATLAS, NOW)
    assert first.good_until is not None
    for instant in (NOW + (first.good_until - NOW) / 2, first.good_until - A_MOMENT):
        assert judge(policy(**facets), pool(), ATLAS, instant) == first


def test_other_verdicts_are_good_until_what_they_asked_changes() -> None:
    facts = ControlPlaneFacts(territory="FR", operator="x", entities={})
    described = policy(describe=["UNION"], access=["ADEQUATE"], process=["FR"], valid_until="2029-01-01")
    assert judge_control_plane(described, facts, ATLAS, NOW).good_until == day("2027-01-01")
    assert judge_reader(described, "NO", ATLAS, NOW).good_until == day("2027-06-01")
    plain = policy(describe=["FR"], access=["FR"], process=["UNION"], valid_until="2029-01-01")
    assert judge_control_plane(plain, facts, ATLAS, NOW).good_until == day("2029-01-01")
    assert judge_reader(plain, "FR", ATLAS, NOW).good_until == day("2029-01-01")
    assert judge_reader(policy(), "FR", ATLAS, NOW).good_until is None
