"""Answer "where could this job run, and why not elsewhere": pool by pool, with every reason and not only the first.

Used by the read-only port for `jobs:plan` and `why`. It places nothing and knows nothing of the queue before the job.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from nordan_core.domain.ids import PoolName, RegionCode
from nordan_core.domain.money import Price
from nordan_core.domain.queueing import PoolState, QueuedJob, Residency
from nordan_core.domain.reasons import Reason
from nordan_core.domain.refusals import Refusal
from nordan_scheduler.engine.filters import FIXED, bound_to_another, outside_residency, short_of_nodes, without_data
from nordan_scheduler.engine.plan import plan, shelves
from nordan_scheduler.engine.shelf import Shelf
from nordan_scheduler.engine.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class PoolAnswer:
    """One pool's answer."""

    region: RegionCode
    pool: PoolName
    price: Price
    is_allowed: bool
    """The judge lets the job run there."""
    holds_inputs: bool
    fits_now: bool
    """Nothing stands against it: a grant could be issued at once."""
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """All pools' answers, by region and name, and the pool that would be taken if the job were alone in the queue."""

    pools: tuple[PoolAnswer, ...]
    chosen: PoolName | None


def explain(snapshot: Snapshot, job: QueuedJob, now: datetime, seed: int) -> Explanation:
    """Try a job against every pool of a snapshot."""
    residency = snapshot.verdict(job, now)
    free = shelves(snapshot.nodes, seed)
    pools = sorted(snapshot.pools, key=lambda pool: (pool.region, pool.name))
    answers = tuple(_answer(job, pool, residency, free.get(pool.name)) for pool in pools)
    alone = Snapshot((job,), snapshot.pools, snapshot.nodes, snapshot.residency, snapshot.taken_at)
    decisions = plan(alone, now, seed).decisions
    return Explanation(answers, decisions[0].placement.pool.name if decisions else None)


def sentence(refusal: Refusal) -> str:
    """Return a refusal as a person reads it."""
    text = _SENTENCES.get(refusal.code, refusal.code.replace("_", " "))
    about = f" ({refusal.facet})" if refusal.facet else ""
    want = f": wants {refusal.want}" if refusal.want else ""
    have = f"{',' if want else ':'} has {refusal.have}" if refusal.have else ""
    return f"{text}{about}{want}{have}"


_SENTENCES = {
    Reason.RESIDENCY_UNSATISFIABLE: "the policy does not allow this pool",
    Reason.REJECTED_BY_POLICY: "the pool does not take this job",
    Reason.DATA_NOT_IN_REGION: "the region does not hold all the data",
    Reason.PRICE_CAP: "the pool costs too much",
    Reason.NO_CAPACITY: "the pool has no room",
    Reason.GANG_INCOMPLETE: "the pool has room for a part of the gang only",
}


def _answer(job: QueuedJob, pool: PoolState, residency: Residency, shelf: Shelf | None) -> PoolAnswer:
    refusals = _refusals(job, pool, residency, shelf)
    return PoolAnswer(
        region=pool.region,
        pool=pool.name,
        price=pool.price,
        is_allowed=pool.name in residency.allowed,
        holds_inputs=without_data(job, pool, residency) is None,
        fits_now=not refusals,
        refusals=refusals,
    )


def _refusals(job: QueuedJob, pool: PoolState, residency: Residency, shelf: Shelf | None) -> tuple[Refusal, ...]:
    found: list[Refusal] = []
    if pool.name not in residency.allowed:
        found.extend(residency.refusals.get(pool.name) or ())
    for rule in FIXED:
        refusal = rule(job, pool, residency)
        if refusal is not None and not (rule is outside_residency and found):
            found.append(refusal)
    fit = len(shelf.pick(job.resources, job.nodes)) if shelf is not None else 0
    bound = bound_to_another(job, tenant=pool.tenant, is_idle=pool.is_idle, is_exclusive=residency.is_exclusive)
    found.extend(refusal for refusal in (bound, short_of_nodes(job, fit)) if refusal is not None)
    return tuple(found)
