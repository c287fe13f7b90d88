"""Every order of events of the protocol, in a small model; and for each check that it makes, what happens without."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.protocol_model import explore
from support.protocol_values import GUARDS, Guards

#: What has to be found without a check.
OLD_GRANT = "a grant was issued under an older law"
OLD_REDEMPTION = "a redemption committed under an older law"
TWO = "an attempt started before the one before it had stopped"
WITHOUT = {
    "epoch_is_compared": OLD_GRANT,
    "atlas_is_compared": OLD_GRANT,
    "end_is_compared": OLD_GRANT,
    "commit_compares": OLD_GRANT,
    "redemption_judges": OLD_REDEMPTION,
    "epoch_is_held": OLD_REDEMPTION,
    "renewal_judges": "a renewal was given under an older law",
    "end_judges": "outputs were published under an older law",
    "plan_names_version": "a job was placed that did not wait for a place",
    "room_is_compared": "one pool is held twice",
    "redemption_is_one": TWO,
    "report_names_fence": "outputs were published under an older fence",
    "stop_is_final": "what was fenced was renewed",
    "expiry_is_awaited": TWO,
    "skew_is_awaited": TWO,
    "deadline_counts_from_sending": TWO,
    "shim_stops_itself": "an unlawful attempt ran beyond its budget",
    "what_is_there_is_revisited": "bytes could be read where they may not be, beyond the budget",
}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_order_of_events_breaks_an_invariant() -> None:
    """Two jobs, two pools, three versions of the law; the number is that of all states within reach."""
    found = explore()
    print(found)
    assert found.fault == "", found
    assert found.states == STATES, found


def test_nor_does_one_job_whose_grant_lives_longer_than_a_tick() -> None:
    """What a job may do by itself, with more of time."""
    found = explore(Guards(ttl=3), jobs=1)
    assert found.fault == "", found
    assert found.states == STATES_OF_ONE, found


def test_every_check_has_its_fault() -> None:
    """A check that is new has to say what it is for."""
    assert set(WITHOUT) == set(GUARDS)


@pytest.mark.parametrize("guard", GUARDS)
def test_without_a_check_the_search_finds_what_it_is_for(guard: str) -> None:
    """By the shortest way, which is printed."""
    found = explore(replace(Guards(), **{guard: False}))
    print(found)
    assert found.fault == WITHOUT[guard], found
    assert found.path


STATES, STATES_OF_ONE = 1_596_792, 24_257
