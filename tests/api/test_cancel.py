"""Cancelling, wherever a job stands and whoever else moves it: one outcome, one entry, everything given back."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from nordan_scheduler.reaper import SKEW_S
from support.certificates import failing
from support.lab import JOBS, Lab
from support.region_side import manifest
from support.soundness import assert_sound


def _queued(lab: Lab) -> str:
    return lab.submit()


def _placed(lab: Lab) -> str:
    return lab.place()


def _recovering(lab: Lab) -> str:
    job_id, region, run = lab.running()
    region.end(run, "lost", reason="node_lost")
    return job_id


def _fenced(lab: Lab) -> str:
    job_id, region, run = lab.running()
    region.end(run, "fenced", reason="fenced")
    return job_id


@pytest.mark.parametrize("before", [_queued, _placed, _recovering, _fenced])
def test_a_job_of_which_nothing_runs_is_cancelled_at_once(lab: Lab, before: Callable[[Lab], str]) -> None:
    """Its certificate says where it was, if it was anywhere."""
    job_id = before(lab)
    assert lab.cancel(job_id)["state"] == "cancelled"
    shown = lab.show(job_id)
    assert (shown["reason"], shown["finished_at"] is not None) == ("cancelled_by_user", True)
    assert_sound(lab)
    assert lab.cycle().placed == 0
    lab.seal()
    assert failing(lab.verify(job_id)) == {}


def test_a_placed_jobs_grant_is_gone_once_it_is_cancelled(lab: Lab) -> None:
    """A nudge that comes late starts nothing."""
    job_id = _placed(lab)
    grant, code = lab.grant_of(job_id)
    lab.cancel(job_id)
    assert lab.region(code).redeem(grant)["outcome"] == "gone"


@pytest.mark.parametrize("state", ["redeemed", "pulling", "running", "stopping"])
def test_what_runs_is_stopped_with_grace_and_then_cancelled(lab: Lab, state: str) -> None:
    """Told at each sync until its end is stored; its grant lives on meanwhile, so that the grace is given whole."""
    job_id = lab.place(grace="3s")
    region, run = lab.take(job_id)
    if state != "redeemed":
        region.sync(run.report("running" if state == "stopping" else state))
    if state == "stopping":
        region.sync(run.report(state))
    assert lab.cancel(job_id)["state"] == "cancelling"
    stop = {"attempt_id": run.attempt, "grace_s": 3.0, "reason": "cancelled_by_user"}
    alive_until = lab.one("select alive_until from attempt_grant")
    lab.clock.advance(60)
    assert region.sync()["stop"] == [stop] == region.sync()["stop"]
    assert lab.one("select alive_until from attempt_grant") > alive_until
    assert region.end(run, "cancelled", reason="cancelled_by_user")["stop"] == []
    assert lab.state(job_id) == "cancelled"
    assert_sound(lab)
    lab.seal()
    assert failing(lab.verify(job_id)) == {}


def test_the_grace_that_is_asked_for_goes_before_the_jobs_own(lab: Lab) -> None:
    """Zero kills at once."""
    job_id, region, _ = lab.running(grace="30s")
    lab.cancel(job_id, grace_s=0)
    assert region.sync()["stop"][0]["grace_s"] == 0.0


def test_cancelling_again_changes_nothing_until_it_has_ended_and_then_conflicts(lab: Lab) -> None:
    """One act, one entry; the first grace stands."""
    job_id, region, run = lab.running(grace="3s")
    lab.cancel(job_id)
    before = lab.dump()
    assert lab.cancel(job_id, grace_s=0)["state"] == "cancelling"
    assert lab.dump() == before
    region.end(run, "cancelled", reason="cancelled_by_user")
    assert lab.cancel(job_id, expect=409)["code"] == "job_ended"
    assert_sound(lab)


def test_a_job_that_succeeds_before_the_stop_reaches_it_has_succeeded(lab: Lab) -> None:
    """What is done is done: its outputs are there, and the history says that it was asked to end."""
    job_id, region, run = lab.running(outputs=["model"])
    lab.cancel(job_id)
    region.end(run, outputs={"model": manifest(a="1")})
    shown = lab.show(job_id)
    assert shown["state"] == "succeeded"
    assert [one["name"] for one in shown["artifacts"]] == ["model"]
    assert [line["state"] for line in shown["status_history"]][-2:] == ["cancelling", "succeeded"]
    assert_sound(lab)


@pytest.mark.parametrize(("result", "reason"), [("failed", "oom"), ("lost", "node_lost"), ("failed", None)])
def test_a_job_that_fails_while_it_is_cancelled_is_cancelled_and_not_tried_again(
    lab: Lab, result: str, reason: str | None
) -> None:
    """Its owner wanted no more of it."""
    job_id, region, run = lab.running(retry={"limit": 5})
    lab.cancel(job_id)
    region.end(run, result, reason=reason)
    assert lab.state(job_id) == "cancelled"
    assert_sound(lab)


def test_a_cancelled_job_whose_region_fell_silent_ends_when_its_grant_has_run_out(lab: Lab) -> None:
    """Then nothing can run any more."""
    job_id, _, _ = lab.running()
    lab.cancel(job_id)
    lab.clock.advance(900 + SKEW_S + 1)
    lab.reap()
    assert lab.state(job_id) == "cancelled"
    assert_sound(lab)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"grace": 1}, "grace"),
        ({"grace_s": -1}, "grace_s"),
        ({"grace_s": "1"}, "grace_s"),
        ({"grace_s": True}, "grace_s"),
        ({"grace_s": 3601}, "grace_s"),
        ({"grace_s": []}, "grace_s"),
    ],
)
def test_a_malformed_request_cancels_nothing(lab: Lab, body: dict[str, object], field: str) -> None:
    """With the field at fault."""
    job_id = lab.submit()
    assert lab.cancel(job_id, expect=422, **body)["errors"][0]["field"] == field
    assert lab.state(job_id) == "queued"


def test_a_job_is_cancelled_by_the_name_of_its_newest(lab: Lab) -> None:
    """As everywhere where a job is named."""
    first, second = lab.submit(name="twin"), lab.submit(name="twin")
    assert lab.admin("POST", f"{JOBS}/twin:cancel", {}, expect=200).json()["id"] == second
    assert lab.state(first) == "queued"


ROUNDS = 8


def test_a_cancellation_that_races_the_end_has_one_outcome(lab: Lab) -> None:
    """Either it succeeded or it was cancelled; never both, never a deadlock, and everything came back."""
    outcomes = set()
    with ThreadPoolExecutor(2) as pool:
        for _ in range(ROUNDS):
            job_id, region, run = lab.running(outputs=["model"], resources={"gpu": "B200:1"})
            end = pool.submit(region.end, run, outputs={"model": manifest(a="1")})
            asked = pool.submit(lab.admin, "POST", f"{JOBS}/{job_id}:cancel", {})
            end.result(10)
            assert asked.result(10).status_code in {200, 409}
            outcomes.add(lab.state(job_id))
    assert outcomes <= {"succeeded"}, "the program had ended well before anybody could stop it"
    assert_sound(lab)


def test_a_cancellation_that_races_the_redemption_has_one_outcome(lab: Lab) -> None:
    """Either the grant was gone, or the attempt is told to stop; the two never wait for each other."""
    with ThreadPoolExecutor(2) as pool:
        for _ in range(ROUNDS):
            job_id = lab.place(resources={"gpu": "B200:1"})
            grant, code = lab.grant_of(job_id)
            region = lab.region(code)
            redeemed = pool.submit(region.redeem, grant, "ab" * 16)
            asked = pool.submit(lab.admin, "POST", f"{JOBS}/{job_id}:cancel", {})
            assert asked.result(10).status_code == 200
            outcome = redeemed.result(10)["outcome"]
            assert (outcome, lab.state(job_id)) in {("granted", "cancelling"), ("gone", "cancelled")}
    assert_sound(lab)


def test_eight_cancellations_at_once_are_one_act(lab: Lab) -> None:
    """Every caller is told the same."""
    job_id, _, _ = lab.running()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(lab.admin, "POST", f"{JOBS}/{job_id}:cancel", {}) for _ in range(8)]
        assert {one.result(20).status_code for one in asked} == {200}
    assert_sound(lab)


def test_a_cancellation_that_races_the_cycle_leaves_nothing_behind(lab: Lab) -> None:
    """A job is placed and then cancelled, or never placed."""
    with ThreadPoolExecutor(2) as pool:
        for _ in range(ROUNDS):
            job_id = lab.submit()
            cycle = pool.submit(lab.cycle)
            asked = pool.submit(lab.admin, "POST", f"{JOBS}/{job_id}:cancel", {})
            cycle.result(10)
            assert asked.result(10).status_code == 200
            assert lab.state(job_id) == "cancelled"
    assert_sound(lab)


def test_somebody_who_may_only_look_cancels_nothing(lab: Lab) -> None:
    """And another tenant finds no such job."""
    job_id = lab.submit()
    viewer = lab.key("home", "viewer")
    lab.call("POST", f"{JOBS}/{job_id}:cancel", {}, key=viewer, expect=403)
    lab.admin("POST", "/v1/organisations", {"name": "other"}, expect=201)
    stranger = lab.key("other", "owner")
    lab.call("POST", f"{JOBS}/{job_id}:cancel", {}, key=stranger, expect=404)
    assert lab.state(job_id) == "queued"
