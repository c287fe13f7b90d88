"""What this process knows of each attempt and rank, in memory and in the notes below it that survive the process.

Each note is written before the memory changes, so that a successor never knows less than was acted upon. A rank's end
is noted once and stays, whatever becomes of its pod.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from nordan_core.clock import Clock
from nordan_core.domain.ids import AttemptId
from nordan_core.domain.reasons import Reason
from nordan_core.wire import ExitReport, LaunchOrder
from nordan_workers.executors.base import AttemptStatus, RankState, RankStatus
from nordan_workers.executors.book import Prepared
from nordan_workers.executors.kubernetes import names, records
from nordan_workers.executors.kubernetes.endings import Want
from nordan_workers.executors.kubernetes.manifests import SHIP_S
from nordan_workers.executors.kubernetes.pods import Sighting, Stage
from nordan_workers.executors.kubernetes.status import Outcome, PodView, Trouble
from nordan_workers.shim.records import Stop, read, write


@dataclass(frozen=True, slots=True)
class Now:
    """One instant, by both clocks."""

    at_s: float
    """Boot-time clock."""
    wall: datetime

    @classmethod
    def of(cls, clock: Clock) -> Now:
        """Read the clocks."""
        return cls(clock.monotonic(), clock.now())

    def boot_time(self, wall: datetime) -> float:
        """Return an instant of a node's wall clock on ours; wrong by as much as the clocks differ."""
        return self.at_s - (self.wall - wall).total_seconds()


class Seat:
    """One rank: its pod's name, and what was noted of it."""

    def __init__(self, attempt_id: AttemptId, rank: int, folder: Path) -> None:
        self.attempt_id = attempt_id
        self.rank = rank
        self.pod = names.pod_name(attempt_id, rank)
        self.is_bound = False
        self.deletion_s: float | None = None
        """Boot-time clock: when the pod is killed by the deletion that was asked for."""
        self._folder = folder
        self.created = read(folder / records.CREATED, records.Created)
        self.started = read(folder / records.STARTED, records.Started)
        self.end = read(folder / records.ENDED, records.Ended)
        self._status: RankStatus | None = None

    @property
    def folder(self) -> Path:
        """Return the folder of the rank's notes."""
        return self._folder

    def is_own(self, view: PodView) -> bool:
        """Tell whether a pod is this rank's, and not somebody else's under the same name."""
        if self.created is not None and view.uid != self.created.uid:
            return False
        return view.attempt_id == self.attempt_id and view.rank == self.rank

    def note_created(self, uid: str, node: str) -> None:
        """Note that the pod was made, for this node."""
        if self.created is None:
            created = records.Created(uid, node)
            write(self._folder / records.CREATED, created)
            self.created = created

    def note_started(self, sighting: Sighting, boot_id: str, now: Now, earliest_s: float) -> None:
        """Note when the program began, as well as can be told, once."""
        if self.started is not None or not sighting.view.has_started:
            return
        if sighting.is_live and sighting.stage is Stage.RUNNING:
            at_s = sighting.since_s
        else:
            began = sighting.view.started_at
            at_s = now.boot_time(began) if began is not None else sighting.since_s
        at_s = max(earliest_s, min(at_s, now.at_s))
        started = records.Started(boot_id, at_s, now.wall.timestamp() - (now.at_s - at_s))
        write(self._folder / records.STARTED, started)
        self.started = started

    def started_at_s(self, boot_id: str, now: Now) -> float | None:
        """Return when the program began, on this machine's boot-time clock."""
        if self.started is None:
            return None
        if self.started.boot_id == boot_id:
            return self.started.at_s
        return now.at_s - (now.wall.timestamp() - self.started.wall_s)

    def note_end(self, outcome: Outcome, started_at_s: float | None, ended_at_s: float) -> None:
        """Note how the rank ended, once."""
        if self.end is not None:
            return
        report = outcome.report
        end = records.Ended(
            is_lost=outcome.cause is Reason.NODE_LOST,
            cause=outcome.cause or "",
            message=outcome.message,
            started_at_s=started_at_s,
            ended_at_s=ended_at_s,
            exit_code=report.exit_code,
            signal=report.signal,
            user_s=report.user_s,
            system_s=report.system_s,
            max_rss_kib=report.max_rss_kib,
            oom=report.oom,
            at_deadline=report.at_deadline,
        )
        write(self._folder / records.ENDED, end)
        self.end = end

    def final_status(self) -> RankStatus | None:
        """Return the status that will not change again; None while there is none."""
        if self._status is None and (end := self.end) is not None:
            is_lost = end.is_lost
            self._status = RankStatus(
                self.rank,
                RankState.LOST if is_lost else RankState.EXITED,
                started_at_s=end.started_at_s,
                ended_at_s=end.ended_at_s,
                exit=_report(self.rank, end),
                cause=Reason(end.cause) if end.cause else None,
                message=end.message,
                pod=self.created.uid if self.created is not None else None,
            )
        return self._status


class Attempt:
    """One attempt that was prepared and not forgotten; `lock` is held while its notes change."""

    def __init__(self, prepared: Prepared, folder: Path) -> None:
        self.id = prepared.attempt_id
        self.prepared_at_s = prepared.at_s
        self.lock = threading.RLock()
        self.folder = folder
        self.order: LaunchOrder | None = None
        """Known once it was launched by this process."""
        self.launched = read(folder / records.LAUNCHED, records.Launched)
        self.condemned = _trouble(read(folder / records.CONDEMNED, records.Condemned))
        self.pod_record = read(folder / records.POD, records.PodRecord)
        self.stop: Stop | None = None
        self.deadline_s = float("inf")
        self.is_late = False
        """The deadline has passed and was acted upon: another one comes too late."""
        self.is_forgotten = False
        self.final: AttemptStatus | None = None
        self.seats = tuple(Seat(self.id, rank, folder / f"rank-{rank}") for rank in prepared.ranks)

    def condemn(self, trouble: Trouble) -> None:
        """Note that the attempt is given up, and why, once."""
        if self.condemned is None:
            write(self.folder / records.CONDEMNED, records.Condemned(trouble.cause, trouble.message))
            self.condemned = trouble

    def note_launched(self, launched: records.Launched) -> None:
        """Note that it was launched, once."""
        if self.launched is None:
            write(self.folder / records.LAUNCHED, launched)
            self.launched = launched

    @property
    def grace_s(self) -> float:
        """Return what the job asked for between SIGTERM and SIGKILL."""
        return self.launched.grace_s if self.launched is not None else 0.0

    @property
    def is_over(self) -> bool:
        """Tell whether every rank's end is noted."""
        return all(seat.end is not None for seat in self.seats)

    def want(self, now_s: float) -> Want:
        """Return whether its pods should be there."""
        if self.condemned is not None:
            return Want.CONDEMNED
        if self.stop is not None or self.is_forgotten:
            return Want.STOPPED
        return Want.LATE if self.is_late or now_s >= self.deadline_s else Want.RUN

    def bounded(self, deadline_s: float) -> float:
        """Return a new deadline, which is not moved beyond the end of a stop: a node may not be heard of any more."""
        if self.stop is None:
            return deadline_s
        return min(deadline_s, self.stop.kill_at_s + SHIP_S)


def _report(rank: int, end: records.Ended) -> ExitReport:
    return ExitReport(
        rank=rank,
        exit_code=end.exit_code,
        signal=end.signal,
        user_s=end.user_s,
        system_s=end.system_s,
        max_rss_kib=end.max_rss_kib,
        oom=end.oom,
        at_deadline=end.at_deadline,
    )


def _trouble(note: records.Condemned | None) -> Trouble | None:
    return Trouble(Reason(note.cause), note.message) if note is not None else None
