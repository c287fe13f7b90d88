"""What the cluster's pods and nodes look like now, as the two watches tell it.

A pod that this process made is noted at once, since the watch may be late. A pod that is gone stays known as gone until
its attempt is forgotten: how it ended was in its last state.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

from nordan_core.domain.ids import AttemptId
from nordan_workers.executors.kubernetes.client import Object
from nordan_workers.executors.kubernetes.status import PodView, view_of
from nordan_workers.executors.kubernetes.watch import DELETED


class Stage(IntEnum):
    """How far a pod is, for telling what was seen live from what was found."""

    WAITING = 0
    RUNNING = 1
    OVER = 2


@dataclass(frozen=True, slots=True)
class Sighting:
    """One pod as it was seen last."""

    view: PodView
    stage: Stage
    since_s: float
    """Boot-time clock, when this stage was first seen."""
    is_live: bool
    """An earlier stage was seen before: `since_s` is the moment of the change, but for the watch's delay."""
    noted_s: float
    """When the pod itself was first seen."""


class Pods:
    """The pods of one namespace, ours and others'."""

    def __init__(self, monotonic: Callable[[], float], tell: Callable[[AttemptId], None]) -> None:
        """`tell` hears of each change of a pod that names an attempt."""
        self._monotonic = monotonic
        self._tell = tell
        self._turn = threading.Lock()
        self._known: dict[str, Sighting] = {}
        self._began_s = float("-inf")
        self.is_listed = threading.Event()

    def get(self, name: str) -> Sighting | None:
        """Return a pod by name."""
        return self._known.get(name)

    def all(self) -> tuple[PodView, ...]:
        """Return every pod that is there."""
        with self._turn:
            return tuple(one.view for one in self._known.values() if not one.view.is_gone)

    def note(self, pod: Object) -> None:
        """Note a pod that an answer of the API server showed, unless the watch already knows it."""
        view = view_of(pod)
        with self._turn:
            known = self._known.get(view.name)
            if known is None or known.view.uid != view.uid:
                self._put(view)

    def note_gone(self, name: str, uid: str | None) -> None:
        """Note that the API server does not find a pod."""
        with self._turn:
            known = self._known.get(name)
            if known is None or (uid is not None and known.view.uid != uid):
                return
            self._put(replace(known.view, is_gone=True))
        self._announce(known.view)

    def drop(self, name: str) -> None:
        """Forget a pod that is gone; one that is there stays known."""
        with self._turn:
            known = self._known.get(name)
            if known is not None and known.view.is_gone:
                del self._known[name]

    def drop_gone(self, is_kept: Callable[[PodView], bool]) -> None:
        """Forget the pods that are gone and that nobody keeps."""
        with self._turn:
            for name, one in tuple(self._known.items()):
                if one.view.is_gone and not is_kept(one.view):
                    del self._known[name]

    def begin_list(self) -> None:
        """Keep `Sink.begin_list`."""
        self._began_s = self._monotonic()

    def take_list(self, objects: list[Object]) -> None:
        """Keep `Sink.take_list`: what was known before and is not in the list has gone."""
        views = {view.name: view for view in map(view_of, objects)}
        with self._turn:
            changed = [view for view in views.values() if self._put(view)]
            for name, one in tuple(self._known.items()):
                if name not in views and not one.view.is_gone and one.noted_s < self._began_s:
                    self._put(replace(one.view, is_gone=True))
                    changed.append(one.view)
        self.is_listed.set()
        for view in changed:
            self._announce(view)

    def take_change(self, kind: str, item: Object) -> None:
        """Keep `Sink.take_change`."""
        view = view_of(item)
        with self._turn:
            known = self._known.get(view.name)
            if kind == DELETED:
                if known is not None and known.view.uid != view.uid:
                    return
                view = replace(view, is_gone=True)
            self._put(view)
        # A binding is our own doing, and a pod that we made is known.
        if known is None or replace(known.view, node=view.node) != view:
            self._announce(view)

    def _put(self, view: PodView) -> bool:
        """Store a view; tell whether it says something new. Called with the lock held."""
        now_s = self._monotonic()
        known = self._known.get(view.name)
        stage = _stage(view)
        if known is None or known.view.uid != view.uid:
            self._known[view.name] = Sighting(view, stage, now_s, is_live=False, noted_s=now_s)
            return True
        if known.stage is stage:
            self._known[view.name] = replace(known, view=view)
        else:
            self._known[view.name] = replace(known, view=view, stage=stage, since_s=now_s, is_live=True)
        return known.view != view

    def _announce(self, view: PodView) -> None:
        if view.attempt_id is not None:
            self._tell(view.attempt_id)


@dataclass(frozen=True, slots=True)
class Node:
    """One node, as far as an executor cares."""

    is_ready: bool
    since_s: float
    """Boot-time clock, since when it has been so."""
    resources: Mapping[str, str]
    """What it offers, by the resource's name."""


class Nodes:
    """The nodes of the cluster. Without the right to see them every node counts as well."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._known: dict[str, Node] = {}
        self.is_listed = threading.Event()

    def is_away(self, name: str, for_s: float) -> bool:
        """Tell whether the API server has not heard of a node, or has no such node, for so long."""
        if not self.is_listed.is_set():
            return False
        node = self._known.get(name)
        return node is not None and not node.is_ready and self._monotonic() - node.since_s >= for_s

    def offers(self, name: str, resource: str) -> bool:
        """Tell whether a node has any of a resource; False where the node is not known."""
        node = self._known.get(name)
        return node is not None and node.resources.get(resource, "0") != "0"

    def expect(self, name: str) -> None:
        """Begin to count the absence of a node that a pod should be on, if there is no such node."""
        if self.is_listed.is_set() and name not in self._known:
            self._known[name] = Node(is_ready=False, since_s=self._monotonic(), resources={})

    def begin_list(self) -> None:
        """Keep `Sink.begin_list`."""

    def take_list(self, objects: list[Object]) -> None:
        """Keep `Sink.take_list`."""
        there = {str((one.get("metadata") or {}).get("name")) for one in objects}
        for item in objects:
            self.take_change("", item)
        for name in set(self._known) - there:
            self._lose(name)
        self.is_listed.set()

    def take_change(self, kind: str, item: Object) -> None:
        """Keep `Sink.take_change`."""
        name = str((item.get("metadata") or {}).get("name"))
        if kind == DELETED:
            self._lose(name)
            return
        status = item.get("status") or {}
        ready = next((one.get("status") for one in status.get("conditions") or () if one.get("type") == "Ready"), "")
        self._set(name, is_ready=ready == "True", resources=status.get("allocatable") or {})

    def _lose(self, name: str) -> None:
        self._set(name, is_ready=False, resources={})

    def _set(self, name: str, *, is_ready: bool, resources: Mapping[str, str]) -> None:
        known = self._known.get(name)
        is_same = known is not None and known.is_ready == is_ready
        since_s = known.since_s if known is not None and is_same else self._monotonic()
        self._known[name] = Node(is_ready, since_s, resources)


def _stage(view: PodView) -> Stage:
    if view.is_gone or view.outcome is not None:
        return Stage.OVER
    return Stage.RUNNING if view.is_running else Stage.WAITING
