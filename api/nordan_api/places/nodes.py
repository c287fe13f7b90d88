"""Nodes as operators see them, and what they say about them: cordon, drain, uncordon."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from nordan_api.context import Context
from nordan_core.domain.attempts import Ending
from nordan_core.domain.errors import NotFound
from nordan_core.domain.ids import NodeName, PoolName
from nordan_core.domain.places import Amounts, Hold, Node, Pool, Region
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptResult, AttemptState
from nordan_core.domain.tenants import Principal
from nordan_core.store.audit import Act, AuditEntry
from nordan_core.store.unit_of_work import UnitOfWork

Json = dict[str, Any]  # Any: JSON
Verb = Literal["cordon", "drain", "uncordon"]
_HOLDS = {"cordon": Hold.CORDONED, "drain": Hold.DRAINING, "uncordon": Hold.NONE}
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Target:
    """A node of a pool, or the pool itself."""

    pool: str
    node: str | None = None

    def __str__(self) -> str:
        return f"pool:{self.pool}" if self.node is None else f"node:{self.pool}/{self.node}"


class HoldRequest(BaseModel):
    """Why, for whoever looks at the nodes later."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    reason: Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""


class DrainRequest(HoldRequest):
    """What becomes of what runs there: it goes on to its end unless `grace_s` is given."""

    grace_s: Annotated[float, Field(ge=0, le=_DAY_S, allow_inf_nan=False)] | None = None
    """Seconds from SIGTERM to SIGKILL; the attempts end as `preempted` and are tried again elsewhere."""


def list_nodes(context: Context) -> list[Json]:
    """Return all nodes with what a job could get of each, and why those that take no work do not."""
    with context.store.begin() as work:
        regions = {region.code: region for region in work.places.regions()}
        pools = {pool.name: pool for pool in work.places.pools()}
        nodes = work.nodes.all()
    return [_view(node, pools[node.pool], regions[pools[node.pool].region]) for node in nodes]


def hold(context: Context, principal: Principal, target: Target, verb: Verb, wanted: HoldRequest) -> Json:
    """Cordon, drain or uncordon a node, or a pool with the nodes that it will have; returns how many attempts hold it.

    Raises:
        NotFound: no such pool, or no such node in it.
    """
    grace_s = wanted.grace_s if isinstance(wanted, DrainRequest) else None
    pool, node = target.pool, target.node
    at = (PoolName(pool), None if node is None else NodeName(node))
    with context.store.begin() as work:
        if not work.nodes.hold(*at, _HOLDS[verb], wanted.reason):
            raise NotFound("pool" if node is None else "node", pool if node is None else f"{pool}/{node}")
        running = work.nodes.attempts_on(*at)
        body: dict[str, object] = {"verb": verb, "reason": wanted.reason, "attempts": len(running)}
        if grace_s is not None:
            body["grace_s"] = grace_s
        work.audit.write(AuditEntry(Act.NODES_HELD, str(target), principal.key, context.clock.now(), None, body))
        work.notify("nordan_queue")
    if grace_s is not None:
        # On its own, after no new attempt can be placed there: rows of attempts come before those of nodes.
        with context.store.begin() as work:
            _stop(work, *at, Stop(grace_s, principal.key, context.clock.now()))
    return {"pool": pool, "node": node, "hold": _HOLDS[verb].value, "attempts": len(running)}


@dataclass(frozen=True, slots=True)
class Stop:
    """Who wants attempts stopped, when, and how long they have."""

    grace_s: float
    actor: str
    now: datetime


def _stop(work: UnitOfWork, pool: PoolName, node: NodeName | None, stop: Stop) -> None:
    known = next(one for one in work.places.pools() if one.name == pool)
    waiting = []
    for attempt, locked in work.attempts.lock_reported(known.region, work.nodes.attempts_on(pool, node)).items():
        if locked.attempt.state is AttemptState.PLACED:
            # Nobody redeemed its grant, so nothing runs: closing the grant makes sure that nothing ever will.
            waiting.append(Ending(attempt, AttemptResult.PREEMPTED, Reason.PREEMPTED))
        else:
            work.attempts.ask_to_stop(attempt, Reason.PREEMPTED, stop.grace_s)
    work.attempts.close(waiting, stop.now, actor=stop.actor)


def _view(node: Node, pool: Pool, region: Region) -> Json:
    report = node.report
    seen_at = node.gone_at or (region.nodes_seen_at if report is not None else region.seen_at)
    return {
        "name": node.name,
        "pool": node.pool,
        "region": pool.region,
        "state": node.state.value,
        "reason": node.reason(pool.hold, pool.hold_reason),
        "hold": node.hold.value,
        "pool_hold": pool.hold.value,
        "is_unverified": report is not None and report.is_unverified,
        "gpus": node.gpus,
        "gpus_free": node.free_gpus,
        "cpus": node.cpus,
        "cpus_free": node.placeable_cpus,
        "memory_mib": node.memory_mib,
        "memory_mib_free": node.placeable_memory_mib,
        "offered": None if report is None else _amounts(report.offered),
        "foreign": None if report is None else _amounts(report.foreign),
        "block": report.block if report is not None else "",
        "rack": report.rack if report is not None else "",
        "seen_at": seen_at.isoformat() if seen_at is not None else None,
    }


def _amounts(amounts: Amounts) -> Json:
    return {"gpus": amounts.gpus, "cpus": amounts.cpu_milli / 1000, "memory_mib": amounts.memory_mib}
