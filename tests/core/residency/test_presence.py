"""What is there may stay for as long as everything that binds it allows it."""

from __future__ import annotations

from datetime import timedelta

from nordan_core.residency.facts import ControlPlaneFacts
from nordan_core.residency.presence import UNREADABLE, may_rest, may_run
from support.residency import ATLAS, ENTITIES, FAR, NOW, a_german_pool, a_pool, a_swedish_pool, as_owner

HOME = ControlPlaneFacts(territory="FR", operator="auvergne-calcul", entities=ENTITIES)
ABROAD = ControlPlaneFacts(territory="DE", operator="mainkai", entities=ENTITIES)
FRENCH, NORDIC = as_owner(process=["FR"], store=["FR"]), as_owner(process=["FR", "SE"])


def test_an_attempt_stays_where_all_its_policies_allow_it() -> None:
    assert may_run((FRENCH, NORDIC), a_pool(), HOME, ATLAS, NOW).allowed
    refused = may_run((NORDIC, FRENCH), a_swedish_pool(), HOME, ATLAS, NOW)
    assert refused.failing == {"process", "store"}


def test_the_control_plane_is_judged_with_it() -> None:
    of = as_owner(describe=["FR"])
    assert may_run((of,), a_pool(), HOME, ATLAS, NOW).allowed
    assert may_run((of,), a_pool(), ABROAD, ATLAS, NOW).failing == {"describe"}


def test_a_pool_that_is_gone_and_policies_that_cannot_be_read_are_denied() -> None:
    assert may_run((NORDIC,), None, HOME, ATLAS, NOW).failing == {"facts"}
    assert may_run((), a_pool(), HOME, ATLAS, NOW).refusals == (UNREADABLE,)
    assert may_rest((), [a_pool()], ATLAS, NOW).refusals == (UNREADABLE,)
    assert may_rest((NORDIC,), [], ATLAS, NOW).failing == {"facts"}


def test_bytes_stay_where_the_facts_of_one_pool_of_the_region_allow_it() -> None:
    of = as_owner(forbid_exposure=["US"])
    assert may_rest((of,), [a_german_pool(), a_pool()], ATLAS, NOW).allowed
    assert may_rest((of,), [a_german_pool()], ATLAS, NOW).failing == {"forbid_exposure"}
    assert not may_rest((of, FRENCH), [a_swedish_pool()], ATLAS, NOW).allowed


def test_what_only_running_brings_about_is_not_asked_of_bytes() -> None:
    assert may_rest((as_owner(process=["FR"]),), [a_swedish_pool()], ATLAS, NOW).allowed


def test_the_word_is_good_until_the_first_end_of_what_it_rests_on() -> None:
    soon = NOW + timedelta(minutes=3)
    verdict = may_run((NORDIC, as_owner(valid_until=soon.isoformat())), a_pool(), HOME, ATLAS, NOW)
    assert verdict.good_until == soon
    assert may_run((NORDIC,), a_pool(), HOME, ATLAS, NOW).good_until == FAR
    at_rest = may_rest((NORDIC,), [a_pool(valid_until=soon), a_pool()], ATLAS, NOW)
    assert at_rest.good_until == soon
    assert may_rest((NORDIC,), [a_pool(valid_until=soon)], ATLAS, soon).failing == {"facts"}
