"""From a cluster's nodes and pods to what the control plane is told about its nodes. Pure: no clock, no requests.

Only nodes that bear the region's own labels count; a kubelet cannot put them on itself. Everything that is not a pod of
ours is foreign, and what it asks for is not ours to give. Fed by `watching`, which knows when to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from nordan_core.domain.places import Amounts, NodeState
from nordan_core.wire import AmountsMessage, NodeMessage
from nordan_workers.cluster import quantities, requests
from nordan_workers.executors.kubernetes import names

Object = Mapping[str, Any]  # Any: JSON
_OVER = frozenset({"Succeeded", "Failed"})
_NO_SCHEDULE, _NO_EXECUTE = "NoSchedule", "NoExecute"
#: Said by the cluster's own controllers beside what the node's fields say.
_ECHOES = ("node.kubernetes.io/unschedulable", "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
#: Labels that say where a node stands, the operator's own first, then those of large providers.
BLOCK_LABELS = (f"{names.PREFIX}/block", "cloud.google.com/gce-topology-block", "topology.k8s.aws/network-node-layer-2")
RACK_LABELS = (
    f"{names.PREFIX}/rack",
    "cloud.google.com/gce-topology-subblock",
    "topology.k8s.aws/network-node-layer-3",
)
_REASON_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose cluster it is and what counts as ours in it."""

    region: str
    territory: str
    namespace: str
    """Where the region's jobs live."""
    gpu_resource: str = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node of the region, as its object says."""

    name: str
    pool: str
    state: NodeState
    reason: str
    offered: Amounts
    """Without a number of GPUs where the node does not know the resource."""
    is_unverified: bool
    block: str
    rack: str


@dataclass(frozen=True, slots=True)
class PodUse:
    """What one pod that has not ended holds on its node."""

    node: str
    amounts: Amounts
    pool: str | None
    """The pool that it is ours in; None for a foreign one."""


def read_node(node: Object, scope: Scope) -> NodeFacts | None:
    """Return what a node's object says; None when it is not of this region, or of no pool."""
    metadata = node.get("metadata") or {}
    labels = metadata.get("labels") or {}
    pool = labels.get(names.NODE_POOL)
    if labels.get(names.NODE_REGION) != scope.region or not pool:
        return None
    doubt = _doubt(node, labels, scope)
    state, reason = _state(node, pool, scope)
    return NodeFacts(
        name=str(metadata.get("name")),
        pool=str(pool),
        state=state,
        reason=_printable(reason if state is not NodeState.READY else doubt),
        offered=_offered((node.get("status") or {}).get("allocatable") or {}, scope.gpu_resource),
        is_unverified=bool(doubt),
        block=_first(labels, BLOCK_LABELS),
        rack=_first(labels, RACK_LABELS),
    )


def read_pod(pod: Object, scope: Scope) -> PodUse | None:
    """Return what a pod holds; None when it is on no node or has ended."""
    spec = pod.get("spec") or {}
    node = spec.get("nodeName")
    if not node or (pod.get("status") or {}).get("phase") in _OVER:
        return None
    metadata = pod.get("metadata") or {}
    labels = metadata.get("labels") or {}
    # A label is anybody's to write; in the namespace of jobs admission keeps it ours.
    is_ours = (
        metadata.get("namespace") == scope.namespace
        and labels.get(names.LABEL_MANAGED_BY) == names.MANAGED_BY
        and names.attempt_of(labels) is not None
    )
    pool = labels.get(names.LABEL_POOL) if is_ours else None
    return PodUse(str(node), requests.of_pod(pod, scope.gpu_resource), pool)


class Inventory:
    """The region's nodes and what holds them, by the last word about each; not safe between threads."""

    def __init__(self, scope: Scope, *, faulty: Callable[[str, str], None] = lambda _name, _what: None) -> None:
        """`faulty` hears of a node or pod that cannot be read or told of, and why."""
        self._scope = scope
        self._faulty = faulty
        self._nodes: dict[str, NodeFacts] = {}
        self._versions: dict[str, int] = {}
        self._pods: dict[str, dict[str, PodUse]] = {}
        """By source, then by uid."""

    def nodes(self) -> tuple[str, ...]:
        """Return the names of the region's nodes."""
        return tuple(self._nodes)

    def put_node(self, node: Object) -> bool:
        """Take a node as it is now; tell whether that changes what is to be told."""
        name = _name(node)
        try:
            facts = read_node(node, self._scope)
        except ValueError as error:
            self._faulty(name, str(error))
            facts = None
        if facts is None:
            return self.drop_node(name)
        before = self._nodes.get(name)
        self._nodes[name], self._versions[name] = facts, _version(node)
        return before != facts

    def drop_node(self, name: str) -> bool:
        """Take a node that is gone, or of this region no more."""
        self._versions.pop(name, None)
        return self._nodes.pop(name, None) is not None

    def put_nodes(self, nodes: Iterable[Object], version: str) -> bool:
        """Take a list of all nodes as of a resource version; what is known from later stays. Tells what it changed."""
        nodes, listed = tuple(nodes), _number(version)
        there = {_name(node) for node in nodes}
        gone = [name for name, known in self._versions.items() if name not in there and known <= listed]
        fresh = [node for node in nodes if _version(node) > self._versions.get(_name(node), -1)]
        return any([*(self.drop_node(name) for name in gone), *(self.put_node(node) for node in fresh)])

    def put_pod(self, source: str, pod: Object) -> bool:
        """Take a pod that a source sees, as it is now; tell whether that changes what is to be told."""
        try:
            use = read_pod(pod, self._scope)
        except ValueError as error:
            self._faulty(_name(pod), str(error))
            use = None
        if use is None:
            return self.drop_pod(source, pod)
        known = self._pods.setdefault(source, {})
        before, known[_uid(pod)] = known.get(_uid(pod)), use
        return before != use and (self._is_foreign(use) or (before is not None and self._is_foreign(before)))

    def drop_pod(self, source: str, pod: Object) -> bool:
        """Take a pod that is gone or has ended."""
        before = self._pods.get(source, {}).pop(_uid(pod), None)
        return before is not None and self._is_foreign(before)

    def put_pods(self, source: str, pods: Iterable[Object]) -> None:
        """Take all pods that a source sees; those that it saw before and does not see now have gone."""
        self._pods[source] = {}
        for pod in pods:
            self.put_pod(source, pod)

    def messages(self) -> tuple[NodeMessage, ...]:
        """Return what is to be told, by name; a node that cannot be told of is left out, as if it were gone."""
        foreign: dict[str, list[Amounts]] = {}
        for use in (use for known in self._pods.values() for use in known.values()):
            if use.node in self._nodes and self._is_foreign(use):
                foreign.setdefault(use.node, []).append(use.amounts)
        made = (self._message(self._nodes[name], foreign.get(name, ())) for name in sorted(self._nodes))
        return tuple(one for one in made if one is not None)

    def _is_foreign(self, use: PodUse) -> bool:
        """Tell whether a pod takes from what its node's pool has: it is not ours, or of the pool of before."""
        node = self._nodes.get(use.node)
        return use.pool is None or (node is not None and node.pool != use.pool)

    def _message(self, node: NodeFacts, foreign: Iterable[Amounts]) -> NodeMessage | None:
        taken = requests.total(foreign)
        try:
            return NodeMessage(
                pool=node.pool,
                name=node.name,
                state=node.state,
                reason=node.reason,
                offered=_amounts_message(node.offered),
                foreign=_amounts_message(taken),
                is_unverified=node.is_unverified,
                block=node.block,
                rack=node.rack,
            )
        except ValidationError as error:
            self._faulty(node.name, ".".join(str(part) for part in error.errors()[0]["loc"]))
            return None


def _state(node: Object, pool: str, scope: Scope) -> tuple[NodeState, str]:
    """Return whether a node takes work, the gravest first, and why not."""
    conditions = (node.get("status") or {}).get("conditions") or ()
    ready = next((one for one in conditions if one.get("type") == "Ready"), None)
    if ready is None or ready.get("status") != "True":
        why = f": {ready['reason']}" if ready is not None and ready.get("reason") else ""
        return NodeState.DOWN, f"not ready{why}"
    if (node.get("metadata") or {}).get("deletionTimestamp"):
        return NodeState.DRAINING, "the node is being deleted"
    spec = node.get("spec") or {}
    taints = [one for one in spec.get("taints") or () if not _is_harmless(one, pool, scope)]
    for taint in taints:
        if taint.get("effect") == _NO_EXECUTE:
            return NodeState.DRAINING, f"taint {taint.get('key')}:{_NO_EXECUTE}"
    if spec.get("unschedulable"):
        return NodeState.CORDONED, "unschedulable"
    for taint in taints:
        if taint.get("effect") == _NO_SCHEDULE:
            return NodeState.CORDONED, f"taint {taint.get('key')}:{_NO_SCHEDULE}"
    return NodeState.READY, ""


def _is_harmless(taint: Object, pool: str, scope: Scope) -> bool:
    """Tell whether a taint is meant to keep others away, or is said by other fields as well."""
    key, effect = taint.get("key"), taint.get("effect")
    if effect == _NO_SCHEDULE and key == names.TAINT_POOL:
        return taint.get("value") == pool
    # Set by many providers, so that only pods that ask for GPUs come to nodes with them.
    is_of_gpus = effect == _NO_SCHEDULE and key == scope.gpu_resource
    return is_of_gpus or key in _ECHOES or key == names.TAINT_UNVERIFIED


def _doubt(node: Object, labels: Object, scope: Scope) -> str:
    """Return why a node's facts are in doubt; empty when nobody doubts them."""
    taints = (node.get("spec") or {}).get("taints") or ()
    if any(one.get("key") == names.TAINT_UNVERIFIED for one in taints):
        return f"taint {names.TAINT_UNVERIFIED}"
    territory = labels.get(names.NODE_TERRITORY)
    if territory != scope.territory:
        return f"its territory label says {territory}" if territory else "it has no territory label"
    return ""


def _offered(allocatable: Object, gpu_resource: str) -> Amounts:
    gpus = quantities.count(allocatable[gpu_resource]) if gpu_resource in allocatable else None
    cpu_milli = quantities.cpu_milli(allocatable.get("cpu", 0))
    return Amounts(gpus, cpu_milli, quantities.memory_mib(allocatable.get("memory", 0)))


def _amounts_message(amounts: Amounts) -> AmountsMessage:
    return AmountsMessage(gpus=amounts.gpus, cpu_milli=amounts.cpu_milli, memory_mib=amounts.memory_mib)


def _first(labels: Object, keys: Iterable[str]) -> str:
    return next((str(labels[key]) for key in keys if labels.get(key)), "")


def _printable(text: str) -> str:
    return "".join(one if " " <= one <= "~" else "?" for one in text)[:_REASON_LENGTH]


def _name(item: Object) -> str:
    return str((item.get("metadata") or {}).get("name"))


def _uid(item: Object) -> str:
    metadata = item.get("metadata") or {}
    return str(metadata.get("uid") or f"{metadata.get('namespace')}/{metadata.get('name')}")


def _version(item: Object) -> int:
    return _number((item.get("metadata") or {}).get("resourceVersion"))


def _number(version: object) -> int:
    """Return a resource version as the number that it is in practice; one that is none counts as the oldest."""
    text = str(version)
    return int(text) if text.isdecimal() else 0
