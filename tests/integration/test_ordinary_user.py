"""Run by an ordinary user, jobs cannot be kept apart: the pools serve one organisation, and say so to a second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.chaos_stack import ChaosStack
from support.machine import job_pids
from support.ordinary_stack import ordinary_stack
from support.tenants import Json, Tenant, add_tenant, client_of

HELLO: Json = {"name": "hello", "command": ["true"]}


@pytest.fixture(scope="module")
def stack() -> Iterator[ChaosStack]:
    with ordinary_stack() as stack:
        yield stack


@pytest.fixture(scope="module")
def first(stack: ChaosStack) -> Iterator[Tenant]:
    """Return the organisation that the pool serves: it has run a job."""
    with client_of(stack.url) as http:
        tenant = Tenant(http, stack.key, stack.project)
        tenant.runs(HELLO)
        yield tenant


@pytest.fixture(scope="module")
def second(first: Tenant) -> Tenant:
    return add_tenant(first, "second", "second")


def refusal(answer: Json) -> Json:
    [region] = answer["regions"]
    [found] = region["refusals"]
    return {name: found[name] for name in ("code", "facet", "want", "have")}


WHY = {
    "code": "rejected_by_policy",
    "facet": "tenancy",
    "want": "a pool of its own",
    "have": "another organisation's jobs",
}


def test_up_says_that_the_pools_serve_one_organisation(stack: ChaosStack) -> None:
    told = (stack.home / "up.log").read_text()
    assert "Not root: jobs cannot be kept apart" in told
    assert "`tenancy: single`" in told
    assert "serve one organisation" in told


def test_everything_runs_as_the_invoking_user_jobs_too(stack: ChaosStack, first: Tenant) -> None:
    job = first.submit({**HELLO, "command": ["sleep", "60"]})
    first.reaches(job, "running")
    pids = [*job_pids(stack), *(stack.process(name).pid for name in stack.names())]
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in pids} == {stack.data.stat().st_uid}
    assert stack.data.stat().st_uid != 0
    first.ask("POST", f"/jobs/{job}:cancel", json={"grace_s": 0}, expect=200)
    first.reaches(job, "cancelled")


def test_a_second_organisation_is_told_why_before_it_submits(second: Tenant) -> None:
    answer = second.ask("POST", "/jobs:plan", json=HELLO, expect=200).json()
    assert answer["startable"] is False
    assert refusal(answer) == WHY


def test_a_second_organisations_job_waits_with_that_reason_though_the_pool_is_idle(
    stack: ChaosStack, first: Tenant, second: Tenant
) -> None:
    """Records and caches of the first may be left on the machine, so the pool stays with it."""
    job = second.submit(HELLO)
    for _ in range(2):
        # The first goes on being served meanwhile.
        first.runs(HELLO)
    found = second.job(job)
    assert (found["state"], found["reason"]) == ("queued", "rejected_by_policy")
    assert found["why"] == [{**WHY, "count": 1}]
    assert stack.rows("select count(*) from attempt where job_id = %(job)s", {"job": job}) == [(0,)]
    second.ask("POST", f"/jobs/{job}:cancel", json={}, expect=200)


@pytest.mark.parametrize("tenancy", ["shared", "dedicated"])
def test_the_first_organisation_may_ask_for_less(first: Tenant, tenancy: str) -> None:
    """To be alone is more than either."""
    first.runs({**HELLO, "policy": {"tenancy": tenancy}})
