"""What holds for every plan, whatever the world looks like."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import replace
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from nordan_core.domain.jobs import Objective
from nordan_core.domain.queueing import NodeFree, PoolState, QueuedJob
from nordan_scheduler.engine.filters import FIXED
from nordan_scheduler.engine.plan import plan
from nordan_scheduler.engine.snapshot import Snapshot
from support.queueing import NOW, OTHER, a_job, a_node, a_pool, a_snapshot, allowing

Item = TypeVar("Item")
REGIONS = ("fr-bru-1", "se-bor-1")
POLICIES = ("wide", "narrow", "alone", "none")


@st.composite
def pools(draw: st.DrawFn) -> list[PoolState]:
    count = draw(st.integers(0, 4))
    return [
        a_pool(
            f"p{number}",
            region=draw(st.sampled_from(REGIONS)),
            accelerator=draw(st.sampled_from(("H100", "H200"))),
            price=draw(st.integers(1, 4)),
            is_single=draw(st.booleans()),
            is_idle=(is_idle := draw(st.booleans())),
            tenant=None if is_idle else draw(st.sampled_from((None, OTHER))),
            is_answering=draw(st.booleans()),
        )
        for number in range(count)
    ]


@st.composite
def nodes(draw: st.DrawFn, of: list[PoolState]) -> list[NodeFree]:
    made = []
    for pool in of:
        for number in range(draw(st.integers(0, 4))):
            node = a_node(f"{pool.name}-{number}", pool=pool.name, cpus=draw(st.integers(0, 6)))
            made.append(replace(node, free_mask=draw(st.integers(0, 255))))
    return made


@st.composite
def jobs(draw: st.DrawFn) -> list[QueuedJob]:
    return [
        a_job(
            str(number),
            gpus=draw(st.integers(1, 9)),
            nodes=draw(st.integers(1, 3)),
            models=draw(st.sampled_from(((), ("H100",), ("H100", "H200")))),
            age_s=draw(st.integers(0, 3)),
            priority=draw(st.integers(0, 2)),
            policy=draw(st.sampled_from(POLICIES)),
            objective=draw(st.sampled_from(Objective)),
            max_price=draw(st.sampled_from((None, 1, 3))),
            data=draw(st.sampled_from((None, (), REGIONS[:1], REGIONS))),
            organisation=draw(st.sampled_from((OTHER, a_job().organisation))),
        )
        for number in range(draw(st.integers(0, 12)))
    ]


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    there = draw(pools())
    names = [pool.name for pool in there]
    residency = {
        "wide": allowing(*names),
        "narrow": allowing(*names[:2]),
        "alone": allowing(*names, is_exclusive=True),
    }
    return a_snapshot(draw(jobs()), there, draw(nodes(there)), residency)


@given(snapshots())
def test_nothing_is_taken_twice_or_beyond_what_is_free(snapshot: Snapshot) -> None:
    masks = {node.name: node.free_mask for node in snapshot.nodes}
    cpus = {node.name: node.free_cpus for node in snapshot.nodes}
    for decision in plan(snapshot, NOW, 1).decisions:
        for rank in decision.placement.ranks:
            assert rank.gpu_mask & ~masks[rank.node] == 0
            masks[rank.node] &= ~rank.gpu_mask
            cpus[rank.node] -= decision.job.resources.cpus
    assert all(left >= 0 for left in cpus.values())


@given(snapshots())
def test_a_gang_is_whole_and_in_one_pool(snapshot: Snapshot) -> None:
    pool_of = {node.name: node.pool for node in snapshot.nodes}
    for decision in plan(snapshot, NOW, 1).decisions:
        ranks = decision.placement.ranks
        assert [rank.rank for rank in ranks] == list(range(decision.job.nodes))
        assert len({rank.node for rank in ranks}) == decision.job.nodes
        assert {pool_of[rank.node] for rank in ranks} == {decision.placement.pool.name}
        assert all(rank.gpu_mask.bit_count() == decision.job.resources.gpus for rank in ranks)


@given(snapshots())
def test_every_fixed_rule_allows_every_decision(snapshot: Snapshot) -> None:
    for decision in plan(snapshot, NOW, 1).decisions:
        said = snapshot.verdict(decision.job, NOW)
        assert decision.placement.pool.name in said.allowed
        assert [rule(decision.job, decision.placement.pool, said) for rule in FIXED] == [None] * len(FIXED)


@given(snapshots())
def test_a_pool_that_one_organisation_has_alone_takes_no_second(snapshot: Snapshot) -> None:
    inside: defaultdict[str, set[str]] = defaultdict(set)
    alone: set[str] = set()
    for pool in snapshot.pools:
        if pool.tenant is not None:
            inside[pool.name].add(pool.tenant)
            alone.add(pool.name)
    for decision in plan(snapshot, NOW, 1).decisions:
        place = decision.placement
        inside[place.pool.name].add(decision.job.organisation)
        if place.pool.is_single or snapshot.verdict(decision.job, NOW).is_exclusive:
            alone.add(place.pool.name)
            assert place.tenant == decision.job.organisation
    assert all(len(inside[name]) == 1 for name in alone)


@given(snapshots())
def test_every_job_is_placed_or_refused_and_none_both(snapshot: Snapshot) -> None:
    decided = plan(snapshot, NOW, 1)
    named = [one.job.id for one in decided.decisions] + [one.job for one in decided.unplaced]
    assert sorted(named) == sorted(job.id for job in snapshot.jobs)


@given(snapshots())
def test_a_refusal_counts_every_pool_once(snapshot: Snapshot) -> None:
    for waiting in plan(snapshot, NOW, 1).unplaced:
        assert sum(refusal.count for refusal in waiting.refusals) == max(1, len(snapshot.pools))
        assert waiting.reason in {refusal.code for refusal in waiting.refusals}


@given(snapshots(), st.integers(0, 2**32))
def test_the_order_of_the_input_does_not_matter(snapshot: Snapshot, shuffle: int) -> None:
    chance = random.Random(shuffle)

    other = replace(
        snapshot,
        jobs=_mixed(chance, snapshot.jobs),
        pools=_mixed(chance, snapshot.pools),
        nodes=_mixed(chance, snapshot.nodes),
    )
    assert plan(snapshot, NOW, 3) == plan(other, NOW, 3)


@given(snapshots(), st.integers(0, 2**31))
def test_the_same_seed_gives_the_same_plan(snapshot: Snapshot, seed: int) -> None:
    assert plan(snapshot, NOW, seed) == plan(snapshot, NOW, seed)


@given(snapshots())
def test_the_first_in_the_queue_waits_only_when_no_pool_has_room(snapshot: Snapshot) -> None:
    decided = plan(snapshot, NOW, 1)
    if not snapshot.jobs or not decided.unplaced:
        return
    first = min(snapshot.jobs, key=lambda job: (-job.priority, job.created_at, job.id))
    alone = plan(replace(snapshot, jobs=(first,)), NOW, 1)
    assert bool(alone.decisions) == any(one.job.id == first.id for one in decided.decisions)


def _mixed(chance: random.Random, values: tuple[Item, ...]) -> tuple[Item, ...]:
    return tuple(chance.sample(values, len(values)))
