"""What regions report: late, twice, out of order, under an old fence, about what is not theirs, or nonsense."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.lab import Lab
from support.region_side import RegionSide, Run
from support.soundness import assert_sound


def _seen(lab: Lab, job: str) -> tuple[str, str]:
    shown = lab.show(job)
    return shown["state"], shown["attempts"][-1]["state"]


def test_reports_may_skip_steps_but_never_go_back(lab: Lab) -> None:
    """A short job is never seen pulling; one that runs is never seen redeemed again."""
    job = lab.place()
    region, run = lab.take(job)
    region.sync(run.report("running"))
    assert _seen(lab, job) == ("running", "running")
    for state in ("pulling", "redeemed", "placed"):
        region.sync(run.report(state))
        assert _seen(lab, job) == ("running", "running")
    region.sync(run.report("stopping"))
    assert _seen(lab, job) == ("running", "stopping")
    assert_sound(lab)


def test_the_newest_report_of_a_message_counts_whatever_their_order(lab: Lab) -> None:
    """Order inside a message says nothing; numbers do."""
    job = lab.place()
    region, run = lab.take(job)
    pulling, running = run.report("pulling"), run.report("running")
    region.sync(running, pulling)
    assert _seen(lab, job)[1] == "running"


def test_reports_of_many_are_stored_together_each_as_it_says(lab: Lab) -> None:
    """One message: one runs and is ready, one is pulling, one is stopping; their jobs follow."""
    jobs = [lab.place(policy={"process": ["FR"]}) for _ in range(3)]
    region, *runs = lab.take(jobs[0])
    for job in jobs[1:]:
        grant, code = lab.grant_of(job)
        assert code == region.code
        runs.append(region.take(grant))
    states = ("running", "pulling", "stopping")
    reports = [run.report(state) for run, state in zip(runs, states, strict=True)]
    reports[0]["is_ready"] = True
    region.sync(*reports)
    assert [_seen(lab, job) for job in jobs] == [
        ("running", "running"),
        ("starting", "pulling"),
        ("running", "stopping"),
    ]
    assert lab.rows("select is_ready, running_at is not null from attempt order by id") == [
        (True, True),
        (False, False),
        (False, False),
    ]
    histories = lab.rows("select jsonb_array_length(history) from job order by id")
    region.sync(runs[0].report("running"))
    assert lab.rows("select jsonb_array_length(history) from job order by id") == histories
    assert_sound(lab)


def test_a_report_that_comes_twice_or_late_changes_nothing(lab: Lab) -> None:
    """Below or at the last number that was stored it is old news."""
    job = lab.place()
    region, run = lab.take(job)
    pulling, running = run.report("pulling"), run.report("running")
    region.sync(running)
    before = lab.dump()["attempt"], lab.dump()["job"]
    for report in (running, pulling, {**running, "state": "ended", "result": "failed"}):
        region.sync(report)
    assert (lab.dump()["attempt"], lab.dump()["job"]) == before
    assert job


@pytest.mark.parametrize("fence", [0, 2, 99])
def test_a_report_under_another_fence_changes_nothing(lab: Lab, fence: int) -> None:
    """Only the fence that lives may speak."""
    job, region, run = lab.running()
    down = region.sync({**run.ended(), "fence": fence})
    assert down["settled"] == []
    assert lab.state(job) == "running"


def test_an_attempt_that_is_held_under_another_fence_is_unknown_and_not_renewed(lab: Lab) -> None:
    """It is to be stopped without a report."""
    _, region, run = lab.running()
    stale = Run(run.region, run.grant, run.redemption, {**run.order, "fence": 7}, run.token)
    alive_until = lab.one("select alive_until from attempt_grant")
    lab.clock.advance(5)
    assert region.sync(live=[stale])["unknown"] == [run.attempt]
    assert lab.one("select alive_until from attempt_grant") == alive_until


@pytest.mark.parametrize("attempt", ["att_00000000000000000000000000", "", "'"])
def test_an_attempt_that_never_was_is_unknown(lab: Lab, attempt: str) -> None:
    """A report about it is passed over."""
    region = lab.region("fr-bru-1")
    ghost = Run("fr-bru-1", "", "", {"attempt_id": attempt, "fence": 1, "ranks": []}, "")
    down = region.sync(ghost.ended(), live=[ghost])
    assert (down["unknown"], down["settled"]) == ([attempt], [])


def test_a_region_cannot_speak_about_another_regions_attempt(lab: Lab) -> None:
    """Nor renew it, nor end it, nor learn whether it is there."""
    job, _, run = lab.running(resources={"gpu": "B200:1"})
    stranger = RegionSide(lab, "se-bor-1")
    down = stranger.sync(run.ended(), live=[run])
    assert (down["unknown"], down["settled"], down["stop"]) == ([run.attempt], [], [])
    assert lab.state(job) == "running"


def test_an_attempt_that_nobody_redeemed_cannot_be_reported_on(lab: Lab) -> None:
    """Without a grant nothing ran, so there is nothing that could have succeeded."""
    job = lab.place()
    grant, code = lab.grant_of(job)
    [placed] = lab.show(job)["attempts"]
    ghost = Run(code, grant, "", {"attempt_id": placed["id"], "fence": 1, "ranks": []}, "")
    lab.region(code).sync(ghost.ended(), ghost.report("running"), live=[ghost])
    assert _seen(lab, job) == ("starting", "placed")
    assert_sound(lab)


def test_the_end_is_stored_once_and_settled_as_often_as_it_is_told(lab: Lab) -> None:
    """A supervisor that missed the answer tells it again; a different end then changes nothing."""
    job, region, run = lab.running()
    last = run.ended(running_s=7.0)
    assert region.sync(last)["settled"] == [run.attempt]
    before = lab.dump()
    for again in (last, {**last, "seq": 99, "result": "failed", "running_s": 700.0}):
        assert region.sync(again)["settled"] == [run.attempt]
    assert lab.dump() == before
    assert lab.state(job) == "succeeded"
    assert_sound(lab)


def test_a_message_with_many_reports_and_an_old_one_among_them(lab: Lab) -> None:
    """Each is taken for itself."""
    jobs = [lab.submit(resources={"gpu": "B200:1"}) for _ in range(4)]
    assert lab.cycle().placed == 4
    region = lab.region("fr-bru-1")
    runs = [region.take(lab.grant_of(job)[0]) for job in jobs]
    region.sync(*(run.report("running") for run in runs[:3]))
    old = {**runs[2].ended(), "seq": 1}
    down = region.sync(runs[0].ended(), runs[1].ended("failed", reason="oom"), old, runs[3].report("pulling"))
    assert sorted(down["settled"]) == sorted(run.attempt for run in runs[:2])
    assert [lab.state(job) for job in jobs] == ["succeeded", "failed", "running", "starting"]
    assert_sound(lab)


@pytest.mark.parametrize(
    "change",
    [
        {"running_s": -1.0},
        {"running_s": 1e300},
        {"energy_wh": -5.0},
        {"seq": 0},
        {"seq": 1 << 70},
        {"fence": 1 << 70},
        {"state": "flying"},
        {"result": "splendid"},
        {"reason": "because"},
        {"message": "x" * 501},
        {"message": "nul \0"},
        {"colour": "red"},
        {"ranks": [{"rank": 0, "exit_code": 1 << 40, "signal": None}]},
        {"ranks": [{"rank": -1, "exit_code": 0, "signal": None}]},
        {"outputs": [{"name": "", "manifest": {"files": []}}]},
        {"outputs": [{"name": "m", "manifest": {"files": [{"path": "a", "digest": "z" * 64, "size_bytes": 1}]}}]},
        {"outputs": [{"name": "m", "manifest": {"files": [{"path": "a", "digest": "0" * 64, "size_bytes": -1}]}}]},
        {"outputs": [{"name": "m", "manifest": {"files": [{"path": "a", "digest": "0" * 64, "size_bytes": 1 << 70}]}}]},
    ],
)
def test_nonsense_is_refused_with_the_field_and_changes_nothing(lab: Lab, change: dict[str, Any]) -> None:
    """A region is not trusted: not with negative bills, not with numbers that no column holds."""
    _, region, run = lab.running()
    before = lab.dump()
    body = {"supervisor_id": "s", "nonce": "ab" * 16, "reports": [{**run.ended(), **change}], "live": []}
    answer = lab.worker(region.code, "/worker/v1/sync", body, expect=422)
    assert answer["code"] == "invalid"
    assert answer["errors"][0]["field"].startswith("reports.0.")
    assert lab.dump() == before


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_none_is_refused(lab: Lab, number: str) -> None:
    """JSON knows no such numbers, whatever a parser makes of them."""
    _, region, run = lab.running()
    text = json.dumps({"supervisor_id": "s", "nonce": "ab" * 16, "reports": [run.ended(running_s=4711.0)]}).replace(
        "4711.0", number
    )
    headers = {"Authorization": f"Bearer {lab.credentials[region.code]}"}
    response = lab.client.post("/worker/v1/sync", content=text, headers=headers)
    assert response.status_code == 422, response.text


@pytest.mark.parametrize("path", ["/worker/v1/sync", "/worker/v1/grants:redeem", "/worker/v1/artifacts"])
@pytest.mark.parametrize("body", ["", "[]", "{", '{"a": 1}', "null", "\xff", '{"items": 3}', "[" * 5000 + "]" * 5000])
def test_a_message_of_another_form_is_refused(lab: Lab, path: str, body: str) -> None:
    """With the field at fault, and without a trace."""
    before = lab.dump()
    headers = {"Authorization": f"Bearer {lab.credentials['fr-bru-1']}"}
    response = lab.client.post(path, content=body.encode("latin-1"), headers=headers)
    assert (response.status_code, response.json()["code"]) == (422, "invalid")
    assert lab.dump() == before


def test_a_region_that_joins_again_locks_out_its_old_credential(lab: Lab) -> None:
    """What it held goes on under the new one."""
    _, _, run = lab.running()
    old = lab.credentials[run.region]
    lab.join(run.region)
    headers = {"Authorization": f"Bearer {old}"}
    assert lab.client.post("/worker/v1/sync", json={"supervisor_id": "s"}, headers=headers).status_code == 401
    assert lab.region(run.region).sync(live=[run])["unknown"] == []
