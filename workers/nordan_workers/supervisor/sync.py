"""Tell the control plane how the region's attempts stand, and carry its answer out: every 2 s, and soon after a change.

Every 2 s the whole state goes up, in between only what has changed: a word about all for each change would cost the
square of what runs here. One signed renewal moves the deadlines of all attempts that it names; they count from when the
request was sent. An attempt that it does not name is not extended, and its shims stop it by themselves.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from nordan_core.clock import Clock
from nordan_core.domain.errors import Unavailable
from nordan_core.domain.ids import AttemptId
from nordan_core.domain.reasons import Reason
from nordan_core.proof.errors import TokenError
from nordan_core.wire import AttemptReport, LiveFence, NodesMessage, StopOrder, SyncDown, SyncUp
from nordan_workers.api_client import ApiRefused, CredentialRefused, WorkerApi
from nordan_workers.executors.base import Executor
from nordan_workers.faults import Faults
from nordan_workers.joining import Joined
from nordan_workers.supervisor.attempts import FENCED
from nordan_workers.supervisor.fleet import Fleet
from nordan_workers.supervisor.grants import Asked, GrantRejected, lives_of
from nordan_workers.supervisor.noticeboard import Noticeboard
from nordan_workers.supervisor.records import Phase, Stopping
from nordan_workers.trust import Trust

INTERVAL_S = 2.0
#: A change is told this much later, so that what happens together is told together.
COALESCE_S = 0.02
#: Two requests are at least this far apart, and further where they take long: then everybody is busy, and what happens
#: together should be told together.
SPACING_S = 0.1
SPACING_PER_SECOND = 3.0
LONGEST_SPACING_S = 0.5
RETRY_S = 1.0
#: An end that is not settled is told again after this time.
RESEND_S = 2.0
MAX_REPORTS = 500
#: A report about nodes that the control plane has refused is sent again after this time.
REFUSED_NODES_S = 15.0
#: An orderly stop waits so long for the control plane.
LAST_WORD_S = 3.0
FAILURES = (Unavailable, CredentialRefused, ApiRefused, TokenError, GrantRejected, OSError)
#: Files in the outputs of one request; a single report may have more.
MAX_FILES = 20_000


class NodeSource(Protocol):
    """Knows the nodes of the region's cluster; `nordan_workers.cluster.watching` is one."""

    def start(self, changed: Callable[[], None]) -> None:
        """Begin; `changed` may be called from any thread."""
        ...

    def news(self, now_s: float) -> NodesMessage | None:
        """Return what the control plane should be told now; None when it knows."""
        ...

    def was_told(self, message: NodesMessage, at_s: float) -> None:
        """Note that the control plane has stored a report."""
        ...

    def was_not_told(self) -> None:
        """Note that a report did not arrive: it is due again."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


@dataclass(frozen=True, slots=True)
class Line:
    """What syncing needs."""

    api: WorkerApi
    executor: Executor
    noticeboard: Noticeboard
    joined: Joined
    trust: Trust
    supervisor_id: str
    clock: Clock
    faults: Faults
    nodes: NodeSource | None = None
    """None for an executor whose nodes are in the pool's document."""


class Syncer:
    """Keeps the control plane and the fleet in step, for as long as it runs."""

    def __init__(self, line: Line, fleet: Fleet) -> None:
        self._line = line
        self._fleet = fleet
        self._sent_at_s = self._whole_at_s = -INTERVAL_S
        self.turned_at_s = line.clock.monotonic()
        """When the last round began; a supervisor whose rounds stay away does not do its work."""
        self._is_cautious = False
        """Reports go one by one until none is left, because the control plane has refused some."""
        self._nodes_rest_until_s = 0.0
        self._spacing_s = SPACING_S

    async def run(self) -> None:
        """Sync until cancelled."""
        while True:
            await self._wait()
            self.turned_at_s = self._line.clock.monotonic()
            try:
                await self.sync()
            except FAILURES as error:
                structlog.get_logger().warning("sync_failed", error=type(error).__name__)
                await asyncio.sleep(RETRY_S)

    async def say_last_word(self) -> None:
        """Tell what was not told yet, if the control plane listens now; for an orderly stop."""
        if not any(held.has_news for held in self._fleet):
            return
        try:
            async with asyncio.timeout(LAST_WORD_S):
                await self.sync()
        except (*FAILURES, TimeoutError) as error:
            structlog.get_logger().info("last_word_unheard", error=type(error).__name__)

    async def sync(self) -> None:
        """Send the whole state, or the news where that is not due yet, and carry the answer out.

        Raises:
            Unavailable, CredentialRefused, ApiRefused: nothing was told.
            TokenError, GrantRejected: the renewal is not good; nothing was extended, the rest was carried out.
        """
        self._fleet.changed.clear()
        self._sent_at_s = sent_at_s = self._line.clock.monotonic()
        is_whole = sent_at_s >= self._whole_at_s + INTERVAL_S - SPACING_S
        reports = self._reports(sent_at_s)
        has_end = any(report.result is not None for report in reports)
        if has_end:
            self._line.faults.at("before_report")
        up = SyncUp(
            supervisor_id=self._line.supervisor_id,
            nonce=secrets.token_hex(16),
            reports=reports,
            live=self._live() if is_whole else None,
            nodes=self._news_of_nodes(sent_at_s),
        )
        down = await self._send(up, sent_at_s)
        if is_whole:
            self._whole_at_s = sent_at_s
            self._line.noticeboard.fences(down.fenced_objects)
            self._line.noticeboard.successions(down.successions)
        self._is_cautious = self._is_cautious and bool(reports)
        if has_end:
            self._line.faults.at("after_report")
        for report in reports:
            if (held := self._fleet.get(report.attempt_id)) is not None:
                held.was_told(report, sent_at_s)
        self._line.trust.learn(down.successions)
        self._carry_out(down)
        await self._renew(down, up.nonce, sent_at_s)

    def _live(self) -> tuple[LiveFence, ...]:
        return tuple(LiveFence(attempt_id=one.attempt_id, fence=one.order.fence) for one in self._fleet)

    async def _send(self, up: SyncUp, sent_at_s: float) -> SyncDown:
        source = self._line.nodes if up.nodes is not None else None
        if source is not None:
            # Until it is known to have arrived.
            source.was_not_told()
        try:
            down = await self._line.api.sync(up)
            took_s = self._line.clock.monotonic() - sent_at_s
            self._spacing_s = min(max(SPACING_S, SPACING_PER_SECOND * took_s), LONGEST_SPACING_S)
        except ApiRefused as error:
            if up.nodes is not None:
                # Whoever is at fault: what the cluster's nodes do must not stop the renewals of what runs there.
                self._nodes_rest_until_s = sent_at_s + REFUSED_NODES_S
            self._single_out(up.reports, error, sent_at_s)
            raise
        if source is not None and up.nodes is not None:
            source.was_told(up.nodes, sent_at_s)
        return down

    def _news_of_nodes(self, now_s: float) -> NodesMessage | None:
        if self._line.nodes is None or now_s < self._nodes_rest_until_s:
            return None
        return self._line.nodes.news(now_s)

    def _single_out(self, reports: tuple[AttemptReport, ...], error: ApiRefused, now_s: float) -> None:
        """Find the report that the control plane refuses: one job's report must not stop the renewals of all."""
        self._is_cautious = bool(reports)
        held = self._fleet.get(reports[0].attempt_id) if len(reports) == 1 else None
        if held is not None:
            structlog.get_logger().warning("report_refused", attempt_id=held.attempt_id, code=error.code)
            held.was_told(reports[0], now_s)
            self._fleet.drop_outputs(held, error.code)

    async def _wait(self) -> None:
        """Wait for the next change or the next interval, whichever comes first."""
        until_next_s = self._whole_at_s + INTERVAL_S - self._line.clock.monotonic()
        try:
            await asyncio.wait_for(self._fleet.changed.wait(), max(0.0, until_next_s))
        except TimeoutError:
            return
        due_s = min(self._sent_at_s + self._spacing_s, self._whole_at_s + INTERVAL_S)
        await asyncio.sleep(max(COALESCE_S, due_s - self._line.clock.monotonic()))

    def _reports(self, now_s: float) -> tuple[AttemptReport, ...]:
        reports: list[AttemptReport] = []
        files = 0
        for held in self._fleet:
            if (report := held.news(now_s, RESEND_S)) is None:
                continue
            files += sum(len(output.manifest.files) for output in report.outputs)
            if reports and (files > MAX_FILES or len(reports) >= (1 if self._is_cautious else MAX_REPORTS)):
                self._fleet.changed.set()
                break
            reports.append(report)
        return tuple(reports)

    def _carry_out(self, down: SyncDown) -> None:
        for order in down.stop:
            self._want_stop(order)
        for attempt_id in down.unknown:
            if (held := self._fleet.get(attempt_id)) is not None:
                held.is_disowned = True
                self._fleet.wake(held)
        for attempt_id in down.settled:
            # Only an end that is on disk here can have been settled.
            if (held := self._fleet.get(attempt_id)) is not None and held.record.phase is Phase.ENDED:
                held.is_settled = True
                self._fleet.wake(held)

    def _want_stop(self, order: StopOrder) -> None:
        held = self._fleet.get(order.attempt_id)
        if held is not None:
            held.want_stop(FENCED if order.reason is Reason.FENCED else Stopping(order.reason, order.grace_s))
            self._fleet.wake(held)

    async def _renew(self, down: SyncDown, nonce: str, sent_at_s: float) -> None:
        if not down.renewal:
            return
        asked = Asked(self._line.joined.region, self._line.supervisor_id, nonce)
        deadlines = {}
        for (attempt_id, fence), life_s in lives_of(down.renewal, asked, self._line.trust.live()).items():
            if (deadline_s := self._extended(attempt_id, fence, sent_at_s + life_s)) is not None:
                deadlines[AttemptId(attempt_id)] = deadline_s
        if deadlines:
            await asyncio.to_thread(self._line.executor.extend, deadlines)

    def _extended(self, attempt_id: str, fence: int, deadline_s: float) -> float | None:
        """Move one deadline in memory; returns it when the executor must know of it."""
        held = self._fleet.get(attempt_id)
        if held is None or held.order.fence != fence or held.is_disowned:
            return None
        held.deadline_s = deadline_s
        return held.deadline_s if held.record.phase is Phase.LAUNCHED else None
