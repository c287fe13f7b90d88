"""The supervisor: its parts put together, what it adopts at the start, and what it does each second."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from nordan_core.clock import Clock
from nordan_core.domain.errors import NordanError
from nordan_core.domain.jobs import JobKind
from nordan_workers.api_client import WorkerApi
from nordan_workers.cluster.guard import Guard
from nordan_workers.executors.base import EVENTS_SOCKET, Executor
from nordan_workers.faults import Faults
from nordan_workers.handover import SUPERVISOR_SOCKET
from nordan_workers.joining import Joined
from nordan_workers.pulse import INTERVAL_S, Pulse
from nordan_workers.store.region_store import RegionStore
from nordan_workers.supervisor.court import FleetCourt
from nordan_workers.supervisor.doorway import EXEC_SOCKET, Doorway
from nordan_workers.supervisor.fleet import Fleet, Tools
from nordan_workers.supervisor.held import Held
from nordan_workers.supervisor.inbox import Inbox
from nordan_workers.supervisor.launching import Launcher
from nordan_workers.supervisor.noticeboard import Noticeboard
from nordan_workers.supervisor.publishing import Publisher
from nordan_workers.supervisor.readiness import Prober
from nordan_workers.supervisor.records import Phase, Records
from nordan_workers.supervisor.redeeming import Desk, Redeemer
from nordan_workers.supervisor.sync import Line, NodeSource, Syncer
from nordan_workers.trust import Trust

#: Net below lost events, and the grain of `max_duration`. Looking at thousands of attempts takes a while: after it, so
#: many times as long is left to other work.
SCAN_S = 1.0
SCAN_REST = 20.0
LONGEST_SCAN_S = 5.0
POOL_THREADS = 8
#: Longer than a round takes when the control plane is away and every request runs into its time limit.
LONGEST_ROUND_S = 60.0


@dataclass(frozen=True, slots=True)
class Region:
    """Everything outside that a supervisor stands on."""

    region_dir: Path
    joined: Joined
    executor: Executor
    store: RegionStore
    records: Records
    api: WorkerApi
    clock: Clock
    faults: Faults
    boot_id: str
    pulse: Pulse = field(default_factory=Pulse)
    nodes: NodeSource | None = None
    """For an executor whose nodes come from a cluster."""
    guard: Guard | None = None
    """For an executor whose cluster others can change, too."""


def _wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    """Set an event from another thread; one that outlives the loop has nobody to tell."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(event.set)


class Supervisor:
    """One region's supervisor; `run` returns once `stop` was called. Attempts run on."""

    def __init__(self, region: Region) -> None:
        self._region = region
        self._pool = ThreadPoolExecutor(POOL_THREADS, thread_name_prefix="step")
        self._stopped = asyncio.Event()
        first_seq = region.records.next_sequence()
        noticeboard = Noticeboard(region.region_dir)
        trust = Trust(region.joined.keys, region.clock)
        trust.learn(noticeboard.earlier_successions())
        self._publisher = Publisher(region.api, region.executor, region.store, region.records, self._pool)
        launcher = Launcher(region.executor, region.store, region.records, region.boot_id, region.faults)
        tools = Tools(region.executor, launcher, self._publisher, noticeboard, region.clock, self._pool)
        self._fleet = Fleet(tools, first_seq)
        desk = Desk(
            api=region.api,
            records=region.records,
            joined=region.joined,
            trust=trust,
            clock=region.clock,
            faults=region.faults,
            boot_id=region.boot_id,
            is_single_tenant=region.executor.tenancy == ("single",),
            first_seq=first_seq,
            supervisor_id=region.records.supervisor_id(),
        )
        self._redeemer = Redeemer(desk, self._fleet)
        line = Line(
            api=region.api,
            executor=region.executor,
            noticeboard=noticeboard,
            joined=region.joined,
            trust=trust,
            supervisor_id=region.records.supervisor_id(),
            clock=region.clock,
            faults=region.faults,
            nodes=region.nodes,
        )
        self._syncer = Syncer(line, self._fleet)
        self._prober = Prober(self._fleet, noticeboard)
        self._looks: set[asyncio.Task[None]] = set()
        self._look: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Have `run` return soon."""
        self._stopped.set()

    async def run(self) -> None:
        """Adopt what is there, then redeem, run and report until `stop`."""
        self._adopt()
        run_folder = self._region.region_dir / "run"
        inboxes = (
            Inbox(run_folder / SUPERVISOR_SOCKET, "grt", self._redeemer.offer),
            Inbox(run_folder / EVENTS_SOCKET, "att", self._on_event),
        )
        loop = asyncio.get_running_loop()
        for inbox in inboxes:
            inbox.open(loop)
        if self._region.nodes is not None:
            self._region.nodes.start(partial(_wake, loop, self._fleet.changed))
        doorway = Doorway(run_folder / EXEC_SOCKET, self._region.executor, self._may_be_entered)
        doorway.open(loop)
        structlog.get_logger().info("supervisor_ready", region=self._region.joined.region, attempts=len(self._fleet))
        lasting = [self._redeemer.run, self._syncer.run, self._scan, self._show_pulse, self._until_stopped]
        if self._region.guard is not None:
            lasting.append(partial(self._region.guard.run, FleetCourt(self._fleet)))
        tasks = [asyncio.create_task(work()) for work in lasting]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for inbox in inboxes:
                inbox.close(loop)
            await doorway.close(loop)
            await self._close(tasks)

    async def _until_stopped(self) -> None:
        await self._stopped.wait()

    def _adopt(self) -> None:
        """Take up what an earlier incarnation left: records first, then what only the executor remembers."""
        known = set(self._region.executor.adopt())
        records = self._region.records.load()
        for record in records:
            if record.phase is not Phase.ASKED:
                self._fleet.add(record)
        self._redeemer.resume(record for record in records if record.phase is Phase.ASKED)
        for attempt_id in known - {held.attempt_id for held in self._fleet}:
            # Its record is gone, so its end was settled: the removal was cut short.
            structlog.get_logger().info("attempt_left_over", attempt_id=attempt_id)
            self._region.executor.forget(attempt_id)

    def _on_event(self, attempt_id: str) -> None:
        held = self._fleet.get(attempt_id)
        if held is not None:
            self._fleet.wake(held)
            if held.order.kind is JobKind.INFERENCE:
                self._prober.look()

    def _may_be_entered(self, attempt_id: str) -> bool:
        held = self._fleet.get(attempt_id)
        return held is not None and held.is_running and not held.is_to_stop

    async def _scan(self) -> None:
        took_s, clock = 0.0, self._region.clock
        while True:
            await asyncio.sleep(min(LONGEST_SCAN_S, max(SCAN_S, SCAN_REST * took_s)))
            began_s = clock.monotonic()
            self._fleet.wake_all()
            took_s = clock.monotonic() - began_s
            self._prober.look()
            if self._look is None or self._look.done():
                self._look = self._begin(self._look_for_checkpoints())

    async def _show_pulse(self) -> None:
        while True:
            if self._region.clock.monotonic() - self._syncer.turned_at_s < LONGEST_ROUND_S:
                self._region.pulse.beat()
            await asyncio.sleep(INTERVAL_S)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)
        return task

    async def _look_for_checkpoints(self) -> None:
        """Look at all folders at once, and publish from those alone that have something: a thousand have nothing."""
        for held in await self._publisher.with_news([one for one in self._fleet if _may_be_looked_at(one)]):
            if _may_be_looked_at(held):
                self._begin(self._publish_checkpoints(held))

    async def _publish_checkpoints(self, held: Held) -> None:
        try:
            await self._publisher.publish_new(held)
        except (NordanError, OSError) as error:
            structlog.get_logger().warning(
                "checkpoints_not_seen", attempt_id=held.attempt_id, error=type(error).__name__
            )
        if held.is_disowned:
            self._fleet.wake(held)

    async def _close(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._prober.close()
        while self._looks:
            await asyncio.gather(*self._looks, return_exceptions=True)
        await self._fleet.close()
        await self._syncer.say_last_word()
        self._pool.shutdown()
        if self._region.nodes is not None:
            self._region.nodes.close()
        self._region.executor.close()
        await self._region.api.close()


def _may_be_looked_at(held: Held) -> bool:
    return held.is_running and not (held.is_busy or held.is_disowned or held.is_publishing)
