"""The same request twice: one effect, one answer, whoever asks again and however many at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from httpx import Response

from nordan_core.store import idempotency
from support.lab import JOBS, Lab, job


def ask(lab: Lab, body: Any, *, key: str = "k1", expect: int | None = None) -> Response:
    """Submit with an idempotency key."""
    return lab.admin("POST", JOBS, body, expect=expect, Idempotency_Key=key)


def _jobs(lab: Lab) -> int:
    return int(lab.one("select count(*) from job"))


def test_eight_at_once_make_one_job(lab: Lab) -> None:
    """Each is told of the same one, or that it is still at work."""
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, lab, job()) for _ in range(8)]
        answers: list[Response] = [one.result(30) for one in asked]
    made = [one for one in answers if one.status_code == 202]
    assert {one.json()["id"] for one in made} == {made[0].json()["id"]}
    assert {one.headers["location"] for one in made} == {made[0].headers["location"]}
    assert {one.json()["code"] for one in answers if one.status_code != 202} <= {"in_progress"}
    assert _jobs(lab) == 1
    assert lab.one("select count(*) from audit_entry where act = 'job_accepted'") == 1


def test_eight_at_once_with_different_bodies_make_one_job_and_conflicts(lab: Lab) -> None:
    """A key stands for one request."""
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, lab, job(name=f"n{place}")) for place in range(8)]
        codes = sorted(one.result(30).status_code for one in asked)
    assert codes == [202] + [409] * 7
    assert _jobs(lab) == 1


def test_a_twin_waits_for_the_first_and_no_longer_than_it_may(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """409 `in_progress`, and nothing is made."""
    monkeypatch.setattr(idempotency, "_WAIT_MS", 100)
    ask(lab, job(), expect=202)
    [(scope, digest)] = lab.rows("select scope, request_digest from idempotency")
    lab.rows("with gone as (delete from idempotency returning 1) select * from gone")
    with lab.context.store.begin() as first:
        first.idempotency.claim(scope, digest, lab.clock.now())
        answer = ask(lab, job(), expect=409).json()
        assert answer["code"] == "in_progress"
    assert _jobs(lab) == 1


def test_a_twin_of_one_that_failed_does_the_work(lab: Lab) -> None:
    """Only answers of what was done are kept."""
    ask(lab, job(policy={"process": ["PT"]}), expect=422)
    ask(lab, job(), expect=202)
    assert _jobs(lab) == 1


def test_the_first_answer_stands_even_when_the_world_has_changed(lab: Lab) -> None:
    """A retry of a lost answer must not be refused for what happened since."""
    first = ask(lab, job(), expect=202).json()
    lab.cancel(first["id"])
    cell = {"kind": "ControlPlane", "territory": "US", "operator": "auvergne-calcul"}
    lab.apply(cell)
    assert ask(lab, job(), expect=202).json() == first
    lab.admin("POST", JOBS, job(), expect=422)


def test_the_same_key_of_another_principal_or_project_is_another_key(lab: Lab) -> None:
    """Its scope is organisation, principal and route."""
    ask(lab, job(), expect=202)
    owner = lab.key("home", "owner")
    lab.call("POST", JOBS, job(), key=owner, expect=202, Idempotency_Key="k1")
    lab.admin("POST", "/v1/projects", {"name": "second"}, expect=201)
    lab.admin("POST", "/v1/projects/second/jobs", job(), expect=202, Idempotency_Key="k1")
    assert _jobs(lab) == 3


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
def test_a_key_that_is_none_is_refused(lab: Lab, key: str) -> None:
    """Before anything is done."""
    answer = ask(lab, job(), key=key)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"
    assert _jobs(lab) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"max_price": 2.5},
        {"max_duration": 90.25},
        {"env": {"A": "ü \u2028 \U0001f600"}},
        {"policy": {"residency": ["FR", "SE"]}, "retry": {"limit": 0, "on": []}},
        {"max_price": 1e3, "grace": 1},
    ],
)
def test_any_document_may_come_with_a_key(lab: Lab, changes: dict[str, Any]) -> None:
    """Fractions and every script included; the order of fields makes no difference."""
    document = job(**changes)
    first = ask(lab, document, expect=202).json()
    again = dict(reversed(document.items()))
    assert ask(lab, again, expect=202).json() == first


def test_a_nested_document_with_a_key_is_refused_as_without(lab: Lab) -> None:
    """Depth that the parser takes is no defect further in."""
    policy: dict[str, Any] = {}
    for _ in range(700):
        policy = {"a": policy}
    assert ask(lab, job(policy=policy)).status_code == 422
    assert lab.admin("POST", JOBS, job(policy=policy)).status_code == 422
