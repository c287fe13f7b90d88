"""Stops what became unlawful in a region's cluster. Runs inside the supervisor, which alone knows what is lawful.

It judges when the executor's watches have told of a change, and every few seconds, because attempts come and go as
well. What it does is little and may be repeated: attempts are fenced through the supervisor, a node is marked with a
taint, which ends jobs' pods by itself and reaches the control plane with the next report of nodes, and a stranger among
the jobs is removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import structlog

from nordan_core.domain.errors import NordanError
from nordan_core.domain.ids import AttemptId
from nordan_workers.cluster.breaches import Breach, Cause, NodeSeen, Place, PodSeen, Seats, breaches
from nordan_workers.cluster.sightings import Sightings, node_seen, pod_seen
from nordan_workers.executors.kubernetes import names

#: Attempts that came or went are judged after this at the latest.
LOOK_S = 2.0
#: Changes that come together are judged together: a thousand starting pods must not cost a thousand looks.
COALESCE_S = 0.2
#: Which namespaces the rules leave out is asked so often; whoever installs them changes it by hand.
RULES_S = 60.0

log = structlog.get_logger()


class Hands(Protocol):
    """What the guard does in the cluster, blocking. Every method may be repeated and raises NordanError on failure."""

    def exempted(self) -> frozenset[str] | None:
        """Return the namespaces that the installed rules leave out; None where none are installed."""
        ...

    def mark_node(self, name: str) -> None:
        """Give a node the taint of unverified facts; one that has it, or is gone, is fine."""
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
    """Judges and acts. `nodes`, `jobs` and `others` are sinks for the watches of nodes and pods."""

    def __init__(self, place: Place, hands: Hands, *, gpu_resource: str) -> None:
        self._place = place
        self._hands = hands
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._told: set[_Told] = set()
        self._tainted: set[str] = set()
        read_pod = partial(pod_seen, gpu_resource=gpu_resource)
        self.nodes: Sightings[NodeSeen] = Sightings(node_seen, self._wake)
        self.jobs: Sightings[PodSeen] = Sightings(read_pod, self._wake)
        """Pods of the namespace of jobs."""
        self.others: Sightings[PodSeen] = Sightings(read_pod, self._wake)
        """Pods elsewhere; an account that may not see them guards without."""

    async def run(self, court: Court) -> None:
        """Judge after each change and every few seconds, until cancelled."""
        self._loop = asyncio.get_running_loop()
        learned_at_s = -RULES_S
        while True:
            if self._loop.time() - learned_at_s >= RULES_S:
                await self._learn_rules()
                learned_at_s = self._loop.time()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), LOOK_S)
                await asyncio.sleep(COALESCE_S)
            self._changed.clear()
            try:
                await self.look(court)
            except Exception:
                # A defect of ours; without the guard everything else must go on.
                log.exception("guard_look_failed")

    async def look(self, court: Court) -> tuple[Breach, ...]:
        """Judge once and act; returns what was found."""
        if not (self.nodes.is_listed and self.jobs.is_listed):
            return ()
        nodes = [self._remembered(node) for node in self.nodes.all()]
        found = breaches(self._place, nodes, (*self.jobs.all(), *self.others.all()), court.seats())
        self._tell(found)
        if attempts := frozenset(attempt for breach in found for attempt in breach.attempts):
            court.fence(attempts)
        marked = {node.name for node in nodes if node.is_marked}
        doubtful = sorted({one.node for one in found if one.node} - marked)
        strangers = [one.pod for one in found if one.cause is Cause.FOREIGN_POD_AMONG_JOBS and one.pod is not None]
        if doubtful or strangers:
            await asyncio.to_thread(self._carry_out, doubtful, strangers)
        return found

    async def _learn_rules(self) -> None:
        try:
            exempt = await asyncio.to_thread(self._hands.exempted)
        except NordanError as error:
            log.info("rules_not_read", error=type(error).__name__)
        else:
            self._place = replace(self._place, exempt=exempt)

    def _remembered(self, node: NodeSeen) -> NodeSeen:
        """Return a node with what it bore before; called on the event loop only."""
        if any(key == names.TAINT_POOL for key, _ in node.taints):
            self._tainted.add(node.name)
        return replace(node, had_taint=node.name in self._tainted)

    def _carry_out(self, doubtful: Iterable[str], strangers: Iterable[PodSeen]) -> None:
        for name in doubtful:
            self._try("node_marked", name, partial(self._hands.mark_node, name))
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
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended; nobody is left to tell
                self._loop.call_soon_threadsafe(self._changed.set)
