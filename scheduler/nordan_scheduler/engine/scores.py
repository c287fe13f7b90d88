"""Which of several lawful pools that fit is best: a sort key per objective, the smallest wins."""

from __future__ import annotations

from nordan_core.domain.ids import PoolName
from nordan_core.domain.jobs import Objective
from nordan_core.domain.queueing import PoolState

Score = tuple[int, int, PoolName]


def score(objective: Objective, pool: PoolState, leftover_gpus: int) -> Score:
    """Return the key of a candidate; the pool's name breaks ties."""
    price = pool.price.micro_eur_per_gpu_h
    if objective is Objective.COST:
        # Cheapest first; among equals the one that leaves the fewest GPUs over.
        return (price, leftover_gpus, pool.name)
    # Leave the fewest GPUs over, so that large gangs find whole nodes; among equals the cheaper.
    return (leftover_gpus, price, pool.name)
