"""Stops what became unlawful in a region's cluster. Runs inside the supervisor, which alone knows what is lawful.

It judges whenever a watch tells of a change, and every few seconds, because attempts come and go as well. What it does
is little and may be repeated: attempts are fenced through the supervisor, a node is marked with a taint, which ends
jobs' pods by itself and reaches the control plane with the next report of nodes, a stranger among the jobs is removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from nordan_core.domain.errors import NordanError
from nordan_core.domain.ids import AttemptId
from nordan_workers.cluster.breaches import Breach, Cause, Place, PodSeen, Seats, breaches
from nordan_workers.cluster.cel import Object
from nordan_workers.cluster.nodes import doubted, is_doubted
from nordan_workers.cluster.sightings import Sightings, key_of, name_of, node_seen, pod_seen

#: Attempts that came or went are judged after this at the latest.
LOOK_S = 2.0
#: Changes that come together are judged together.
COALESCE_S = 0.05

log = structlog.get_logger()


class Hands(Protocol):
    """What the guard does in the cluster. Every method may be called again and raises NordanError when it failed."""

    def patch_node(self, name: str, patch: Object) -> None:
        """Merge a patch into a node; fails when the node is no longer at the patch's version."""
        ...

    def delete_pod(self, pod: PodSeen) -> None:
        """Delete this very pod at once; one that is gone is fine."""
        ...


class Court(Protocol):
    """The supervisor, as the guard needs it; called on the event loop."""

    def seats(self) -> Seats:
        """Return where the ranks of live attempts were placed."""
        ...

    def fence(self, attempts: Collection[AttemptId]) -> None:
        """Stop these attempts at once, with reason `fenced`."""
        ...


@dataclass(frozen=True, slots=True)
class _Told:
    cause: Cause
    node: str
    pod: str


class Guard:
    """Judges and acts until cancelled. `nodes` and `pods` are sinks for watches of the whole cluster."""

    def __init__(self, place: Place, court: Court, hands: Hands, *, gpu_resource: str) -> None:
        self._place = place
        self._court = court
        self._hands = hands
        self._gpu_resource = gpu_resource
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._told: set[_Told] = set()
        self.nodes = Sightings(name_of, self._wake)
        self.pods = Sightings(key_of, self._wake)

    async def run(self) -> None:
        """Judge after each change and every few seconds."""
        while True:
            try:
                await asyncio.wait_for(self._changed.wait(), LOOK_S)
                await asyncio.sleep(COALESCE_S)
            except TimeoutError:
                pass
            self._changed.clear()
            await self.look()

    async def look(self) -> tuple[Breach, ...]:
        """Judge once and act; returns what was found."""
        if not (self.nodes.is_listed and self.pods.is_listed):
            return ()
        nodes = {name_of(one): one for one in self.nodes.all()}
        pods = (pod_seen(one, self._gpu_resource) for one in self.pods.all())
        found = breaches(self._place, map(node_seen, nodes.values()), pods, self._court.seats())
        self._tell(found)
        if attempts := frozenset(attempt for breach in found for attempt in breach.attempts):
            self._court.fence(attempts)
        doubtful = (nodes[name] for name in sorted({one.node for one in found}) if name in nodes)
        strangers = [one.pod for one in found if one.cause is Cause.FOREIGN_POD_AMONG_JOBS and one.pod is not None]
        await asyncio.to_thread(self._carry_out, tuple(one for one in doubtful if not is_doubted(one)), strangers)
        return found

    def _carry_out(self, doubtful: Iterable[Object], strangers: Iterable[PodSeen]) -> None:
        for node in doubtful:
            if (patch := doubted(node)) is not None:
                name = name_of(node)
                self._try("node_marked", name, partial(self._hands.patch_node, name, patch))
        for pod in strangers:
            self._try("stranger_removed", pod.uid, partial(self._hands.delete_pod, pod))

    def _try(self, event: str, subject: str, work: Callable[[], None]) -> None:
        """Do one thing; what fails is tried again at the next look, since the breach still stands."""
        try:
            work()
        except NordanError as error:
            log.warning("guard_failed", act=event, subject=subject, error=type(error).__name__)
        else:
            log.warning(event, subject=subject)

    def _tell(self, found: Iterable[Breach]) -> None:
        """Log each breach once for as long as it stands; a pod by its uid, since its name may be anybody's words."""
        now = set()
        for breach in found:
            told = _Told(breach.cause, breach.node, breach.pod.uid if breach.pod else "")
            now.add(told)
            if told not in self._told:
                log.warning(
                    "breach_found",
                    cause=breach.cause,
                    node=told.node,
                    pod_uid=told.pod,
                    attempts=sorted(breach.attempts)[:20],
                    count=len(breach.attempts),
                )
        self._told = now

    def _wake(self) -> None:
        self._loop.call_soon_threadsafe(self._changed.set)
