"""Nodes: who they are, what a job can get of them, and whether they take work.

Three voices speak of a node: the pool's document (its shape; for a pool of the local executor also which nodes there
are), the region's cluster (which nodes there are, what they offer, what foreign pods use), and an operator (cordon,
drain). None of them touches what attempts hold: `_SETTLE` derives state and shut parts from all three, in one place.
Rows are locked in ascending order of pool and name, after jobs.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text
from sqlmodel import Session, col

from nordan_core.domain.errors import Conflict
from nordan_core.domain.ids import AttemptId, NodeName, PoolName, RegionCode
from nordan_core.domain.places import Amounts, ExecutorKind, Hold, Node, NodeReport, NodeState
from nordan_core.store.tables.places import NodeRow
from nordan_core.world import PoolDocument

Document = dict[str, Any]  # Any: JSON

_LOCK_NODES = text("select name from node where pool = :pool order by name for update")
_SHORT_NODES = text(
    "select name from node where pool = :pool and (free_cpus + :cpus < cpus or free_memory_mib + :memory < memory_mib)"
    " order by name limit 3"
)
#: Those that are there are not even tried: an insert waits for whoever changes the row that it meets, in no order.
_ADD_NODES = text(
    """
    insert into node (pool, name, state, gpus, free_mask, cpus, free_cpus, memory_mib, free_memory_mib, version,
                      shut_gpus, shut_cpus, shut_memory_mib, hold, hold_reason)
    select cast(:pool as text), v.name, 'ready', :gpus, :mask, :cpus, :cpus, :memory, :memory, 1, 0, 0, 0, '', ''
    from unnest(cast(:names as text[])) as v(name)
    where not exists (select 1 from node n where n.pool = cast(:pool as text) and n.name = v.name) order by v.name
    on conflict do nothing returning name
    """
)
#: Only free capacity follows a changed size; what attempts hold stays theirs.
_RESIZE_NODES = text(
    "update node set free_cpus = free_cpus + :cpus - cpus, cpus = :cpus,"
    " free_memory_mib = free_memory_mib + :memory - memory_mib, memory_mib = :memory,"
    " version = version + 1 where pool = :pool and (cpus <> :cpus or memory_mib <> :memory)"
)
#: Nodes that are not named go, those that are named are there (again).
_KEEP_NODES = text(
    "update node set gone_at = case when name = any(:names) then null else cast(:now as timestamptz) end"
    " where pool = :pool and (gone_at is null) <> (name = any(:names))"
)
_LOCK_CHANGED = text(
    """
    select n.pool, n.name from node n
    left join jsonb_to_recordset(cast(:rows as jsonb)) as v(pool text, name text, report jsonb)
      on v.pool = n.pool and v.name = n.name
    where n.pool = any(:pools)
      and (n.gone_at is null and (v.name is null or n.report is distinct from v.report)
           or n.gone_at is not null and v.name is not null)
    order by n.pool, n.name for update of n
    """
)
_STORE_REPORTS = text(
    """
    update node n set report = v.report
    from jsonb_to_recordset(cast(:rows as jsonb)) as v(pool text, name text, report jsonb)
    where v.pool = n.pool and v.name = n.name and n.report is distinct from v.report
    """
)
#: What a node is in the end, by the voice that weighs most.
_STATE = """
    case when n.gone_at is not null or n.report ->> 'state' = 'down' then 'down'
         when 'draining' in (n.hold, p.hold, coalesce(n.report ->> 'state', '')) then 'draining'
         when 'cordoned' in (n.hold, p.hold, coalesce(n.report ->> 'state', '')) then 'cordoned'
         when coalesce((n.report ->> 'is_unverified')::boolean, false) then 'cordoned'
         else 'ready' end
"""


def _shut(width: str, offered: str) -> str:
    """Return SQL for what cannot be had of a width: what the node lacks of it, or gives to foreign pods."""
    return f"least({width}, greatest(0, {width} - coalesce({offered}, {width})))"


def _left(resource: str) -> str:
    """Return SQL for what is left to us of what a node offers; null where no cluster reports."""
    return f"((n.report -> 'offered' ->> '{resource}')::bigint - (n.report -> 'foreign' ->> '{resource}')::bigint)"


#: A node that does not know the resource still carries made-up GPUs.
_UNKNOWN_GPUS = "case when n.report is null or (p.document ->> 'has_made_up_gpus')::boolean then n.gpus else 0 end"
_SHUT_GPUS = _shut("n.gpus", f"coalesce({_left('gpus')}, {_UNKNOWN_GPUS})")
_SHUT_CPUS = _shut("n.cpus", f"floor({_left('cpu_milli')} / 1000.0)::bigint")
_SHUT_MEMORY = _shut("n.memory_mib", _left("memory_mib"))
#: What our attempts hold is not looked at, so nothing here can make free capacity negative. No join of the table with
#: itself: without statistics, as after a large pool was added, that is done row by row.
_SETTLE = text(
    f"""
    update node n set state = {_STATE}, version = n.version + (n.state <> {_STATE})::int,
           shut_gpus = {_SHUT_GPUS}, shut_cpus = {_SHUT_CPUS}, shut_memory_mib = {_SHUT_MEMORY}
    from pool p
    where p.name = n.pool and n.pool = any(:pools)
      and (n.state, n.shut_gpus, n.shut_cpus, n.shut_memory_mib)
          is distinct from ({_STATE}, {_SHUT_GPUS}, {_SHUT_CPUS}, {_SHUT_MEMORY})
    """  # noqa: S608  only the names of columns above are put in
)
_CLUSTERED = text(
    """
    select p.name, p.gpus_per_node as gpus, (p.document ->> 'cpus')::int as cpus,
           (p.document ->> 'memory_mib')::int as memory_mib, (p.document ->> 'nodes')::int as most
    from pool p join region r on r.code = p.region
    where p.region = :region and r.document ->> 'executor' = 'kubernetes' order by p.name
    """
)
_THERE = text("select pool, name from node where pool = any(:pools) and gone_at is null")
_SEE = text("update region set nodes_seen_at = :at where code = :region and nodes_seen_at is distinct from :at")
_HOLD_POOL = text("update pool set hold = :hold, hold_reason = :reason where name = :pool returning name")
_HOLD_NODE = text(
    "update node set hold = :hold, hold_reason = :reason where pool = :pool and name = :node returning name"
)
_ATTEMPTS_ON = text(
    """
    select id from attempt where pool = :pool and state <> 'ended'
      and (cast(:node as text) is null or placement @> jsonb_build_array(jsonb_build_object('node', :node)))
    order by job_id
    """
)


@dataclass(frozen=True, slots=True)
class Reported:
    """What became of a region's report."""

    changed: int = 0
    """Nodes that are new, gone, or said to be otherwise than before."""
    unknown_pools: tuple[str, ...] = ()
    """Named by the report, but no pools of that region's cluster; their nodes were passed over."""
    surplus: int = 0
    """Nodes beyond what their pools' documents allow; passed over."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a pool's document says of each of its nodes, and how many there may be."""

    gpus: int
    cpus: int
    memory_mib: int
    most: int | None = None


class Nodes:
    """Reads and writes nodes."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def all(self) -> list[Node]:
        """Return all nodes by pool and name."""
        statement = select(NodeRow).order_by(col(NodeRow.pool), col(NodeRow.name))
        return [_node(row) for row in self._session.scalars(statement)]

    def follow_document(self, pool: PoolDocument, executor: ExecutorKind, now: datetime) -> None:
        """Give a pool's nodes the shape of its document and, unless its cluster names them, see which there are.

        Raises:
            Conflict: they would have less than jobs hold of them.
        """
        # Everything else waits for a change of the world, so nodes are written by few statements, however many.
        sizes = {"pool": pool.name, "cpus": pool.cpus, "memory": pool.memory_mib}
        self._session.execute(_LOCK_NODES, sizes)
        short = self._session.execute(_SHORT_NODES, sizes).scalars().all()
        if short:
            message = f"jobs hold more of {', '.join(short)} than {pool.name} would have then; let them end first"
            raise Conflict("pool_in_use", message)
        self._session.execute(_RESIZE_NODES, sizes)
        if executor is ExecutorKind.LOCAL:
            names = [f"{pool.name}-{number}" for number in range(pool.nodes or 0)]
            self._add(pool.name, names, _Shape(pool.gpus_per_node, pool.cpus, pool.memory_mib))
            self._session.execute(_KEEP_NODES, {"pool": pool.name, "names": names, "now": now})
        self._session.execute(_SETTLE, {"pools": [pool.name]})

    def report(self, region: RegionCode, reports: Sequence[NodeReport], now: datetime) -> Reported:
        """Store which nodes a region's cluster has and what it says of them; nodes that are left out are gone.

        A region speaks of its own pools only, and only where its executor is Kubernetes.
        """
        # The region's row before those of nodes, as a sync that tells of ends takes them.
        self._session.execute(_SEE, {"region": region, "at": now})
        # 1. Which of the nodes count: those of the region's pools, no more than their documents allow.
        shapes = self._shapes(region)
        admitted = self._admitted(shapes, reports)
        rows = json.dumps([_reported(one) for one in admitted])
        # 2. What is otherwise than before, locked; then what is new.
        found = self._session.execute(_LOCK_CHANGED, {"rows": rows, "pools": list(shapes)}).all()
        changed = Counter(row.pool for row in found)
        for pool, shape in shapes.items():
            names = [one.name for one in admitted if one.pool == pool]
            changed[pool] += len(self._add(pool, names, shape))
            if changed[pool]:
                self._session.execute(_KEEP_NODES, {"pool": pool, "names": names, "now": now})
        if changed.total():
            self._session.execute(_STORE_REPORTS, {"rows": rows})
        # 3. What follows.
        self._session.execute(_SETTLE, {"pools": list(shapes)})
        unknown = {str(one.pool) for one in reports} - set(shapes)
        known = sum(one.pool in shapes for one in reports)
        return Reported(changed.total(), tuple(sorted(unknown)), known - len(admitted))

    def lose_sight(self, region: RegionCode) -> None:
        """Note that a region does not know how its cluster's nodes are: nothing is placed there until it does."""
        self._session.execute(_SEE, {"region": region, "at": None})

    def hold(self, pool: PoolName, node: NodeName | None, hold: Hold, reason: str) -> bool:
        """Store what an operator says about a node, or about a pool with all nodes to come; False if it is unknown."""
        values = {"pool": pool, "node": node, "hold": hold.value, "reason": reason}
        # Nodes before pools, as everywhere.
        self._session.execute(_LOCK_NODES, values)
        found = self._session.execute(_HOLD_POOL if node is None else _HOLD_NODE, values).all()
        self._session.execute(_SETTLE, {"pools": [pool]})
        self._session.expire_all()
        return bool(found)

    def attempts_on(self, pool: PoolName, node: NodeName | None) -> list[AttemptId]:
        """Return the attempts that have not ended and hold GPUs of a node, or of any node of a pool."""
        rows = self._session.execute(_ATTEMPTS_ON, {"pool": pool, "node": node})
        return [AttemptId(row.id) for row in rows]

    def _add(self, pool: str, names: Sequence[str], shape: _Shape) -> list[str]:
        if not names:
            return []
        sizes = {"gpus": shape.gpus, "mask": (1 << shape.gpus) - 1, "cpus": shape.cpus, "memory": shape.memory_mib}
        return list(self._session.scalars(_ADD_NODES, {"pool": pool, "names": list(names), **sizes}))

    def _shapes(self, region: RegionCode) -> dict[str, _Shape]:
        rows = self._session.execute(_CLUSTERED, {"region": region})
        return {row.name: _Shape(row.gpus, row.cpus, row.memory_mib, row.most) for row in rows}

    def _admitted(self, shapes: Mapping[str, _Shape], reports: Sequence[NodeReport]) -> list[NodeReport]:
        there = {(row.pool, row.name) for row in self._session.execute(_THERE, {"pools": list(shapes)})}
        return admit({name: shape.most for name, shape in shapes.items()}, there, reports)


def admit(
    pools: Mapping[str, int | None], there: Set[tuple[str, str]], reports: Sequence[NodeReport]
) -> list[NodeReport]:
    """Return the reports that count: of these pools, each node once, no more than a pool's most, old nodes first."""
    chosen: dict[tuple[str, str], NodeReport] = {}
    room = dict(pools)
    for one in sorted(reports, key=lambda one: ((one.pool, one.name) not in there, one.pool, one.name)):
        key, left = (str(one.pool), str(one.name)), room.get(one.pool, 0)
        if key in chosen or left == 0:
            continue
        chosen[key] = one
        room[one.pool] = None if left is None else left - 1
    return list(chosen.values())


def _reported(one: NodeReport) -> Document:
    report = {
        "state": one.state.value,
        "reason": one.reason,
        "offered": asdict(one.offered),
        "foreign": asdict(one.foreign),
        "is_unverified": one.is_unverified,
        "block": one.block,
        "rack": one.rack,
    }
    return {"pool": one.pool, "name": one.name, "report": report}


def _node(row: NodeRow) -> Node:
    return Node(
        name=NodeName(row.name),
        pool=PoolName(row.pool),
        state=NodeState(row.state),
        gpus=row.gpus,
        free_mask=row.free_mask,
        cpus=row.cpus,
        free_cpus=row.free_cpus,
        memory_mib=row.memory_mib,
        free_memory_mib=row.free_memory_mib,
        version=row.version,
        shut_gpus=row.shut_gpus,
        shut_cpus=row.shut_cpus,
        shut_memory_mib=row.shut_memory_mib,
        hold=Hold(row.hold),
        hold_reason=row.hold_reason,
        report=None if row.report is None else _report(row, row.report),
        gone_at=row.gone_at,
    )


def _report(row: NodeRow, document: Document) -> NodeReport:
    return NodeReport(
        pool=PoolName(row.pool),
        name=NodeName(row.name),
        state=NodeState(document["state"]),
        offered=Amounts(**document["offered"]),
        foreign=Amounts(**document["foreign"]),
        reason=document["reason"],
        is_unverified=document["is_unverified"],
        block=document["block"],
        rack=document["rack"],
    )
