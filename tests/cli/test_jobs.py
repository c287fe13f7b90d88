"""list, get, why and cancel: what is asked, what is shown, which job is meant."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from support.command_line import Nordan
from support.fake_rest import FakeRest, attempt, job, problem

JOBS = "GET /v1/projects/default/jobs"
ID = "job_00000000000000000000000abc"
ONE = f"{JOBS}/{ID}"

FULL = job(
    "running",
    started_at="2026-10-31T23:58:00+00:00",
    spec={"command": ["python", "train.py"]},
    policy={"effective": {"process": ["FR", "SE"], "class": "restricted"}, "stated_by": {"process": ["input"]}},
    attempts=[
        attempt(1, "ended", result="lost", reason="node_lost", ended_at="2026-10-31T23:58:30+00:00"),
        attempt(2, region="se-bor-1", pool="se-bor-1-h200"),
    ],
    status_history=[
        {"state": "queued", "reason": None, "message": "", "at": "2026-10-31T23:57:00+00:00"},
        {"state": "running", "reason": None, "message": "", "at": "2026-10-31T23:58:00+00:00"},
    ],
    cost_eur="0.250000",
)

WAITING = job(
    reason="no_capacity",
    why=[
        {"code": "residency_unsatisfiable", "count": 30, "facet": "process", "want": "EU", "have": "NO"},
        {"code": "no_capacity", "count": 5},
    ],
)


def test_jobs_are_listed_as_a_table(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(JOBS, {"items": [job("running", started_at="2026-10-31T23:58:30+00:00"), WAITING], "next_cursor": None})
    ended = nordan("list")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "NAME    ID                              KIND      STATE    REASON       GPUS  AGE     RAN",
        f"digits  {ID}  training  running               16    3m ago  1m 30s",
        f"digits  {ID}  training  queued   no_capacity  16    3m ago",
    ]


def test_an_empty_list_says_what_to_do(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(JOBS, {"items": []})
    assert nordan("list").out == "no jobs; nordan submit -- echo hello\n"


def test_a_state_is_asked_of_the_server(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(JOBS, {"items": []})
    nordan("list", "--state", "queued", "--limit", "7")
    assert dict(rest.requests[0].url.params) == {"state": "queued", "limit": "7"}


def test_watching_prints_each_change_until_ctrl_c(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(JOBS, {"items": [job("queued")]}, {"items": [job("queued")]}, {"items": [job("running")]})
    rest.on(JOBS, KeyboardInterrupt())
    ended = nordan("list", "-w", "-o", "json")
    assert ended.code == 130
    assert ended.out.count('"state": "queued"') == 1
    assert ended.out.count('"state": "running"') == 1


def test_a_job_is_shown_whole(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(ONE, FULL)
    ended = nordan("get", ID)
    assert (
        ended.out
        == f"""\
job      digits  {ID}
kind     training
project  prj_1
state    running
command  python train.py
created  3m ago
ran      2m
cost     0.25 EUR

Policy
FACET    VALUE       STATED BY
class    restricted
process  FR, SE      input

Attempts
NO  STATE    POOL           NODES  REASON     EXIT  RAN  COST       MESSAGE
1   lost     fr-bru-1-h100  2      node_lost        30s  0.125 EUR
2   running  se-bor-1-h200  2                       2m   0.125 EUR

History
WHEN    STATE    REASON  MESSAGE
3m ago  queued
2m ago  running
"""
    )


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_programs_get_what_the_server_sent(nordan: Nordan, rest: FakeRest, form: str) -> None:
    rest.on(ONE, {**FULL, "newer": {"field": "NO"}})
    text = nordan("get", ID, "-o", form).out
    shown: Any = json.loads(text) if form == "json" else yaml.safe_load(text)
    assert shown == {**FULL, "newer": {"field": "NO"}}


def test_why_counts_the_reasons_of_pools(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(ONE, WAITING)
    assert (
        nordan("why", ID).out
        == """\
digits is queued (no_capacity)

POOLS  REASON                   FACET    WANTED  OFFERED  MEANING
30     residency_unsatisfiable  process  EU      NO
5      no_capacity
"""
    )


def test_a_name_means_its_newest_job(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(JOBS, {"items": [job()]}).on(ONE, FULL)
    assert nordan("get", "digits").code == 0
    assert dict(rest.requests[0].url.params) == {"limit": "1", "name": "digits"}


@pytest.mark.parametrize("part", ["0abc", "job_00000", "00000000000000000000000ab", ID])
def test_a_part_of_an_id_is_enough(nordan: Nordan, rest: FakeRest, part: str) -> None:
    rest.on(JOBS, *([{"items": []}] if not part.startswith("job_") else []), {"items": [job()]}).on(ONE, FULL)
    assert nordan("get", part).code == 0


def test_a_part_that_fits_several_jobs_names_them(nordan: Nordan, rest: FakeRest) -> None:
    other = "job_00000000000000000000000xyz"
    rest.on(JOBS, {"items": [job(), job(id=other)]})
    ended = nordan("get", "job_0000")
    assert ended.code == 1
    assert f"fits 2 jobs: {ID}, {other}" in ended.err


def test_a_job_that_nobody_knows_is_named(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(JOBS, {"items": []})
    ended = nordan("get", "gone")
    assert ended.code == 1
    assert "project default has no job 'gone'" in ended.err


def test_cancelling_sends_the_grace_time_in_seconds(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(f"POST /v1/projects/default/jobs/{ID}:cancel", job("cancelling"))
    ended = nordan("cancel", ID, "--grace", "2m")
    assert ended.out == f"{ID} cancelling\n"
    assert rest.bodies(f"POST /v1/projects/default/jobs/{ID}:cancel") == [{"grace_s": 120.0}]


OTHER = "job_00000000000000000000000abd"


def test_several_cancelled_jobs_are_one_json_document(nordan: Nordan, rest: FakeRest) -> None:
    for identity in (ID, OTHER):
        rest.on(f"POST /v1/projects/default/jobs/{identity}:cancel", job("cancelling", id=identity))
    ended = nordan("cancel", ID, OTHER, "-o", "json")
    assert [one["id"] for one in json.loads(ended.out)["items"]] == [ID, OTHER]
    assert nordan("cancel", ID, OTHER).out == f"{ID} cancelling\n{OTHER} cancelling\n"


def test_a_mistyped_job_cancels_none_of_the_others(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(JOBS, {"items": []})
    ended = nordan("cancel", ID, "digist")
    assert ended.code == 1
    assert not rest.bodies(f"POST /v1/projects/default/jobs/{ID}:cancel")


ENDED = problem(409, "job_ended", "the job has ended already: succeeded")


def test_one_that_has_ended_does_not_keep_the_others_from_being_cancelled(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(f"POST /v1/projects/default/jobs/{ID}:cancel", ENDED).on(ONE, job("succeeded"))
    rest.on(f"POST /v1/projects/default/jobs/{OTHER}:cancel", job("cancelling", id=OTHER))
    ended = nordan("cancel", ID, OTHER)
    assert (ended.code, ended.out) == (1, f"{OTHER} cancelling\n")
    assert f"{ID}: the job has ended already: succeeded" in ended.err


def test_one_that_was_cancelled_already_is_as_was_asked(nordan: Nordan, rest: FakeRest) -> None:
    """The answer to an earlier try may have been lost."""
    rest.on(f"POST /v1/projects/default/jobs/{ID}:cancel", ENDED).on(ONE, job("cancelled"))
    ended = nordan("cancel", ID)
    assert (ended.code, ended.out, ended.err) == (0, f"{ID} cancelled\n", "")


def test_a_grace_time_that_is_none_is_an_error_of_use(nordan: Nordan, rest: FakeRest) -> None:
    ended = nordan("cancel", ID, "--grace", "soon")
    assert ended.code == 2
    assert "write 90s, 15m, 4h or 2d" in ended.err
    assert not rest.requests


def test_a_refusal_is_told_with_its_request_id(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(f"POST /v1/projects/default/jobs/{ID}:cancel", problem(403, "forbidden", "a viewer cancels nothing"))
    ended = nordan("cancel", ID)
    assert ended.code == 1
    assert ended.err == "error: a viewer cancels nothing (forbidden)\n  request: req-1\n"
    assert ended.out == ""
