"""Grants that are not given: forged, another region's, replayed, expired. Each is told apart, and changes no row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.lab import Lab

OTHERS = ("se-bor-1", "de-fra-1")
FORGED = ("grt_00000000000000000000000000", "", "'; drop table job; --", "x" * 255)
UNKNOWN = {"outcome": "gone", "code": "unknown_grant", "message": "this region has no such grant"}
SPENT = {
    "over": {"outcome": "gone", "code": "attempt_over", "message": "the attempt of this grant is over"},
    "expired": {"outcome": "gone", "code": "grant_expired", "message": "the grant ran out"},
    "replayed": {
        "outcome": "refused",
        "code": "already_redeemed",
        "message": "another redemption of this grant lives",
    },
    "stopping": {"outcome": "gone", "code": "stopping", "message": "the attempt is to end before it began"},
}
NOTHING = {"grant": "", "order": None}


@contextmanager
def unchanged(lab: Lab) -> Iterator[None]:
    """Compare every row of every table."""
    before = lab.dump()
    yield
    assert lab.dump() == before


@pytest.mark.parametrize("grant", FORGED)
def test_a_grant_that_never_was_is_unknown(lab: Lab, grant: str) -> None:
    """A forged nudge leads nowhere."""
    with unchanged(lab):
        assert lab.region("fr-bru-1").redeem(grant) == {"grant_id": grant, **UNKNOWN, **NOTHING}


@pytest.mark.parametrize("region", OTHERS)
def test_another_regions_grant_is_answered_as_one_that_never_was(lab: Lab, region: str) -> None:
    """Issued, redeemed or over: a region learns nothing of another's work, and takes nothing of it."""
    job = lab.place(resources={"gpu": "B200:1"})
    grant, home = lab.grant_of(job)
    assert home == "fr-bru-1"
    _as_if_never_there(lab, region, grant)
    _, run = lab.take(job)
    _as_if_never_there(lab, region, grant, run.redemption)
    lab.clock.advance(901)
    _as_if_never_there(lab, region, grant, run.redemption)
    lab.reap()
    _as_if_never_there(lab, region, grant, run.redemption)


def _as_if_never_there(lab: Lab, region: str, grant: str, redemption: str | None = None) -> None:
    with unchanged(lab):
        assert lab.region(region).redeem(grant, redemption) == {"grant_id": grant, **UNKNOWN, **NOTHING}


def test_a_replay_under_another_redemption_is_refused_while_the_first_lives(lab: Lab) -> None:
    """So two supervisors never run one attempt."""
    region, run = lab.take(lab.place())
    with unchanged(lab):
        assert region.redeem(run.grant, "ab" * 16) == {"grant_id": run.grant, **SPENT["replayed"], **NOTHING}


@pytest.mark.parametrize("is_own", [True, False])
def test_a_replay_after_the_end_is_told_that_it_is_over(lab: Lab, is_own: bool) -> None:
    """Under its own redemption as under another."""
    _, region, run = lab.running()
    region.end(run)
    with unchanged(lab):
        answer = region.redeem(run.grant, run.redemption if is_own else "ab" * 16)
        assert answer == {"grant_id": run.grant, **SPENT["over"], **NOTHING}


@pytest.mark.parametrize("is_own", [True, False])
@pytest.mark.parametrize("is_reaped", [True, False])
def test_a_grant_that_ran_out_after_it_was_redeemed_says_so(lab: Lab, is_own: bool, is_reaped: bool) -> None:
    """Its attempt may have been given up already, and the answer is the same before and after."""
    region, run = lab.take(lab.place(retry={"limit": 0}))
    lab.clock.advance(1000)
    if is_reaped:
        lab.reap()
        assert lab.rows("select result, reason from attempt") == [("lost", "grant_expired")]
    with unchanged(lab):
        answer = region.redeem(run.grant, run.redemption if is_own else "ab" * 16)
        assert answer == {"grant_id": run.grant, **SPENT["expired"], **NOTHING}


def test_a_grant_that_nobody_took_in_time_says_that_it_ran_out(lab: Lab) -> None:
    """The reaper gave its place to others."""
    job = lab.place(retry={"limit": 0})
    grant, code = lab.grant_of(job)
    lab.pass_time(1000)
    lab.reap()
    assert lab.rows("select result, reason from attempt") == [("lost", "grant_expired")]
    with unchanged(lab):
        assert lab.region(code).redeem(grant) == {"grant_id": grant, **SPENT["expired"], **NOTHING}


def test_no_two_of_them_are_told_the_same() -> None:
    """Neither in codes nor in words."""
    told = [UNKNOWN, *SPENT.values()]
    assert len({one["code"] for one in told}) == len({one["message"] for one in told}) == len(told)
