"""One watch per kind of object: what is there, then every change, for as long as the process lives.

The server ends watches when it likes: under a burst of changes, when it restarts, every few minutes. None of that loses
a change: a new watch goes on from the last resource version, and where the server has forgotten that one (410) the list
is taken anew and what is missing in it has gone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import structlog

from nordan_core.domain.errors import OperatorError
from nordan_workers.executors.kubernetes.client import Cluster, ClusterRefused, ClusterUnreachable, Object

#: The server ends a watch after this time, so that load spreads over several servers again.
LIFE_S = 240
PAGE = 500
#: Between two tries while the server is away; when it says no (missing rights), the last one.
PAUSES_S = (0.1, 0.3, 1.0, 2.0)
REFUSED_PAUSE_S = 15.0
#: After a watch that the server ended in good order, in case it ends each at once.
ENDED_PAUSE_S = 0.05
BOOKMARK = "BOOKMARK"
DELETED = "DELETED"

log = structlog.get_logger()


class Sink(Protocol):
    """Who is told; called from the watch's thread only, so it must not wait."""

    def begin_list(self) -> None:
        """A list is about to be asked for: what is noted from now on may be missing in it."""
        ...

    def take_list(self, objects: list[Object]) -> None:
        """Replace everything by what is there."""
        ...

    def take_change(self, kind: str, item: Object) -> None:
        """Take one event: ADDED, MODIFIED or DELETED, with the object."""
        ...


class Fan:
    """A sink that tells several."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks

    def begin_list(self) -> None:
        """Keep `Sink.begin_list`."""
        for sink in self._sinks:
            sink.begin_list()

    def take_list(self, objects: list[Object]) -> None:
        """Keep `Sink.take_list`."""
        for sink in self._sinks:
            sink.take_list(objects)

    def take_change(self, kind: str, item: Object) -> None:
        """Keep `Sink.take_change`."""
        for sink in self._sinks:
            sink.take_change(kind, item)


@dataclass(frozen=True, slots=True)
class Audience:
    """Who else hears what an executor's watches tell: there is one watch for each kind of object, whoever listens."""

    pods: tuple[Sink, ...] = ()
    nodes: tuple[Sink, ...] = ()


class Watch:
    """Follows one collection on a thread of its own."""

    def __init__(
        self, cluster: Cluster, path: str, sink: Sink, *, selectors: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """`selectors` are sent as they are: `fieldSelector`, `labelSelector`."""
        self._cluster = cluster
        self._path = path
        self._sink = sink
        self._selectors = dict(selectors)
        self._version = ""
        self._stopped = threading.Event()
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name=f"watch {path}", daemon=True)
        self.lists = 0
        self.resumes = 0
        """How often a watch was opened after the first."""
        self.is_refused = False
        """The server said no at the last try: the account lacks the right."""

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Have the thread end at the next event, at the latest when the cluster's connections close."""
        self._stopped.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._go_on()
                pause_s = ENDED_PAUSE_S
            except ClusterRefused as error:
                pause_s = self._after_refusal(error)
            except (ClusterUnreachable, OperatorError) as error:
                self._failures += 1
                pause_s = PAUSES_S[min(self._failures, len(PAUSES_S)) - 1]
                if self._failures in {1, 30} and not self._stopped.is_set():
                    log.warning("watch_interrupted", path=self._path, error=type(error).__name__)
            self._stopped.wait(pause_s)
        self._cluster.release()

    def _after_refusal(self, error: ClusterRefused) -> float:
        if error.is_too_old:
            self._version = ""
            return 0.0
        self.is_refused = True
        log.warning("watch_refused", path=self._path, status=error.status, reason=error.reason)
        return REFUSED_PAUSE_S

    def _go_on(self) -> None:
        """List where nothing is known, then follow until the server ends the watch."""
        if not self._version:
            self._list()
        else:
            self.resumes += 1
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(LIFE_S),
            **self._selectors,
        }
        with self._cluster.stream(self._path, **params) as events:
            self.is_refused = False
            for event in events:
                if self._stopped.is_set():
                    return
                self._failures = 0
                self._take(event)

    def _list(self) -> None:
        self._sink.begin_list()
        objects: list[Object] = []
        params = {"limit": str(PAGE), **self._selectors}
        while True:
            page = self._cluster.get(self._path, **params)
            objects.extend(page.get("items") or ())
            about = page.get("metadata") or {}
            if not (rest := about.get("continue")):
                break
            params = {"limit": str(PAGE), "continue": rest, **self._selectors}
        self._sink.take_list(objects)
        self.lists += 1
        self._version = str(about.get("resourceVersion") or "")

    def _take(self, event: Object) -> None:
        item = event.get("object") or {}
        if event.get("type") != BOOKMARK:
            self._guard(lambda: self._sink.take_change(str(event.get("type")), item))
        self._version = (item.get("metadata") or {}).get("resourceVersion") or self._version

    def _guard(self, work: Callable[[], None]) -> None:
        """Take an event; one that nobody understands must not end the watch for all the others."""
        try:
            work()
        except Exception:
            # A defect of ours in the reading of one object.
            log.exception("watch_event_not_taken", path=self._path)
