"""The one way in which an attempt is started: stage, note it, launch. Runs on a thread.

The note comes before the launch, so a successor of a supervisor that died in between launches again; the executor
sees to it that no rank starts twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from nordan_core.domain.errors import NotFound
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptResult
from nordan_core.wire import LaunchOrder
from nordan_workers.executors.base import Executor, LaunchFailed, WorkFolders
from nordan_workers.faults import Faults
from nordan_workers.store.errors import ContentMissing, StoreError
from nordan_workers.store.region_store import RegionStore
from nordan_workers.supervisor.attempts import Ending
from nordan_workers.supervisor.records import Phase, Record, Records
from nordan_workers.supervisor.staging import Abandoned, stage


@dataclass(frozen=True, slots=True)
class Started:
    """What became of a start; `failure` is None when the executor has launched, or nobody wanted it any more."""

    record: Record
    folders: WorkFolders | None = None
    is_launched: bool = False
    failure: Ending | None = None


@dataclass(frozen=True, slots=True)
class Launcher:
    """What a start needs of the region."""

    executor: Executor
    store: RegionStore
    records: Records
    boot_id: str
    faults: Faults

    def start(self, record: Record, deadline_s: Callable[[], float], is_wanted: Callable[[], bool]) -> Started:
        """Bring one attempt to run, or say why not; safe to repeat at any point. Disk errors of our own pass.

        `deadline_s` is asked for right before the launch: staging may take longer than the grant's first life.
        """
        order = record.order
        assert order is not None
        try:
            folders, noted = self._staged(order, record, is_wanted)
            if not is_wanted():
                return Started(record)
            self.records.save(noted)
            record = noted
            self.faults.at("before_launch")
            self.executor.launch(order, folders, deadline_s())
            self.faults.at("after_launch")
        except Abandoned:
            return Started(record)
        except (LaunchFailed, NotFound, StoreError) as error:
            return Started(record, failure=_failure(error))
        return Started(record, folders, is_launched=True)

    def _staged(self, order: LaunchOrder, record: Record, is_wanted: Callable[[], bool]) -> tuple[WorkFolders, Record]:
        if record.phase is Phase.LAUNCHED:
            return self.executor.prepare(order), record
        staged = stage(order, self.executor, self.store, is_wanted)
        return staged.folders, replace(record, phase=Phase.LAUNCHED, boot_id=self.boot_id, seen=staged.laid)


def _failure(error: LaunchFailed | NotFound | StoreError) -> Ending:
    if isinstance(error, ContentMissing):
        return Ending(AttemptResult.FAILED, Reason.DATA_NOT_IN_REGION, str(error))
    if isinstance(error, StoreError):
        return Ending(AttemptResult.FAILED, Reason.INTERNAL_ERROR, str(error))
    reason = error.reason if isinstance(error, LaunchFailed) else Reason.NODE_CAPACITY_TAKEN
    return Ending(AttemptResult.FAILED, reason, f"it could not be started: {error}")
