"""Builders for what the scheduler plans with; every argument has a default that fits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from nordan_core.domain.ids import JobId, NodeName, OrganisationId, PoolName, ProjectId, RegionCode
from nordan_core.domain.jobs import Objective, Resources
from nordan_core.domain.money import Price
from nordan_core.domain.queueing import NodeFree, PoolState, QueuedJob, Residency
from nordan_core.domain.reasons import Reason
from nordan_core.domain.refusals import Refusal
from nordan_scheduler.engine.snapshot import Snapshot

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ANYWHERE = "anywhere"
ACME, OTHER = OrganisationId("org_acme"), OrganisationId("org_other")


def a_job(
    name: str = "one",
    *,
    gpus: int = 1,
    nodes: int = 1,
    models: tuple[str, ...] = (),
    cpus: int = 1,
    memory_mib: int = 1024,
    age_s: float = 0,
    priority: int = 0,
    policy: str = ANYWHERE,
    objective: Objective = Objective.START,
    max_price: int | None = None,
    data: Iterable[str] | None = None,
    organisation: OrganisationId = ACME,
) -> QueuedJob:
    """Return a waiting job of one GPU, unless told otherwise."""
    return QueuedJob(
        id=JobId(f"job_{name}"),
        organisation=organisation,
        project=ProjectId("prj_one"),
        version=1,
        policy_digest=policy,
        resources=Resources(gpus, models, cpus, memory_mib),
        nodes=nodes,
        created_at=NOW - timedelta(seconds=age_s),
        priority=priority,
        objective=objective,
        max_price=None if max_price is None else Price(max_price),
        data_regions=None if data is None else frozenset(RegionCode(one) for one in data),
    )


def a_pool(
    name: str = "p1",
    *,
    region: str = "fr-bru-1",
    accelerator: str = "H100",
    gpus_per_node: int = 8,
    price: int = 700,
    is_single: bool = False,
    is_idle: bool = True,
    tenant: OrganisationId | None = None,
    is_answering: bool = True,
) -> PoolState:
    """Return a pool of 8-GPU nodes that takes any tenant."""
    return PoolState(
        name=PoolName(name),
        region=RegionCode(region),
        provider="auvergne-calcul",
        accelerator=accelerator,
        gpus_per_node=gpus_per_node,
        price=Price(price),
        is_single=is_single,
        is_idle=is_idle,
        tenant=tenant,
        is_answering=is_answering,
    )


def a_node(
    name: str = "p1-0", *, pool: str = "p1", free: int = 8, cpus: int = 64, memory_mib: int = 1 << 20
) -> NodeFree:
    """Return a node with `free` GPUs that nobody holds."""
    return NodeFree(NodeName(name), PoolName(pool), (1 << free) - 1, cpus, memory_mib)


def nodes_of(pool: str, frees: Iterable[int]) -> tuple[NodeFree, ...]:
    """Return nodes `<pool>-<n>` with so many free GPUs each."""
    return tuple(a_node(f"{pool}-{number}", pool=pool, free=free) for number, free in enumerate(frees))


def allowing(*pools: str, refusing: Mapping[str, Refusal] | None = None, is_exclusive: bool = False) -> Residency:
    """Return the word of a judge that lets these pools through."""
    refusals = {PoolName(name): (refusal,) for name, refusal in (refusing or {}).items()}
    return Residency(frozenset(PoolName(one) for one in pools), refusals, is_exclusive=is_exclusive)


def outside(want: str = "FR or SE", have: str = "NO") -> Refusal:
    """Return the judge's refusal of a place outside the policy."""
    return Refusal(Reason.RESIDENCY_UNSATISFIABLE, facet="process", want=want, have=have)


def a_snapshot(
    jobs: Iterable[QueuedJob],
    pools: Iterable[PoolState] | None = None,
    nodes: Iterable[NodeFree] | None = None,
    residency: Mapping[str, Residency] | None = None,
) -> Snapshot:
    """Return a snapshot; by default one pool with one free node, and a policy that lets every pool through."""
    all_pools = tuple(pools) if pools is not None else (a_pool(),)
    all_nodes = tuple(nodes) if nodes is not None else (a_node(),)
    anywhere = allowing(*(pool.name for pool in all_pools))
    return Snapshot(tuple(jobs), all_pools, all_nodes, {ANYWHERE: anywhere, **(residency or {})}, NOW)
