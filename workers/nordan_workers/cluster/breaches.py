"""What became unlawful in a region's cluster: pure, over what the watches of nodes and pods have told.

The policies judge objects when they are made; this judges what stands. A node may lose its labels or its pool's taint,
a pod may be somewhere that no grant names: by an administrator's hand, by a static pod, or because a policy was away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from nordan_core.domain.ids import AttemptId
from nordan_workers.executors.kubernetes import names


class Cause(StrEnum):
    """Why something is a breach; said in events and, by the node's taint, to the control plane."""

    NODE_LABELS = "node_labels_changed"
    """The node no longer says the region's territory and code, or the pool that an attempt on it was placed in."""
    NODE_UNVERIFIED = "node_unverified"
    """Somebody marked the node, and attempts run there."""
    POOL_TAINT = "pool_taint_gone"
    """Pods that are no job of ours may be placed on the node now."""
    FOREIGN_POD_AMONG_JOBS = "foreign_pod_among_jobs"
    """A pod in the namespace of jobs that no live attempt owns."""
    FOREIGN_POD_WITH_GPUS = "foreign_pod_with_gpus"
    """A pod from elsewhere that asks for GPUs on a pool's node."""
    ANOTHER_NODE = "attempt_on_another_node"
    """An attempt's pod is not on the node that its order names."""


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """A node as its watch tells it."""

    name: str
    labels: Mapping[str, str]
    taints: frozenset[tuple[str, str]]
    """Key and value."""
    had_taint: bool = False
    """It bore its pool's taint before. Operators may do without it; but it must not vanish."""

    @property
    def is_marked(self) -> bool:
        """Tell whether the node is marked as unverified."""
        return any(key == names.TAINT_UNVERIFIED for key, _ in self.taints)


@dataclass(frozen=True, slots=True)
class PodSeen:
    """A pod as its watch tells it."""

    namespace: str
    name: str
    uid: str
    node: str
    """Empty until it is bound."""
    attempt: AttemptId | None = None
    rank: int | None = None
    has_gpus: bool = False
    is_over: bool = False
    """It has ended, or is being deleted."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where one rank of a live attempt was placed."""

    pool: str
    node: str


@dataclass(frozen=True, slots=True)
class Place:
    """The region, and who is left alone in its cluster."""

    region: str
    territory: str
    jobs_namespace: str
    exempt: frozenset[str] | None = None
    """Namespaces that the cluster's rules leave out; None where no rules are installed. There, pods of others are as
    lawful as ours, and only counted."""


@dataclass(frozen=True, slots=True)
class Breach:
    """One thing that is unlawful, and what it touches."""

    cause: Cause
    node: str
    """The node to mark; empty where a pod is not on any."""
    attempts: frozenset[AttemptId] = frozenset()
    """To be fenced."""
    pod: PodSeen | None = None
    """The pod at fault."""


Seats = Mapping[AttemptId, tuple[Seat, ...]]
"""Live attempts by rank: what the supervisor holds."""
_ByNode = Mapping[str, Mapping[AttemptId, Seat]]


def breaches(place: Place, nodes: Iterable[NodeSeen], pods: Iterable[PodSeen], seats: Seats) -> tuple[Breach, ...]:
    """Return everything that is unlawful now, in the order of nodes and pods."""
    by_name = {node.name: node for node in nodes}
    taken: dict[str, dict[AttemptId, Seat]] = {}
    for attempt, own in seats.items():
        for seat in own:
            taken.setdefault(seat.node, {})[attempt] = seat
    found = [breach for node in by_name.values() for breach in _of_node(place, node, taken.get(node.name, {}))]
    for pod in pods:
        if not pod.is_over:
            elsewhere = pod.namespace != place.jobs_namespace
            found += _from_elsewhere(place, pod, by_name, taken) if elsewhere else _among_jobs(place, pod, seats, taken)
    return tuple(found)


def _of_node(place: Place, node: NodeSeen, there: Mapping[AttemptId, Seat]) -> Iterator[Breach]:
    attempts = frozenset(there)
    pool = node.labels.get(names.NODE_POOL, "")
    said = (node.labels.get(names.NODE_TERRITORY, ""), node.labels.get(names.NODE_REGION, ""))
    is_moved = said != (place.territory, place.region) or any(seat.pool != pool for seat in there.values())
    if not attempts and (node.is_marked or not _is_ours(place, node)):
        return
    if is_moved:
        yield Breach(Cause.NODE_LABELS, node.name, attempts)
    elif node.is_marked:
        yield Breach(Cause.NODE_UNVERIFIED, node.name, attempts)
    elif attempts and node.had_taint and (names.TAINT_POOL, pool) not in node.taints:
        yield Breach(Cause.POOL_TAINT, node.name, attempts)


def _from_elsewhere(place: Place, pod: PodSeen, nodes: Mapping[str, NodeSeen], taken: _ByNode) -> Iterator[Breach]:
    if place.exempt is None or pod.namespace in place.exempt:
        return
    node = nodes.get(pod.node)
    if pod.has_gpus and node is not None and _is_ours(place, node):
        yield Breach(Cause.FOREIGN_POD_WITH_GPUS, node.name, frozenset(taken.get(node.name, ())), pod)


def _among_jobs(place: Place, pod: PodSeen, seats: Seats, taken: _ByNode) -> Iterator[Breach]:
    own = seats.get(pod.attempt) if pod.attempt is not None else None
    if pod.attempt is not None and own is None:
        return  # What bears our marks and belongs to nobody is left over; the executor's sweeper removes it.
    rank = pod.rank if pod.rank is not None else -1
    if own is None or pod.attempt is None or pod.name != names.pod_name(pod.attempt, rank) or rank >= len(own):
        if place.exempt is not None:
            yield Breach(Cause.FOREIGN_POD_AMONG_JOBS, pod.node, frozenset(taken.get(pod.node, ())), pod)
    elif pod.node and pod.node != own[rank].node:
        yield Breach(Cause.ANOTHER_NODE, "", frozenset({pod.attempt}), pod)


def _is_ours(place: Place, node: NodeSeen) -> bool:
    """Tell whether a node says that it is this region's. In a rehearsal, other regions share the cluster."""
    return node.labels.get(names.NODE_REGION) == place.region
