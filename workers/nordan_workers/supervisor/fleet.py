"""The attempts that this supervisor holds, and the taking of each step that `attempts.decide` names.

Everything here runs on the event loop's thread, except what is handed to the pool; an attempt has at most one step
in the pool, and is left alone until that is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog

from nordan_core.clock import Clock
from nordan_core.domain.errors import NotFound
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptResult
from nordan_workers.executors.base import Executor
from nordan_workers.supervisor.attempts import Decision, Ending, Step, decide
from nordan_workers.supervisor.held import Held
from nordan_workers.supervisor.launching import Launcher
from nordan_workers.supervisor.noticeboard import Noticeboard
from nordan_workers.supervisor.outputs import Collected, collect
from nordan_workers.supervisor.publishing import Publisher
from nordan_workers.supervisor.records import Phase, Record
from nordan_workers.supervisor.reports import final_report
from nordan_workers.supervisor.staging import has_content, rank_zero

Result = TypeVar("Result")
_BROKEN = Ending(AttemptResult.FAILED, Reason.INTERNAL_ERROR, "the region's supervisor met an error of its own")


@dataclass(frozen=True, slots=True)
class Tools:
    """What taking a step needs."""

    executor: Executor
    launcher: Launcher
    publisher: Publisher
    noticeboard: Noticeboard
    clock: Clock
    pool: ThreadPoolExecutor


class Fleet:
    """Held attempts by id. `changed` is set whenever there may be something to tell the control plane."""

    def __init__(self, tools: Tools, first_seq: int) -> None:
        self.changed = asyncio.Event()
        self._tools = tools
        self._first_seq = first_seq
        self._held: dict[str, Held] = {}
        self._grants: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False

    def __iter__(self) -> Iterator[Held]:
        return iter(tuple(self._held.values()))

    def __len__(self) -> int:
        return len(self._held)

    def get(self, attempt_id: str) -> Held | None:
        """Return an attempt that is held."""
        return self._held.get(attempt_id)

    def holds_grant(self, grant_id: str) -> bool:
        """Tell whether an attempt under this grant is held."""
        return grant_id in self._grants

    def add(self, record: Record) -> None:
        """Hold an attempt from its record on disk, and take its next step."""
        assert record.order is not None
        is_same_boot = record.boot_id == self._tools.launcher.boot_id
        deadline_s = record.deadline_s if is_same_boot else 0.0
        held = Held(record, record.order, deadline_s, self._first_seq)
        self._held[held.attempt_id] = held
        self._grants.add(record.grant_id)
        self.wake(held)

    def wake(self, held: Held) -> None:
        """Look at an attempt and take steps until it waits."""
        if self._is_closing or held.attempt_id not in self._held:
            return
        self._look(held)
        while (decision := decide(held.facts(), self._tools.clock.monotonic())).step is not Step.WAIT:
            if not self._take(held, decision):
                break
        if held.has_news:
            self.changed.set()

    def wake_all(self) -> None:
        """Look at every attempt: the net below lost events, and what notices that a time has come."""
        for held in self:
            try:
                self.wake(held)
            except OSError as error:
                log = structlog.get_logger()
                log.warning("attempt_not_looked_at", attempt_id=held.attempt_id, error=type(error).__name__)

    def drop_outputs(self, held: Held, code: str) -> None:
        """Write an end down anew, without the outputs that the control plane refuses to hear of."""
        if held.record.final is None or not held.record.final.outputs:
            return
        ending = Ending(AttemptResult.FAILED, Reason.INTERNAL_ERROR, f"the control plane refused the outputs: {code}")
        final = final_report(held.order, ending, held.next_seq(), held.status)
        held.record = replace(held.record, final=final)
        held.final_told_at_s = None
        self._tools.launcher.records.save(held.record)

    async def close(self) -> None:
        """Take no further step, and wait for those under way; a successor goes on from the records."""
        self._is_closing = True
        for held in self:
            held.unwanted.set()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _look(self, held: Held) -> None:
        if held.record.phase is not Phase.LAUNCHED or held.is_busy:
            return
        try:
            held.status = self._tools.executor.poll(held.attempt_id)
        except NotFound:
            held.status = None

    def _take(self, held: Held, decision: Decision) -> bool:
        """Take one step; returns whether the next one may be decided at once."""
        match decision.step:
            case Step.ABANDON:
                held.unwanted.set()
                return False
            case Step.STOP:
                return self._stop(held, decision)
            case Step.START:
                self._begin(held, self._start(held), if_broken=_BROKEN)
            case Step.COLLECT:
                self._begin(held, self._collect(held, decision), if_broken=_BROKEN)
            case Step.END:
                self._begin(held, self._end(held, decision))
            case Step.FORGET:
                self._begin(held, self._forget(held))
        return True

    def _stop(self, held: Held, decision: Decision) -> bool:
        assert decision.stopping is not None
        held.record = replace(held.record, stopping=decision.stopping)
        log = structlog.get_logger().bind(attempt_id=held.attempt_id, reason=decision.stopping.reason)
        try:
            self._tools.launcher.records.save(held.record)
        except OSError as error:
            # A full disk must not keep anything running; a successor may then call the end by another name.
            log.warning("attempt_stop_not_noted", error=type(error).__name__)
        self._tools.executor.stop(held.attempt_id, decision.stopping.grace_s)
        log.info("attempt_stopping")
        return True

    def _begin(self, held: Held, work: Coroutine[Any, Any, None], if_broken: Ending | None = None) -> None:
        held.is_busy = True
        task = asyncio.create_task(self._background(held, work, if_broken))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _background(self, held: Held, work: Coroutine[Any, Any, None], if_broken: Ending | None) -> None:
        """Run one step. One that breaks ends the attempt with `if_broken`; without, the next scan tries it again."""
        try:
            await work
        except Exception:  # noqa: BLE001  whatever a step meets must not take the other attempts down
            structlog.get_logger().exception("attempt_step_failed", attempt_id=held.attempt_id)
            held.failure = held.failure or if_broken
            held.is_busy = False
        else:
            held.is_busy = False
            self.wake(held)

    async def _start(self, held: Held) -> None:
        if has_content(held.order):
            self.changed.set()
        launcher = self._tools.launcher
        started = await self._on_thread(
            lambda: launcher.start(held.record, lambda: held.deadline_s, lambda: not held.unwanted.is_set())
        )
        held.record = started.record
        held.folders = started.folders or held.folders
        held.is_launched = started.is_launched
        held.failure = started.failure
        structlog.get_logger().info("attempt_launched", attempt_id=held.attempt_id, is_launched=started.is_launched)

    async def _collect(self, held: Held, decision: Decision) -> None:
        assert decision.ending is not None
        await self._tools.publisher.publish_rest(held)
        folders = held.folders
        assert folders is not None
        collected = Collected()
        if decision.ending.result is AttemptResult.SUCCEEDED and not held.is_disowned:
            store = self._tools.launcher.store
            collected = await self._on_thread(lambda: collect(held.order, store, rank_zero(folders).outputs))
        held.failure = held.failure or collected.failure
        held.collected = collected

    async def _end(self, held: Held, decision: Decision) -> None:
        assert decision.ending is not None
        await self._tools.publisher.wait_idle(held)
        is_alive = held.status is not None and not held.status.is_over
        if is_alive:
            await self._on_thread(lambda: self._tools.executor.forget(held.attempt_id))
        is_success = decision.ending.result is AttemptResult.SUCCEEDED
        outputs = held.collected.outputs if held.collected and is_success else ()
        held.is_ending = True
        final = final_report(held.order, decision.ending, held.next_seq(), held.status, outputs)
        record = replace(held.record, phase=Phase.ENDED, final=final)
        await self._on_thread(lambda: self._write_end(record, held.attempt_id))
        held.record = record
        held.is_ready = False
        structlog.get_logger().info(
            "attempt_ended", attempt_id=held.attempt_id, result=decision.ending.result, reason=decision.ending.reason
        )

    def _write_end(self, record: Record, attempt_id: str) -> None:
        self._tools.launcher.records.save(record)
        self._tools.noticeboard.logs_are_complete(attempt_id)

    async def _forget(self, held: Held) -> None:
        await self._on_thread(lambda: self._remove(held))
        self._held.pop(held.attempt_id, None)
        self._grants.discard(held.record.grant_id)

    def _remove(self, held: Held) -> None:
        """The record goes last: while it is there, a successor knows that there is something to remove."""
        self._tools.executor.forget(held.attempt_id)
        if held.record.final is None:
            self._tools.noticeboard.logs_are_complete(held.attempt_id)
        self._tools.launcher.records.remove(held.record.grant_id)

    async def _on_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._tools.pool, work)
