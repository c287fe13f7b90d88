"""What must hold in the store at every moment, whatever happened before: checked over all rows at once."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any

from nordan_core.domain.money import Price
from nordan_core.domain.states import (
    JOB_MOVES,
    TERMINAL,
    AttemptResult,
    AttemptState,
    AttemptView,
    JobState,
    job_state,
)
from support.lab import Lab

_RETRYABLE = {AttemptResult.FAILED, AttemptResult.LOST, AttemptResult.PREEMPTED}
Row = dict[str, Any]


def assert_sound(lab: Lab) -> None:
    """Fail on the first invariant that does not hold."""
    jobs, attempts = _table(lab, "job"), _table(lab, "attempt")
    of_job: dict[str, list[Row]] = defaultdict(list)
    for attempt in sorted(attempts, key=lambda one: int(one["number"])):
        of_job[attempt["job_id"]].append(attempt)
    _capacity_is_what_live_attempts_leave(lab, attempts)
    for job in jobs:
        _state_follows_from_attempts(job, of_job[job["id"]])
        _history_is_legal(job)
        _numbers_and_fences_rise(job, of_job[job["id"]])
    _grants_and_leases_follow(lab, attempts)
    _every_act_has_one_entry(lab, jobs, attempts)
    _one_attempt_published(lab)
    _certificates_are_wanted_by_what_ended(lab, jobs)


def _table(lab: Lab, name: str) -> list[Row]:
    return [row[0] for row in lab.rows(f"select to_jsonb(t) from {name} t order by 1")]


def _capacity_is_what_live_attempts_leave(lab: Lab, attempts: list[Row]) -> None:
    held: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    tenants: dict[str, set[str]] = defaultdict(set)
    for attempt in attempts:
        if attempt["state"] != "ended":
            tenants[attempt["pool"]].add(attempt["organisation_id"])
            for rank in attempt["placement"]:
                held[rank["node"]].append((rank["gpu_mask"], attempt["cpus_per_rank"], attempt["memory_mib_per_rank"]))
    for node in _table(lab, "node"):
        taken = held[node["name"]]
        mask = 0
        for one, _, _ in taken:
            assert mask & one == 0, f"two attempts hold one GPU of {node['name']}"
            mask |= one
        assert node["free_mask"] == ((1 << node["gpus"]) - 1) & ~mask, node
        assert node["free_cpus"] == node["cpus"] - sum(cpus for _, cpus, _ in taken), node
        assert node["free_memory_mib"] == node["memory_mib"] - sum(memory for _, _, memory in taken), node
    for pool in _table(lab, "pool"):
        bound = pool["single_tenant"]
        assert bound is None or tenants[pool["name"]] <= {bound}, pool["name"]


def _state_follows_from_attempts(job: Row, attempts: list[Row]) -> None:
    live = [one for one in attempts if one["state"] != "ended"]
    assert len(live) <= 1, job["id"]
    assert not live or live == attempts[-1:], job["id"]
    retry = job["spec"]["retry"]
    views = [
        AttemptView(
            AttemptState(one["state"]),
            AttemptResult(one["result"]) if one["result"] else None,
            one["result"] in _RETRYABLE and one["reason"] in retry["on"] and one["number"] <= retry["limit"],
        )
        for one in attempts
    ]
    derived = job_state(
        views,
        is_cancel_requested=job["cancel_requested_at"] is not None,
        is_resumed=job["resumed_after"] >= len(attempts) > 0,
        has_expired=job["reason"] == "max_wait" and job["finished_at"] is not None,
    )
    assert job["state"] == derived, (job["state"], derived, views)


def _history_is_legal(job: Row) -> None:
    states = [JobState(line["state"]) for line in job["history"]]
    assert states[0] is JobState.QUEUED
    assert states[-1] == job["state"], states
    # A retry that is placed leaves a line with the same state.
    assert all(after in JOB_MOVES[before] or after is before for before, after in pairwise(states)), states
    assert sum(state in TERMINAL for state in states) == (job["finished_at"] is not None), states


def _numbers_and_fences_rise(job: Row, attempts: list[Row]) -> None:
    assert [one["number"] for one in attempts] == list(range(1, len(attempts) + 1))
    assert job["attempts_made"] == len(attempts)
    fences = [one["fence"] for one in attempts]
    assert fences == sorted(set(fences))


def _grants_and_leases_follow(lab: Lab, attempts: list[Row]) -> None:
    grants = {one["attempt_id"]: one for one in _table(lab, "attempt_grant")}
    leases = {one["attempt_id"]: one for one in _table(lab, "lease")}
    assert grants.keys() == leases.keys() == {one["id"] for one in attempts}
    for attempt in attempts:
        grant, lease = grants[attempt["id"]], leases[attempt["id"]]
        is_over = attempt["state"] == "ended"
        held = "revoked" if attempt["stop_reason"] == "fenced" else "redeemed"
        expected = "closed" if is_over else ("issued" if attempt["state"] == "placed" else held)
        assert grant["state"] == expected, (grant, attempt["state"])
        assert (grant["redemption_id"] is None) == (attempt["redeemed_at"] is None)
        assert (lease["closed_at"] is not None) == is_over
        seconds = float(attempt["usage"].get("running_s", 0.0))
        cost = Price.stored(lease["price_micro_eur_per_gpu_h"], lease["price_micro_eur_per_gpu_s"]).cost(
            lease["gpus"], seconds
        )
        assert lease["cost_micro_eur"] == cost.micro_eur


def _every_act_has_one_entry(lab: Lab, jobs: list[Row], attempts: list[Row]) -> None:
    found = Counter(
        (row[0], row[1]) for row in lab.rows("select act, coalesce(body ->> 'attempt', subject) from audit_entry")
    )
    for job in jobs:
        assert found["job_accepted", job["id"]] == 1
        assert found["cancel_requested", job["id"]] == (job["cancel_requested_at"] is not None)
    for attempt in attempts:
        is_over = attempt["state"] == "ended"
        assert found["grant_issued", attempt["id"]] == 1
        assert found["grant_redeemed", attempt["id"]] == (attempt["redeemed_at"] is not None)
        assert found["grant_revoked", attempt["id"]] + found["grant_denied", attempt["id"]] <= 1
        assert found["grant_revoked", attempt["id"]] == 1 or attempt["stop_reason"] != "fenced"
        assert found["attempt_ended", attempt["id"]] == (is_over and attempt["result"] != "fenced")
        assert found["attempt_fenced", attempt["id"]] == (is_over and attempt["result"] == "fenced")


def _one_attempt_published(lab: Lab) -> None:
    rows = lab.rows(
        "select r.job_id, array_agg(distinct r.attempt_id), array_agg(distinct a.result) from artifact r"
        " join attempt a on a.id = r.attempt_id where r.kind = 'output' group by r.job_id"
    )
    for job, makers, results in rows:
        assert len(makers) == 1, job
        assert results == ["succeeded"], job


def _certificates_are_wanted_by_what_ended(lab: Lab, jobs: list[Row]) -> None:
    wanted = {row[0] for row in lab.rows("select job_id from certificate")}
    assert wanted == {job["id"] for job in jobs if job["finished_at"] is not None}
