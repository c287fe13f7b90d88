"""Ask inference replicas whether they can serve, and keep the gateway's list of those that can."""

from __future__ import annotations

import asyncio

import httpx

from nordan_core.domain.jobs import JobKind
from nordan_workers.supervisor.fleet import Fleet
from nordan_workers.supervisor.held import Held
from nordan_workers.supervisor.noticeboard import Noticeboard

#: Between two questions, before and after the first good answer.
UNREADY_INTERVAL_S = 0.25
READY_INTERVAL_S = 2.0
TIMEOUT_S = 2.0
#: Bad answers in a row after which a replica gets no more requests.
TOLERATED = 3


class Prober:
    """One probe per running replica."""

    def __init__(
        self, fleet: Fleet, noticeboard: Noticeboard, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._fleet = fleet
        self._noticeboard = noticeboard
        self._http = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, transport=transport)
        self._tasks: set[asyncio.Task[None]] = set()
        self._unanswered: set[str] = set()
        """Attempts whose first question is not answered: until then a successor knows less than the list says."""

    def look(self) -> None:
        """Start a probe for each replica that has none, and tell the gateway who is ready."""
        for held in self._fleet:
            if held.order.kind is JobKind.INFERENCE and held.is_running and not held.is_probed:
                held.is_probed = True
                self._unanswered.add(held.attempt_id)
                task = asyncio.create_task(self._probe(held))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        self._tell()

    async def close(self) -> None:
        """Stop every probe."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.aclose()

    async def _probe(self, held: Held) -> None:
        bad = 0
        while held.is_running:
            bad = 0 if await self._answers(held) else bad + 1
            self._unanswered.discard(held.attempt_id)
            is_ready = bad == 0 or (held.is_ready and bad < TOLERATED)
            if is_ready != held.is_ready:
                held.is_ready = is_ready
                self._fleet.changed.set()
            self._tell()
            await asyncio.sleep(READY_INTERVAL_S if held.is_ready else UNREADY_INTERVAL_S)
        self._unanswered.discard(held.attempt_id)
        held.is_ready = held.is_probed = False
        self._tell()

    async def _answers(self, held: Held) -> bool:
        address = held.status.address if held.status else None
        if address is None:
            return False
        try:
            async with self._http.stream("GET", address.url(held.order.readiness_path)) as response:
                return response.status_code < 400
        except (httpx.HTTPError, httpx.InvalidURL):
            return False

    def _tell(self) -> None:
        if self._unanswered:
            return
        ready = (held for held in self._fleet if held.is_ready and held.is_running and held.record.stopping is None)
        self._noticeboard.services(
            (held.order.job_id, held.order.attempt_id, held.status.address)
            for held in ready
            if held.status is not None and held.status.address is not None
        )
