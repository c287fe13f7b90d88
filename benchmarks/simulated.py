"""A supervisor that starts nothing: it redeems grants, says that its attempts run, and notes when each is told to stop.

It speaks the worker API as the real one does: one state every 2 s, or sooner when it has news, in batches of the same
sizes. Grant ids, which a broker would bring, are read from the database.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nordan_core.domain.errors import NordanError
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptResult, AttemptState
from nordan_core.wire import (
    AttemptReport,
    ExitReport,
    LaunchOrder,
    LiveFence,
    RedeemItem,
    RedeemRequest,
    SyncDown,
    SyncUp,
)
from nordan_workers.api_client import WorkerApi
from nordan_workers.joining import Joined

SYNC_S = 2.0
SPACING_S = 0.1
GRANTS = 200
REPORTS = 500
SUPERVISOR = "sup-simulated"


@dataclass(slots=True)
class Sleeper:
    """One attempt."""

    order: LaunchOrder
    states: list[AttemptState]
    """Not told yet."""
    seq: int = 0
    stopped_at: float | None = None
    """On the monotonic clock."""


class Simulated:
    """The supervisor of one region."""

    def __init__(self, joined: Joined, issued: Callable[[], Sequence[str]]) -> None:
        self._joined = joined
        self._issued = issued
        """Returns ids of grants that wait to be redeemed."""
        self._held: dict[str, Sleeper] = {}
        self._next_at = self._whole_at = 0.0
        self.sync_s: list[float] = []
        """Of each answered sync since `begin`."""
        self.failures: list[str] = []

    async def gather(self, count: int) -> None:
        """Redeem until so many attempts are held, and say that they run."""
        api = WorkerApi(self._joined)
        while len(self._held) < count:
            await self._redeem(api, list(self._issued())[:GRANTS])
            await self._sync_when_due(api)
        while self._has_news():
            await self._sync_when_due(api)
        await api.close()

    async def wait_stopped(self) -> dict[str, float]:
        """Go on until every attempt was told to stop, and return when each was."""
        self.sync_s.clear()
        api = WorkerApi(self._joined)
        while any(one.stopped_at is None for one in self._held.values()):
            await self._sync_when_due(api)
        stops = {name: one.stopped_at for name, one in self._held.items() if one.stopped_at is not None}
        while self._held:
            await self._sync_when_due(api)
        await api.close()
        return stops

    async def _redeem(self, api: WorkerApi, grants: list[str]) -> None:
        if not grants:
            await asyncio.sleep(SPACING_S)
            return
        items = tuple(RedeemItem(grant_id=one, redemption_id=secrets.token_hex(16)) for one in grants)
        request = RedeemRequest(supervisor_id=SUPERVISOR, nonce=secrets.token_hex(16), items=items)
        try:
            answers = (await api.redeem(request)).items
        except NordanError as error:
            self.failures.append(f"redeem: {type(error).__name__}")
            return
        for one in answers:
            if one.order is not None:
                self._held[one.order.attempt_id] = Sleeper(one.order, [AttemptState.PULLING, AttemptState.RUNNING])

    async def _sync_when_due(self, api: WorkerApi) -> None:
        now = time.monotonic()
        if now < self._next_at:
            await asyncio.sleep(self._next_at - now)
        began = time.monotonic()
        reports = self._reports()
        is_whole = began >= self._whole_at + SYNC_S - SPACING_S
        live = tuple(LiveFence(attempt_id=name, fence=one.order.fence) for name, one in self._held.items())
        up = SyncUp(
            supervisor_id=SUPERVISOR,
            nonce=secrets.token_hex(16),
            reports=tuple(reports),
            live=live if is_whole else None,
        )
        try:
            down = await api.sync(up)
        except NordanError as error:
            self.failures.append(f"sync: {type(error).__name__}")
            self._next_at = time.monotonic() + 1.0
            return
        self._whole_at = began if is_whole else self._whole_at
        for report in reports:
            held = self._held[report.attempt_id]
            held.states.pop(0)
        self._take(down)
        self.sync_s.append(time.monotonic() - began)
        self._next_at = began + SPACING_S if self._has_news() else self._whole_at + SYNC_S

    def _take(self, down: SyncDown) -> None:
        now = time.monotonic()
        for order in down.stop:
            held = self._held.get(order.attempt_id)
            if held is not None and held.stopped_at is None and order.reason is Reason.FENCED:
                held.stopped_at = now
                held.states.append(AttemptState.ENDED)
        for name in down.settled:
            self._held.pop(name, None)

    def _has_news(self) -> bool:
        return any(one.states for one in self._held.values())

    def _reports(self) -> list[AttemptReport]:
        waiting = [(name, one) for name, one in self._held.items() if one.states][:REPORTS]
        return [self._report(name, one) for name, one in waiting]

    def _report(self, name: str, one: Sleeper) -> AttemptReport:
        one.seq += 1
        told: dict[str, object] = {"attempt_id": name, "fence": one.order.fence, "seq": one.seq, "state": one.states[0]}
        if one.states[0] is AttemptState.ENDED:
            ranks = tuple(ExitReport(rank=rank.rank, exit_code=None, signal=9) for rank in one.order.ranks)
            told |= {"result": AttemptResult.FENCED, "reason": Reason.FENCED, "ranks": ranks, "running_s": 1.0}
        return AttemptReport.model_validate(told)
