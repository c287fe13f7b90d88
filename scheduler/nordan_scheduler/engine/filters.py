"""Why a pool is not for a job: one small function per rule. Law comes first, so that nothing can trade it off.

A rule returns a refusal or None. `FIXED` rules hold for a whole plan; `bound_to_another` and `short_of_nodes` change
while GPUs are handed out.
"""

from __future__ import annotations

from collections.abc import Callable

from nordan_core.domain.ids import OrganisationId
from nordan_core.domain.queueing import PoolState, QueuedJob, Residency
from nordan_core.domain.reasons import Reason
from nordan_core.domain.refusals import Refusal

Rule = Callable[[QueuedJob, PoolState, Residency], Refusal | None]


def outside_residency(_job: QueuedJob, pool: PoolState, residency: Residency) -> Refusal | None:
    """Refuse a pool that the judge did not let through, with its first finding."""
    if pool.name in residency.allowed:
        return None
    findings = residency.refusals.get(pool.name)
    return findings[0] if findings else Refusal(Reason.RESIDENCY_UNSATISFIABLE, facet="unjudged")


def without_data(job: QueuedJob, pool: PoolState, _residency: Residency) -> Refusal | None:
    """Refuse a pool whose region lacks an input or the checkpoint to resume from."""
    if job.data_regions is None or pool.region in job.data_regions:
        return None
    held = ", ".join(sorted(job.data_regions)) or "no region"
    return Refusal(Reason.DATA_NOT_IN_REGION, facet="inputs", want=held)


def over_price(job: QueuedJob, pool: PoolState, _residency: Residency) -> Refusal | None:
    """Refuse a pool that costs more than the job's cap."""
    if job.max_price is None or pool.price <= job.max_price:
        return None
    want, have = (f"{price.eur_per_gpu_h} EUR per GPU-hour" for price in (job.max_price, pool.price))
    return Refusal(Reason.PRICE_CAP, facet="max_price", want=f"at most {want}", have=have)


def other_accelerator(job: QueuedJob, pool: PoolState, _residency: Residency) -> Refusal | None:
    """Refuse a pool of a GPU model that the job did not name."""
    if not job.resources.accelerators or pool.accelerator in job.resources.accelerators:
        return None
    want = " or ".join(job.resources.accelerators)
    return Refusal(Reason.NO_CAPACITY, facet="accelerator", want=want, have=pool.accelerator)


def nodes_too_small(job: QueuedJob, pool: PoolState, _residency: Residency) -> Refusal | None:
    """Refuse a pool whose nodes never have enough GPUs."""
    if job.resources.gpus <= pool.gpus_per_node:
        return None
    want, have = f"{job.resources.gpus} GPUs per node", f"{pool.gpus_per_node} GPUs per node"
    return Refusal(Reason.NO_CAPACITY, facet="gpus_per_node", want=want, have=have)


def silent_region(_job: QueuedJob, pool: PoolState, _residency: Residency) -> Refusal | None:
    """Refuse a pool whose region has not joined or was not heard of lately: a grant would only wait there."""
    if pool.is_answering:
        return None
    return Refusal(Reason.NO_CAPACITY, facet="region", want="a region that answers", have="silent")


#: In this order: what law forbids, what the owner's data and purse rule out, what the hardware cannot do, what is away.
FIXED: tuple[Rule, ...] = (
    outside_residency,
    without_data,
    over_price,
    other_accelerator,
    nodes_too_small,
    silent_region,
)


def bound_to_another(
    job: QueuedJob, *, tenant: OrganisationId | None, is_idle: bool, is_exclusive: bool
) -> Refusal | None:
    """Refuse a pool that serves another organisation alone, or that others use while the job wants it alone."""
    if tenant is not None and tenant != job.organisation:
        return Refusal(
            Reason.REJECTED_BY_POLICY, facet="tenancy", want="a pool of its own", have="another organisation's jobs"
        )
    if is_exclusive and tenant is None and not is_idle:
        return Refusal(Reason.NO_CAPACITY, facet="tenancy", want="a pool of its own", have="in use")
    return None


def short_of_nodes(job: QueuedJob, found: int) -> Refusal | None:
    """Refuse a pool with too few nodes that have room now."""
    if found >= job.nodes:
        return None
    if found == 0:
        return Refusal(Reason.NO_CAPACITY, facet="free", want=_room(job))
    return Refusal(Reason.GANG_INCOMPLETE, facet="nodes", want=f"{job.nodes} nodes, each with {_room(job)}")


def _room(job: QueuedJob) -> str:
    need = job.resources
    return f"{need.gpus} GPUs, {need.cpus} CPUs and {need.memory_mib} MiB free"
