"""Many jobs in one request: each has its own result, its own entry in the log, and no part in another's fate."""

from __future__ import annotations

from typing import Any

import pytest

from nordan_api.jobs.batch import MOST_JOBS
from support.lab import JOBS, Lab, job

BATCH = f"{JOBS}:batchCreate"


def ask(lab: Lab, *documents: Any, expect: int = 200, **headers: str) -> list[dict[str, Any]]:
    """Submit documents and return the results."""
    items: list[dict[str, Any]] = lab.admin("POST", BATCH, {"jobs": documents}, expect=expect, **headers).json()[
        "items"
    ]
    return items


def test_each_job_has_its_own_result_in_the_order_of_the_request(lab: Lab) -> None:
    """Fine, malformed, unlawful, without its input, fine."""
    nowhere, absent = job(policy={"process": ["PT"]}), job(inputs=["dataset/absent"])
    items = ask(lab, job(name="a"), job(colour="red"), nowhere, absent, job(name="b"))
    assert [one["status"] for one in items] == [202, 422, 422, 404, 202]
    assert [one["job"]["name"] for one in items if "job" in one] == ["a", "b"]
    codes = [one["problem"]["code"] for one in items if "problem" in one]
    assert codes == ["invalid", "residency_unsatisfiable", "not_found"]
    assert items[1]["problem"]["errors"][0]["field"] == "colour"
    shown = [lab.admin("GET", one["location"], expect=200).json()["id"] for one in items if "job" in one]
    assert shown == [one["job"]["id"] for one in items if "job" in one]


def test_what_is_stored_is_what_single_submissions_store(lab: Lab) -> None:
    """Row and entry, but for ids and times."""
    lab.admin("POST", JOBS, job(policy={"process": ["FR", "SE"]}, max_wait="1h"), expect=202)
    ask(lab, job(policy={"process": ["FR", "SE"]}, max_wait="1h"))
    columns = (
        "name, kind, spec, effective, policy_digest, klass, state, priority, submitted_by, wait_until - created_at"
    )
    first, second = lab.rows(f"select {columns}, wait_until - created_at from job order by id")
    assert first == second
    bodies = [body for (body,) in lab.rows("select body from audit_entry where act = 'job_accepted' order by at")]
    for body in bodies:
        body["judged"][0].pop("at")
    assert bodies[0] == bodies[1]


def test_every_job_and_every_refusal_is_one_entry(lab: Lab) -> None:
    """And what is malformed is no act."""
    ask(lab, job(), job(), job(policy={"process": ["PT"]}), job(nodes=0))
    acts = "select act, count(*) from audit_entry where act like 'job_%' group by act order by act"
    assert lab.rows(acts) == [("job_accepted", 2), ("job_refused", 1)]


def test_jobs_of_a_batch_run(lab: Lab) -> None:
    """The scheduler sees each of them."""
    ask(lab, *(job() for _ in range(3)))
    assert lab.cycle().placed == 3


def test_a_batch_of_refusals_stores_no_job(lab: Lab) -> None:
    """The answer is 200 all the same."""
    assert [one["status"] for one in ask(lab, job(nodes=0), job(policy={"process": ["PT"]}))] == [422, 422]
    assert lab.one("select count(*) from job") == 0


def test_the_same_key_gives_the_same_results(lab: Lab) -> None:
    """Also those that were refused; another body under it conflicts."""
    documents = [job(name="a"), job(nodes=0)]
    first = ask(lab, *documents, Idempotency_Key="k")
    assert ask(lab, *documents, Idempotency_Key="k") == first
    assert lab.one("select count(*) from job") == 1
    other = lab.admin("POST", BATCH, {"jobs": [job(name="b")]}, expect=409, Idempotency_Key="k").json()
    assert other["code"] == "idempotency_key_reused"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "jobs"),
        ({"jobs": []}, "jobs"),
        ({"jobs": {}}, "jobs"),
        ({"jobs": [job()] * (MOST_JOBS + 1)}, "jobs"),
        ({"jobs": [job(), 7]}, "jobs.1"),
        ({"jobs": [job()], "colour": "red"}, "colour"),
    ],
)
def test_a_request_of_another_form_is_refused_as_a_whole(lab: Lab, body: dict[str, Any], field: str) -> None:
    """The fault has its place, and nothing is stored."""
    answer = lab.admin("POST", BATCH, body, expect=422).json()
    assert answer["errors"][0]["field"] == field
    assert lab.one("select count(*) from job") == 0


def test_anothers_project_is_simply_not_there(lab: Lab) -> None:
    """For the whole request."""
    lab.admin("POST", "/v1/organisations", {"name": "other"}, expect=201)
    answer = lab.call("POST", BATCH, {"jobs": [job()]}, key=lab.key("other", "owner"), expect=404).json()
    assert answer["code"] == "not_found"
