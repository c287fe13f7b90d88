from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from nordan_core.domain.jobs import Objective
from nordan_core.domain.queueing import NodeFree, PoolState, QueuedJob, Residency
from nordan_core.domain.reasons import Reason
from nordan_scheduler.engine.plan import Plan, plan
from nordan_scheduler.engine.snapshot import Snapshot
from support.queueing import (
    ACME,
    NOW,
    OTHER,
    a_job,
    a_node,
    a_pool,
    a_snapshot,
    allowing,
    nodes_of,
    outside,
)


def _plan(snapshot: Snapshot) -> Plan:
    return plan(snapshot, NOW, 7)


def _pool_of(decided: Plan) -> str:
    [decision] = decided.decisions
    return decision.placement.pool.name


def test_higher_priority_goes_first_then_age_then_id() -> None:
    jobs = [
        a_job("young", age_s=1, gpus=4),
        a_job("old", age_s=100, gpus=4),
        a_job("urgent", priority=10, gpus=4),
        a_job("twin", age_s=1, gpus=4),
    ]
    decided = _plan(a_snapshot(jobs, nodes=[a_node(free=8)]))
    assert [one.job.id for one in decided.decisions] == ["job_urgent", "job_old"]
    assert [one.job for one in decided.unplaced] == ["job_twin", "job_young"]


def test_a_job_behind_a_blocked_one_may_pass_it() -> None:
    decided = _plan(a_snapshot([a_job("large", gpus=8, age_s=9), a_job("small")], nodes=[a_node(free=4)]))
    assert [one.job.id for one in decided.decisions] == ["job_small"]


def test_best_fit_leaves_whole_nodes_whole() -> None:
    decided = _plan(a_snapshot([a_job(gpus=2)], nodes=nodes_of("p1", [8, 3, 5])))
    assert decided.decisions[0].placement.ranks[0].node == "p1-1"


def test_a_gang_takes_distinct_nodes_of_one_pool_ranks_in_order() -> None:
    pools = [a_pool("p1"), a_pool("p2")]
    nodes = [*nodes_of("p1", [8]), *nodes_of("p2", [8, 8, 8])]
    [decision] = _plan(a_snapshot([a_job(gpus=8, nodes=3)], pools, nodes)).decisions
    assert decision.placement.pool.name == "p2"
    assert [rank.rank for rank in decision.placement.ranks] == [0, 1, 2]
    assert len({rank.node for rank in decision.placement.ranks}) == 3


def test_a_gang_that_would_need_two_pools_waits_whole() -> None:
    pools = [a_pool("p1"), a_pool("p2")]
    nodes = [*nodes_of("p1", [8]), *nodes_of("p2", [8])]
    decided = _plan(a_snapshot([a_job(gpus=8, nodes=2)], pools, nodes))
    assert not decided.decisions
    [waiting] = decided.unplaced
    assert waiting.reason is Reason.GANG_INCOMPLETE
    assert waiting.refusals[0].count == 2


def test_objective_cost_takes_the_cheapest_pool_and_start_the_best_fit() -> None:
    pools = [a_pool("cheap", price=500), a_pool("snug", price=900)]
    nodes = [*nodes_of("cheap", [8]), *nodes_of("snug", [2])]
    assert _pool_of(_plan(a_snapshot([a_job(gpus=2, objective=Objective.COST)], pools, nodes))) == "cheap"
    assert _pool_of(_plan(a_snapshot([a_job(gpus=2, objective=Objective.START)], pools, nodes))) == "snug"


def test_among_equal_fits_the_cheaper_pool_wins() -> None:
    pools = [a_pool("dear", price=900), a_pool("fair", price=600)]
    nodes = [*nodes_of("dear", [8]), *nodes_of("fair", [8])]
    assert _pool_of(_plan(a_snapshot([a_job(gpus=8)], pools, nodes))) == "fair"


OUTSIDE, FULL = Reason.RESIDENCY_UNSATISFIABLE, Reason.NO_CAPACITY
THEIRS = a_pool(tenant=OTHER, is_idle=False)
REFUSED: dict[str, tuple[QueuedJob, list[PoolState], list[NodeFree], Reason, str]] = {
    "the judge forbids the pool": (a_job(policy="strict"), [a_pool()], [a_node()], OUTSIDE, "process"),
    "the policy was never judged": (a_job(policy="new"), [a_pool()], [a_node()], OUTSIDE, "unjudged"),
    "the data lie elsewhere": (a_job(data=["se-bor-1"]), [a_pool()], [a_node()], Reason.DATA_NOT_IN_REGION, "inputs"),
    "the data lie nowhere": (a_job(data=[]), [a_pool()], [a_node()], Reason.DATA_NOT_IN_REGION, "inputs"),
    "the pool is too dear": (a_job(max_price=699), [a_pool(price=700)], [a_node()], Reason.PRICE_CAP, "max_price"),
    "the GPU is of another model": (a_job(models=("H200",)), [a_pool()], [a_node()], FULL, "accelerator"),
    "the nodes are too small": (a_job(gpus=9), [a_pool()], [a_node()], FULL, "gpus_per_node"),
    "the region is silent": (a_job(), [a_pool(is_answering=False)], [a_node()], FULL, "region"),
    "GPUs are taken": (a_job(gpus=2), [a_pool()], [a_node(free=1)], FULL, "free"),
    "CPUs are taken": (a_job(cpus=2), [a_pool()], [a_node(cpus=1)], FULL, "free"),
    "memory is taken": (a_job(memory_mib=2048), [a_pool()], [a_node(memory_mib=1024)], FULL, "free"),
    "no node takes work": (a_job(), [a_pool()], [], FULL, "free"),
    "the pool serves another": (a_job(), [THEIRS], [a_node()], Reason.REJECTED_BY_POLICY, "tenancy"),
    "others use the pool": (a_job(policy="alone"), [a_pool(is_idle=False)], [a_node()], FULL, "tenancy"),
    "there is no pool": (a_job(), [], [], FULL, "pools"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_job_waits_with_the_reason_when(case: str) -> None:
    job, pools, nodes, reason, facet = REFUSED[case]
    residency: dict[str, Residency] = {
        "strict": allowing(refusing={"p1": outside()}),
        "alone": allowing("p1", is_exclusive=True),
    }
    decided = _plan(a_snapshot([job], pools, nodes, residency))
    [waiting] = decided.unplaced
    assert (waiting.reason, waiting.refusals[0].facet, waiting.refusals[0].count) == (reason, facet, 1)


def test_the_reason_is_that_of_the_pools_that_came_furthest() -> None:
    pools = [a_pool("no-1"), a_pool("no-2"), a_pool("p1")]
    residency = {"strict": allowing("p1", refusing={"no-1": outside(), "no-2": outside()})}
    [waiting] = _plan(a_snapshot([a_job(policy="strict")], pools, nodes_of("p1", [0]), residency)).unplaced
    assert waiting.reason is Reason.NO_CAPACITY
    assert [(one.code, one.count) for one in waiting.refusals] == [
        (Reason.RESIDENCY_UNSATISFIABLE, 2),
        (Reason.NO_CAPACITY, 1),
    ]


def test_a_verdict_past_its_date_lets_nothing_through() -> None:
    stale = replace(allowing("p1"), good_until=NOW)
    assert not _plan(a_snapshot([a_job(policy="p")], residency={"p": stale})).decisions
    fresh = replace(allowing("p1"), good_until=NOW + timedelta(seconds=1))
    assert _plan(a_snapshot([a_job(policy="p")], residency={"p": fresh})).decisions


def test_a_single_tenant_pool_takes_one_organisation_within_one_plan() -> None:
    jobs = [a_job("first", age_s=9), a_job("theirs", age_s=8, organisation=OTHER), a_job("second")]
    decided = _plan(a_snapshot(jobs, [a_pool(is_single=True)]))
    assert [one.job.id for one in decided.decisions] == ["job_first", "job_second"]
    assert {one.placement.tenant for one in decided.decisions} == {ACME}
    assert decided.unplaced[0].reason is Reason.REJECTED_BY_POLICY


def test_a_shared_pool_is_bound_to_nobody() -> None:
    decided = _plan(a_snapshot([a_job("ours"), a_job("theirs", organisation=OTHER)]))
    assert {one.placement.tenant for one in decided.decisions} == {None}


def test_equal_jobs_that_failed_once_share_the_answer() -> None:
    first, second = _plan(a_snapshot([a_job("a", gpus=9), a_job("b", gpus=9)])).unplaced
    assert first.refusals is second.refusals
