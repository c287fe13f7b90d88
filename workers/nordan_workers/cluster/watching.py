"""Knows how the region's nodes are and when that is to be told: fed by watches, asked by the supervisor's sync.

Nodes and the pods of the jobs' namespace come from the executor's own watches, the pods of all other namespaces from
one more. A list of the nodes each half minute is the net below the watch; what it catches is counted and should be
nothing. When the API server is not heard any more, that is told, too: nobody should place work on a picture of the
past.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from nordan_core.clock import Clock
from nordan_core.domain.errors import OperatorError
from nordan_core.wire import NodesMessage
from nordan_workers.cluster.inventory import Inventory, Scope
from nordan_workers.executors.kubernetes import names
from nordan_workers.executors.kubernetes.client import Cluster, ClusterRefused, ClusterUnreachable, Object
from nordan_workers.executors.kubernetes.watch import DELETED, Audience, Fan, Sink, Watch

#: The whole is told at least so often, whether it changed or not.
TELL_S = 15.0
#: Two reports are at least this far apart, however much changes; further where there are many nodes to tell of.
SPACING_S = 0.5
SPACING_PER_NODE_S = 0.001
#: The API server is asked for a sign of life so often; every third time for all nodes.
PROBE_S = 10.0
PROBES_PER_NET = 3
#: Not heard for so long, the API server counts as away: two probes, and a little.
AWAY_S = 25.0
_NODES = "/api/v1/nodes"
_OTHERS, _JOBS = "others", "jobs"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Told:
    message: NodesMessage
    at_s: float


def _spacing_s(told: _Told) -> float:
    return max(SPACING_S, SPACING_PER_NODE_S * len(told.message.nodes))


class NodeWatch:
    """The nodes of one region's cluster; `news` may be called from another thread than the watches'."""

    def __init__(self, cluster: Cluster, scope: Scope, clock: Clock, *, also: Sequence[Sink] = ()) -> None:
        """`also` hears of the pods of other namespaces."""
        self._cluster = cluster
        self._clock = clock
        self._turn = threading.Lock()
        self._inventory = Inventory(scope, faulty=self._note_fault)
        self._has = {"nodes": False, _JOBS: False, _OTHERS: False}
        self._changed: Callable[[], None] = lambda: None
        self._is_dirty = False
        self._told: _Told | None = None
        self._heard_at_s = clock.monotonic()
        self._faults: set[tuple[str, str]] = set()
        self.caught = 0
        """How often the net found something that the watch had not told."""
        self.audience = Audience(pods=(_PodSink(self, _JOBS),), nodes=(_NodeSink(self),))
        """For the executor whose watches this one shares."""
        fields = f"metadata.namespace!={scope.namespace},spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"
        sink = Fan(_PodSink(self, _OTHERS), *also)
        self.others = Watch(cluster, "/api/v1/pods", sink, selectors={"fieldSelector": fields})
        self._stopped = threading.Event()
        self._prober = threading.Thread(target=self._probe_for_ever, name="node probe", daemon=True)

    def start(self, changed: Callable[[], None]) -> None:
        """Begin; `changed` is called from the watches' threads whenever there may be news."""
        self._changed = changed
        self.others.start()
        self._prober.start()

    def close(self) -> None:
        """End the watch and the probe; returns soon."""
        self.others.stop()
        self._stopped.set()

    def news(self, now_s: float) -> NodesMessage | None:
        """Return what the control plane should be told now; None when it knows."""
        told = self._told
        if told is not None and (wait_s := told.at_s + _spacing_s(told) - now_s) > 0:
            if self._is_dirty:
                self._ask_again_in(wait_s)
            return None
        is_due = told is None or now_s - told.at_s >= TELL_S
        if now_s - self._heard_at_s > AWAY_S:
            lost = NodesMessage(is_current=False)
            return lost if is_due or (told is not None and told.message != lost) else None
        with self._turn:
            if not self._is_known() or not (is_due or self._is_dirty):
                return None
            self._is_dirty = False
            message = NodesMessage(nodes=self._inventory.messages())
        if not is_due and told is not None and told.message == message:
            return None
        return message

    def was_told(self, message: NodesMessage, at_s: float) -> None:
        """Note that the control plane has stored a report."""
        self._told = _Told(message, at_s)

    def was_not_told(self) -> None:
        """Note that a report did not arrive: it is due again."""
        self._told = None

    def take_node(self, kind: str, node: Object) -> None:
        """Take one event of the nodes' watch."""
        with self._turn:
            if kind == DELETED:
                has_changed = self._inventory.drop_node(str((node.get("metadata") or {}).get("name")))
            else:
                has_changed = self._inventory.put_node(node)
        self._heard(has_changed)

    def take_nodes(self, nodes: Sequence[Object]) -> None:
        """Take a list of the nodes' watch."""
        with self._turn:
            for name in set(self._inventory.nodes()) - {str((one.get("metadata") or {}).get("name")) for one in nodes}:
                self._inventory.drop_node(name)
            for node in nodes:
                self._inventory.put_node(node)
            self._has["nodes"] = True
        self._heard(has_changed=True)

    def take_pod(self, source: str, kind: str, pod: Object) -> None:
        """Take one event of a pods' watch."""
        with self._turn:
            if kind == DELETED:
                has_changed = self._inventory.drop_pod(source, pod)
            else:
                has_changed = self._inventory.put_pod(source, pod)
        self._heard(has_changed)

    def take_pods(self, source: str, pods: Sequence[Object]) -> None:
        """Take a list of a pods' watch."""
        with self._turn:
            self._inventory.put_pods(source, pods)
            self._has[source] = True
        self._heard(has_changed=True)

    def probe(self, *, is_net: bool) -> None:
        """Ask the API server for a sign of life, or for all nodes that name a pool."""
        if not is_net:
            self._cluster.get(_NODES, limit="1", resourceVersion="0")
            self._heard(has_changed=False)
            return
        page = self._cluster.get(_NODES, labelSelector=names.NODE_POOL)
        version = str((page.get("metadata") or {}).get("resourceVersion"))
        with self._turn:
            has_changed = self._has["nodes"] and self._inventory.put_nodes(page.get("items") or (), version)
        if has_changed:
            self.caught += 1
            log.warning("node_watch_was_behind", times=self.caught)
        self._heard(has_changed)

    def _probe_for_ever(self) -> None:
        number = 0
        while not self._stopped.wait(PROBE_S):
            number += 1
            try:
                self.probe(is_net=number % PROBES_PER_NET == 0)
            except (ClusterUnreachable, ClusterRefused, OperatorError) as error:
                log.info("node_probe_failed", error=type(error).__name__)
            if self._clock.monotonic() - self._heard_at_s > AWAY_S:
                self._changed()
        self._cluster.release()

    def _ask_again_in(self, seconds: float) -> None:
        again = threading.Timer(seconds, self._changed)
        again.daemon = True
        again.start()

    def _is_known(self) -> bool:
        """Tell whether everything was listed; who may not see others' pods does without them."""
        return self._has["nodes"] and self._has[_JOBS] and (self._has[_OTHERS] or self.others.is_refused)

    def _heard(self, has_changed: bool) -> None:
        self._heard_at_s = self._clock.monotonic()
        if has_changed and not self._is_dirty:
            self._is_dirty = True
            self._changed()

    def _note_fault(self, name: str, what: str) -> None:
        """Log a node or pod that cannot be read, once; called with the lock held."""
        if (name, what) not in self._faults and len(self._faults) < 1000:
            self._faults.add((name, what))
            log.warning("node_or_pod_not_understood", name=name, fault=what)


class _NodeSink:
    def __init__(self, watch: NodeWatch) -> None:
        self._watch = watch

    def begin_list(self) -> None:
        """Keep `Sink.begin_list`."""

    def take_list(self, objects: list[Object]) -> None:
        """Keep `Sink.take_list`."""
        self._watch.take_nodes(objects)

    def take_change(self, kind: str, item: Object) -> None:
        """Keep `Sink.take_change`."""
        self._watch.take_node(kind, item)


class _PodSink:
    def __init__(self, watch: NodeWatch, source: str) -> None:
        self._watch = watch
        self._source = source

    def begin_list(self) -> None:
        """Keep `Sink.begin_list`."""

    def take_list(self, objects: list[Object]) -> None:
        """Keep `Sink.take_list`."""
        self._watch.take_pods(self._source, objects)

    def take_change(self, kind: str, item: Object) -> None:
        """Keep `Sink.take_change`."""
        self._watch.take_pod(self._source, kind, item)
