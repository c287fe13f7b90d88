"""Another try: when it is made, what it begins with, and that the old one can no longer do anything."""

from __future__ import annotations

import pytest

from nordan_scheduler.reaper import SKEW_S
from support.certificates import failing
from support.lab import Lab
from support.region_side import manifest
from support.soundness import assert_sound


def _lose(lab: Lab, job: str, reason: str = "node_lost") -> None:
    """Take the newest attempt of a job and report it lost."""
    region, run = lab.take(job)
    region.start(run)
    region.end(run, "lost", reason=reason)


def _again(lab: Lab) -> None:
    """Let the longest back-off pass and place what waits."""
    lab.pass_time(61)
    assert lab.cycle().placed == 1


def test_a_retryable_end_leads_to_a_new_attempt_with_a_higher_fence(lab: Lab) -> None:
    """After a pause; the job recovers, runs again and succeeds, and its certificate tells of both."""
    job = lab.place(retry={"limit": 1})
    _lose(lab, job)
    assert lab.state(job) == "recovering"
    assert lab.cycle().placed == 0, "it pauses before the next try"
    lab.clock.advance(0.6)
    assert lab.cycle().placed == 1
    region, run = lab.take(job)
    assert (run.order["number"], run.fence) == (2, 2)
    assert lab.state(job) == "recovering"
    region.start(run)
    assert lab.state(job) == "running"
    region.end(run)
    shown = lab.show(job)
    assert [line["state"] for line in shown["status_history"]] == [
        "queued",
        "starting",
        "running",
        "recovering",
        "recovering",
        "running",
        "succeeded",
    ]
    assert [one["result"] for one in shown["attempts"]] == ["lost", "succeeded"]
    assert_sound(lab)
    lab.seal()
    assert failing(lab.verify(job)) == {}


def test_pauses_between_tries_double_up_to_a_minute(lab: Lab) -> None:
    """The first is half a second."""
    job = lab.submit(retry={"limit": 9})
    waits = []
    for _ in range(9):
        assert lab.cycle().placed == 1
        _lose(lab, job)
        not_before = lab.one("select not_before from job")
        waits.append((not_before - lab.clock.now()).total_seconds())
        lab.pass_time(61)
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


def test_the_limit_of_tries_holds(lab: Lab) -> None:
    """`limit` counts retries: one try and two more."""
    job = lab.place(retry={"limit": 2})
    _lose(lab, job)
    _again(lab)
    _lose(lab, job)
    _again(lab)
    assert lab.state(job) == "recovering"
    _lose(lab, job)
    shown = lab.show(job)
    assert (shown["state"], shown["reason"], len(shown["attempts"])) == ("failed", "node_lost", 3)
    assert_sound(lab)


@pytest.mark.parametrize(
    ("result", "reason", "on", "state"),
    [
        ("failed", "container_exit", None, "failed"),
        ("failed", "container_exit", ["container_exit"], "recovering"),
        ("failed", "oom", ["node_lost"], "failed"),
        ("failed", "max_duration", None, "failed"),
        ("lost", "node_lost", None, "recovering"),
        ("lost", "node_lost", ["oom"], "failed"),
        ("lost", "grant_expired", None, "recovering"),
        ("preempted", "preempted", None, "recovering"),
        ("failed", "image_pull_failed", ["image_pull_failed"], "recovering"),
        ("failed", None, None, "failed"),
    ],
)
def test_only_ends_that_the_job_names_are_retried(
    lab: Lab, result: str, reason: str | None, on: list[str] | None, state: str
) -> None:
    """What a job says nothing about is retried when it was the platform's doing."""
    _, region, run = lab.running(retry={"limit": 3} if on is None else {"limit": 3, "on": on})
    region.end(run, result, reason=reason)
    assert lab.rows("select state from job") == [(state,)]
    assert_sound(lab)


@pytest.mark.parametrize("reason", ["cancelled_by_user", "max_duration", "fenced", "price_cap", "nonsense"])
def test_an_end_that_no_retry_can_mend_is_refused_at_submission(lab: Lab, reason: str) -> None:
    """With the ones that there are."""
    body = {"name": "a", "command": ["true"], "retry": {"limit": 1, "on": [reason]}}
    answer = lab.admin("POST", "/v1/projects/default/jobs", body, expect=422).json()
    assert answer["errors"][0]["field"].startswith("retry")


def test_the_next_attempt_resumes_from_the_last_published_checkpoint(lab: Lab) -> None:
    """Only pools whose region holds it are candidates, and the order carries its files."""
    lab.put("patients", "fr-bru-1", manifest(a="1"))
    job, region, run = lab.running(inputs=["dataset/patients"])
    first = region.publish(run, "step-1", manifest(state="one"))
    lab.clock.advance(1)
    second = region.publish(run, "step-2", manifest(state="two"))
    assert region.publish(run, "step-2", manifest(state="two")) == second, "the same again is the same artifact"
    region.end(run, "lost", reason="node_lost")
    _again(lab)
    _, resumed = lab.take(job)
    assert resumed.order["resume_from"] == {"files": [{**manifest(state="two")["files"][0], "mode": 0o644}]}
    assert lab.show(job)["attempts"][-1]["resumed_from"] == second["artifact_id"] != first["artifact_id"]


def test_a_checkpoint_under_an_old_fence_is_not_taken(lab: Lab) -> None:
    """Neither after the end, nor with a fence that never was, nor before the redemption."""
    files = manifest(state="late")
    job, region, run = lab.running()
    for fence in (0, 2):
        assert region.publish(run, "x", files, expect=409, fence=fence)["code"] == "stale_fence"
    region.end(run, "lost", reason="node_lost")
    assert region.publish(run, "x", files, expect=409)["code"] == "stale_fence"
    _again(lab)
    attempt = lab.show(job)["attempts"][-1]["id"]
    refused = region.publish(run, "x", files, expect=409, attempt_id=attempt, fence=2)
    assert refused["code"] == "stale_fence", "nobody has redeemed it"
    assert lab.rows("select count(*) from artifact") == [(0,)]


def test_another_regions_attempt_takes_no_checkpoint(lab: Lab) -> None:
    """A region publishes for its own attempts only."""
    _, _, run = lab.running(resources={"gpu": "B200:1"})
    answer = lab.region("se-bor-1").publish(run, "x", manifest(a="1"), expect=409)
    assert answer["code"] == "stale_fence"


def test_outputs_are_not_published_as_checkpoints(lab: Lab) -> None:
    """They come with the last report, so that they stand or fall with its result."""
    _, region, run = lab.running()
    assert region.publish(run, "x", manifest(a="1"), expect=422, kind="output")["errors"][0]["field"] == "kind"


class TestASilentRegion:
    """Its grants run out; the control plane waits for that and for the skew, then tries again."""

    def test_a_confidential_attempt_is_given_up_after_45_seconds_and_an_internal_one_after_15_minutes(
        self, lab: Lab
    ) -> None:
        """Not a second before the shim has stopped it by itself."""
        lab.put("patients", "fr-bru-1", manifest(a="1"))
        sensitive, _, _ = lab.running(inputs=["dataset/patients"])
        plain, _, _ = lab.running(resources={"gpu": "B200:1"})
        lab.clock.advance(45 + SKEW_S)
        lab.reap()
        assert [lab.state(one) for one in (sensitive, plain)] == ["running", "running"]
        lab.clock.advance(0.001)
        lab.reap()
        assert [lab.state(one) for one in (sensitive, plain)] == ["recovering", "running"]
        lab.clock.advance(900 - 45)
        lab.reap()
        assert [lab.state(one) for one in (sensitive, plain)] == ["recovering", "recovering"]
        assert lab.show(plain)["attempts"][0]["reason"] == "grant_expired"
        assert_sound(lab)

    def test_the_late_words_of_the_old_attempt_change_nothing(self, lab: Lab) -> None:
        """Its report is settled, its outputs are nobody's; the new attempt's alone are published."""
        job, region, old = lab.running(outputs=["model"])
        lab.clock.advance(900 + SKEW_S + 1)
        lab.reap()
        lab.pass_time(61)
        assert lab.cycle().placed == 1
        other, new = lab.take(job)
        before = lab.dump()
        down = region.sync(old.ended(outputs={"model": manifest(m="old")}))
        assert down["settled"] == [old.attempt]
        changed = {name for name, rows in lab.dump().items() if rows != before[name]}
        assert changed <= {"region"}, "the region was heard of, and nothing else"
        other.start(new)
        other.end(new, outputs={"model": manifest(m="new")})
        [artifact] = lab.show(job)["artifacts"]
        assert artifact["attempt"] == new.attempt
        assert_sound(lab)

    def test_what_the_region_still_runs_of_it_is_called_unknown(self, lab: Lab) -> None:
        """So it stops without a report, and nothing renews it."""
        _, region, old = lab.running()
        lab.clock.advance(900 + SKEW_S + 1)
        lab.reap()
        down = region.sync()
        assert (down["unknown"], down["settled"]) == ([old.attempt], [])

    def test_a_grant_that_nobody_takes_goes_elsewhere(self, lab: Lab) -> None:
        """The job waits as if nothing had begun; the old grant is gone."""
        job = lab.place()
        grant, code = lab.grant_of(job)
        lab.clock.advance(301)
        lab.reap()
        assert lab.state(job) == "recovering"
        assert lab.region(code).redeem(grant)["outcome"] == "gone"
        assert_sound(lab)

    def test_a_renewal_keeps_an_attempt_alive(self, lab: Lab) -> None:
        """As long as its supervisor speaks, nothing is reaped."""
        job, region, _ = lab.running()
        for _ in range(4):
            lab.clock.advance(899)
            region.sync()
            lab.reap()
        assert lab.state(job) == "running"


@pytest.mark.parametrize(
    ("declared", "left", "state"),
    [
        (["model"], ["model"], "succeeded"),
        (["model"], [], "failed"),
        (["model", "log"], ["log"], "failed"),
        ([], ["extra"], "succeeded"),
        (["model"], ["model", "extra"], "succeeded"),
    ],
)
def test_a_declared_output_must_be_there(lab: Lab, declared: list[str], left: list[str], state: str) -> None:
    """One that is missing fails the attempt, and then none is published; one more than declared is kept."""
    job, region, run = lab.running(outputs=declared)
    region.end(run, outputs={name: manifest(a=name) for name in left})
    shown = lab.show(job)
    assert shown["state"] == state
    assert sorted(one["name"] for one in shown["artifacts"]) == (sorted(left) if state == "succeeded" else [])
    if state == "failed":
        assert "left no output" in shown["message"]
        assert shown["reason"] == "container_exit"
    lab.seal()
    assert failing(lab.verify(job)) == {}


@pytest.mark.parametrize("path", ["../up", "/etc/passwd", "a\\b", "a//b", "a/./b"])
def test_an_output_that_cannot_be_kept_fails_its_own_attempt_only(lab: Lab, path: str) -> None:
    """Other reports of the region go through: one program's file names silence nobody."""
    first, region, bad = lab.running(resources={"gpu": "B200:1"})
    second, _, good = lab.running(resources={"gpu": "B200:1"})
    files = {"files": [{**manifest(a="1")["files"][0], "path": path}]}
    region.sync(bad.ended(outputs={"model": files}), good.ended())
    assert [lab.state(one) for one in (first, second)] == ["failed", "succeeded"]
    assert "cannot be kept" in lab.show(first)["message"]
