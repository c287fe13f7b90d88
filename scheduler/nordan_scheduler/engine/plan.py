"""Decide which waiting jobs start, and where: greedy in queue order, gangs whole or not at all.

Called by the cycle on the live snapshot. The same snapshot and seed always give the same plan.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from nordan_core.domain.ids import OrganisationId, PoolName
from nordan_core.domain.jobs import Objective, Resources
from nordan_core.domain.money import Price
from nordan_core.domain.queueing import Decision, NodeFree, Placement, PoolState, QueuedJob, Residency, Unplaced
from nordan_core.domain.reasons import Reason, tier
from nordan_core.domain.refusals import Refusal, tally
from nordan_scheduler.engine.filters import FIXED, bound_to_another, outside_residency, short_of_nodes
from nordan_scheduler.engine.order import order
from nordan_scheduler.engine.scores import Score, score
from nordan_scheduler.engine.shelf import Shelf
from nordan_scheduler.engine.snapshot import Snapshot

Form = tuple[OrganisationId, Resources, int, Objective, Price | None, frozenset[str] | None]
"""All but the law."""
Shape = tuple[str, OrganisationId, Resources, int, Objective, Price | None, frozenset[str] | None]


#: The law is the first of the fixed rules.
_AFTER_LAW = FIXED[1:]


@dataclass(frozen=True, slots=True)
class Plan:
    """Each job of the snapshot stands in exactly one of the two."""

    decisions: tuple[Decision, ...]
    unplaced: tuple[Unplaced, ...]


def plan(snapshot: Snapshot, now: datetime, seed: int) -> Plan:
    """Place as many jobs as fit, in queue order; jobs behind a blocked one may pass it."""
    planner = _Planner(snapshot, now, seed)
    decisions: list[Decision] = []
    unplaced: list[Unplaced] = []
    for job in order(snapshot.jobs):
        outcome = planner.place(job)
        if isinstance(outcome, Placement):
            decisions.append(Decision(job, outcome))
        else:
            unplaced.append(Unplaced(job.id, job.version, outcome.reason, outcome.refusals))
    return Plan(tuple(decisions), tuple(unplaced))


def shape(job: QueuedJob) -> Shape:
    """Return all that placing depends on: two jobs of one shape fail for the same reasons."""
    return (
        job.residency_key,
        job.organisation,
        job.resources,
        job.nodes,
        job.objective,
        job.max_price,
        job.data_regions,
    )


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: Reason
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Pools that pass the fixed rules after the law, cheapest first, and why the others do not.

    The law is asked pool by pool as they come: jobs that differ in their policies alone share their candidates, and one
    that is placed at the first pool asks about no other.
    """

    pools: tuple[PoolState, ...]
    refusals: tuple[tuple[PoolState, int, Refusal], ...]
    """With the number of the rule: the further a pool came, the nearer it is to what the job waits for."""


class _Planner:
    """A plan under way: what is still free, who holds which pool, which shapes have failed."""

    def __init__(self, snapshot: Snapshot, now: datetime, seed: int) -> None:
        self._snapshot = snapshot
        self._now = now
        self._shelves = shelves(snapshot.nodes, seed)
        self._tenants = {pool.name: pool.tenant for pool in snapshot.pools}
        self._busy = {pool.name for pool in snapshot.pools if not pool.is_idle}
        self._candidates: dict[Form, _Candidates] = {}
        self._failures: dict[Shape, _Failure] = {}

    def place(self, job: QueuedJob) -> Placement | _Failure:
        """Place one job, or say why not. Capacity only shrinks, so a shape that failed once fails for the plan."""
        key = shape(job)
        if key in self._failures:
            return self._failures[key]
        residency = self._snapshot.verdict(job, self._now)
        form = key[1:]
        if form not in self._candidates:
            self._candidates[form] = _candidates(job, self._snapshot.pools, residency)
        candidates = self._candidates[form]
        best = self._best(job, candidates.pools, residency)
        if best is None:
            self._failures[key] = _failure(self._refusals(job, candidates, residency))
            return self._failures[key]
        return self._take(job, *best, residency)

    def _best(
        self, job: QueuedJob, pools: Iterable[PoolState], residency: Residency
    ) -> tuple[PoolState, list[int]] | None:
        best: tuple[Score, PoolState, list[int]] | None = None
        for pool in pools:
            if best is not None and _is_settled(job, best[0], pool):
                break
            if pool.name not in residency.allowed:
                continue
            refusal, chosen = self._try(job, pool, residency)
            if refusal is not None:
                continue
            found = score(job.objective, pool, self._shelves[pool.name].leftover(chosen, job.resources))
            if best is None or found < best[0]:
                best = (found, pool, chosen)
        return None if best is None else (best[1], best[2])

    def _refusals(self, job: QueuedJob, candidates: _Candidates, residency: Residency) -> list[tuple[int, Refusal]]:
        """Return why each pool was not taken, the law's word before any other."""
        told: list[tuple[int, Refusal]] = []
        for pool in self._snapshot.pools:
            unlawful = outside_residency(job, pool, residency)
            if unlawful is not None:
                told.append((0, unlawful))
        told += [(number, one) for pool, number, one in candidates.refusals if pool.name in residency.allowed]
        lawful = (pool for pool in candidates.pools if pool.name in residency.allowed)
        tried = (self._try(job, pool, residency)[0] for pool in lawful)
        return [*told, *(refusal for refusal in tried if refusal is not None)]

    def _try(
        self, job: QueuedJob, pool: PoolState, residency: Residency
    ) -> tuple[tuple[int, Refusal] | None, list[int]]:
        bound = bound_to_another(
            job,
            tenant=self._tenants[pool.name],
            is_idle=pool.name not in self._busy,
            is_exclusive=residency.is_exclusive,
        )
        if bound is not None:
            return (len(FIXED), bound), []
        shelf = self._shelves.get(pool.name)
        chosen = shelf.pick(job.resources, job.nodes) if shelf is not None else []
        short = short_of_nodes(job, len(chosen))
        return (None if short is None else (len(FIXED) + 1, short)), chosen

    def _take(self, job: QueuedJob, pool: PoolState, chosen: list[int], residency: Residency) -> Placement:
        ranks = self._shelves[pool.name].take(chosen, job.resources)
        if pool.is_single or residency.is_exclusive:
            self._tenants[pool.name] = job.organisation
        self._busy.add(pool.name)
        return Placement(pool, ranks, self._tenants[pool.name])


def shelves(nodes: Iterable[NodeFree], seed: int) -> dict[PoolName, Shelf]:
    """Return the shelf of each pool that has a node."""
    by_pool: defaultdict[PoolName, list[NodeFree]] = defaultdict(list)
    for node in nodes:
        by_pool[node.pool].append(node)
    return {pool: Shelf(group, seed) for pool, group in by_pool.items()}


def _candidates(job: QueuedJob, pools: Iterable[PoolState], residency: Residency) -> _Candidates:
    passed: list[PoolState] = []
    refused: list[tuple[PoolState, int, Refusal]] = []
    for pool in pools:
        for number, rule in enumerate(_AFTER_LAW, start=1):
            refusal = rule(job, pool, residency)
            if refusal is not None:
                refused.append((pool, number, refusal))
                break
        else:
            passed.append(pool)
    passed.sort(key=lambda pool: (pool.price, pool.name))
    return _Candidates(tuple(passed), tuple(refused))


def _is_settled(job: QueuedJob, best: Score, following: PoolState) -> bool:
    """Tell whether no pool from `following` on can win: pools come cheapest first, and 0 GPUs over is the least."""
    if job.objective is Objective.COST:
        return following.price.micro_eur_per_gpu_h > best[0] or best[1] == 0
    return best[0] == 0


def _failure(refusals: list[tuple[int, Refusal]]) -> _Failure:
    """Name what the job waits for: the refusal of the pools that came furthest, first tier first."""
    if not refusals:
        missing = Refusal(Reason.NO_CAPACITY, facet="pools", want="a pool", have="none is registered")
        return _Failure(missing.code, (missing,))
    furthest = max(number for number, _ in refusals)
    reason = min((refusal.code for number, refusal in refusals if number == furthest), key=tier)
    return _Failure(reason, tally(refusal for _, refusal in refusals))
