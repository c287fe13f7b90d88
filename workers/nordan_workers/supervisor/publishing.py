"""Publish rank 0's checkpoints while the attempt runs, and the rest of them when it is over.

A checkpoint counts once the control plane has accepted its manifest under the live fence; a refusal for a stale
fence means that the attempt is no longer ours, and stops it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import structlog

from nordan_core.domain.errors import Unavailable
from nordan_workers.api_client import ApiRefused, CredentialRefused, StaleFence, WorkerApi
from nordan_workers.executors.base import Executor
from nordan_workers.store.errors import StoreError, StoreFull
from nordan_workers.store.region_store import RegionStore
from nordan_workers.supervisor.checkpoints import entries, take_checkpoint
from nordan_workers.supervisor.held import Held
from nordan_workers.supervisor.records import Records, Seen
from nordan_workers.supervisor.staging import rank_zero

Result = TypeVar("Result")
RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Publisher:
    """Takes checkpoints into the store and has the control plane accept them, oldest first."""

    api: WorkerApi
    executor: Executor
    store: RegionStore
    records: Records
    pool: ThreadPoolExecutor

    async def with_news(self, running: Sequence[Held]) -> list[Held]:
        """Return those whose folders hold what was not dealt with, or cannot be read; one look for all."""
        folders = [rank_zero(held.folders).checkpoints if held.folders is not None else None for held in running]
        present = await self._on_thread(lambda: [_entries(folder) for folder in folders])
        pairs = zip(running, present, strict=True)
        return [held for held, there in pairs if there is None or not set(there) <= set(held.record.seen)]

    async def publish_new(self, held: Held) -> None:
        """Publish what an attempt has finished since the last look; a look that is under way is left alone.

        Raises:
            Unavailable, CredentialRefused: the control plane does not take it now.
        """
        if held.is_publishing:
            return
        held.is_publishing = True
        try:
            await self._publish_all(held)
        finally:
            held.is_publishing = False

    async def publish_rest(self, held: Held) -> None:
        """Publish what is left once nothing of the attempt runs.

        A control plane that is away is waited for, since the end cannot be told either: what the last minutes made
        would be lost to the next attempt. When the supervisor closes meanwhile, its successor goes on.
        """
        await self.wait_idle(held)
        while True:
            try:
                return await self.publish_new(held)
            except (Unavailable, CredentialRefused) as error:
                log = structlog.get_logger()
                log.warning("checkpoint_delayed", attempt_id=held.attempt_id, error=type(error).__name__)
            if held.unwanted.is_set():
                return None
            await asyncio.sleep(RETRY_S)

    async def wait_idle(self, held: Held) -> None:
        """Wait for a look that is under way, which may yet write the attempt's record."""
        while held.is_publishing:
            await asyncio.sleep(0.01)

    async def _publish_all(self, held: Held) -> None:
        if held.folders is None:
            held.folders = await self._on_thread(lambda: self.executor.prepare(held.order))
        folder = rank_zero(held.folders).checkpoints
        present = await self._on_thread(lambda: entries(folder))
        known = set(held.record.seen)
        for seen in present:
            if seen not in known and (held.is_disowned or not await self._publish(held, folder, seen)):
                return
            if seen not in known:
                self._remember(held, seen, present)

    async def _publish(self, held: Held, folder: Path, seen: Seen) -> bool:
        """Publish one checkpoint; returns whether it is dealt with, so that the next one may follow."""
        log = structlog.get_logger().bind(attempt_id=held.attempt_id)
        try:
            request = await self._on_thread(lambda: take_checkpoint(held.order, self.store, folder, seen.name))
            accepted = await self.api.publish(request)
        except StaleFence:
            log.warning("checkpoint_fence_stale")
            held.is_disowned = True
            return False
        except StoreFull as error:
            log.warning("checkpoint_delayed", error=type(error).__name__)
            return False
        except (ApiRefused, StoreError, OSError, ValueError) as error:
            # Removed by the program, or nothing that another try would mend.
            log.warning("checkpoint_unusable", error=type(error).__name__)
        else:
            log.info("checkpoint_published", artifact_id=accepted.artifact_id)
        return True

    def _remember(self, held: Held, seen: Seen, present: Iterable[Seen]) -> None:
        """Note an entry as dealt with, and let go of those that the program has removed."""
        still_there = set(present)
        known = tuple(one for one in held.record.seen if one in still_there)
        held.record = replace(held.record, seen=(*known, seen))
        # On the loop's thread, as every write of a record that may race with another step of the attempt.
        self.records.save(held.record)

    async def _on_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self.pool, work)


def _entries(folder: Path | None) -> tuple[Seen, ...] | None:
    """Return a folder's finished entries; None where that is not known, so that a look of its own finds out why."""
    try:
        return entries(folder) if folder is not None else None
    except OSError:
        return None
