"""What the cluster's nodes and pods look like to the guard, as watches tell it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

from nordan_core.domain.ids import AttemptId
from nordan_workers.cluster.breaches import NodeSeen, PodSeen
from nordan_workers.cluster.cel import Object
from nordan_workers.executors.kubernetes import names
from nordan_workers.executors.kubernetes.watch import DELETED

Seen = TypeVar("Seen", NodeSeen, PodSeen)
_OVER = frozenset({"Succeeded", "Failed"})


class Sightings(Generic[Seen]):
    """Nodes or pods by their keys. A `Sink` of the watches; told on a watch's thread, read on any other."""

    def __init__(self, read: Callable[[Object], Seen], changed: Callable[[], None]) -> None:
        """`changed` is called when something that is judged changed, on the watch's thread."""
        self._read: Callable[[Object], Seen] = read
        self._changed = changed
        self._turn = threading.Lock()
        self._known: dict[str, Seen] = {}
        self.is_listed = False

    def all(self) -> tuple[Seen, ...]:
        """Return everything that is there, as it was told last."""
        with self._turn:
            return tuple(self._known.values())

    def begin_list(self) -> None:
        """Keep `Sink.begin_list`: nothing is noted beside the watch, so nothing can be missing."""

    def take_list(self, objects: list[Object]) -> None:
        """Keep `Sink.take_list`."""
        with self._turn:
            self._known = {_key(one): self._read(one) for one in objects}
        self.is_listed = True
        self._changed()

    def take_change(self, kind: str, item: Object) -> None:
        """Keep `Sink.take_change`."""
        key = _key(item)
        seen = None if kind == DELETED else self._read(item)
        with self._turn:
            if seen is None:
                self._known.pop(key, None)
            elif self._known.get(key) == seen:
                return
            else:
                self._known[key] = seen
        self._changed()


def node_seen(node: Object) -> NodeSeen:
    """Return what the guard judges of a node."""
    taints = (node.get("spec") or {}).get("taints") or ()
    pairs = frozenset((str(one.get("key")), str(one.get("value", ""))) for one in taints)
    return NodeSeen(str(node["metadata"]["name"]), node["metadata"].get("labels") or {}, pairs)


def pod_seen(pod: Object, gpu_resource: str) -> PodSeen:
    """Return what the guard judges of a pod."""
    metadata, spec = pod["metadata"], pod.get("spec") or {}
    labels = metadata.get("labels") or {}
    phase = (pod.get("status") or {}).get("phase")
    return PodSeen(
        namespace=str(metadata.get("namespace", "")),
        name=str(metadata["name"]),
        uid=str(metadata.get("uid", "")),
        node=str(spec.get("nodeName") or ""),
        attempt=_attempt(labels),
        rank=_rank(labels),
        has_gpus=_asks_for(gpu_resource, (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))),
        is_over=phase in _OVER or bool(metadata.get("deletionTimestamp")),
    )


def _key(item: Object) -> str:
    metadata = item["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata['name']}"


def _attempt(labels: Mapping[str, str]) -> AttemptId | None:
    return names.attempt_of(dict(labels))


def _rank(labels: Mapping[str, str]) -> int | None:
    text = labels.get(names.LABEL_RANK, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else None


def _asks_for(resource: str, containers: Iterable[Object]) -> bool:
    amounts = ((one.get("resources") or {}).get("limits") or {} for one in containers)
    return any(one.get(resource, "0") not in {"0", 0} for one in amounts)
