"""Where a rank stands, read from its records; and the killing of what a dead shim left behind."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from nordan_core.domain.ids import AttemptId
from nordan_core.wire import ExitReport
from nordan_workers.executors.base import RankState, RankStatus
from nordan_workers.shim import linux
from nordan_workers.shim.records import CLAIM, EXIT, PID, Claim, ExitRecord, PidRecord, create, read, write

LOST = "lost.json"
#: A shim claims its rank within milliseconds of its fork; one that has not by now died on the way.
CLAIM_LIMIT_S = 10.0
#: How often a kill is repeated before the caller is told that something is left: dying takes a few milliseconds.
_KILL_ROUNDS = 10
_KILL_PAUSE_S = 0.005


@dataclass(frozen=True, slots=True)
class Loss:
    """The executor's own record of a rank whose shim cannot say how it ended."""

    noticed_at_s: float


@dataclass(frozen=True, slots=True)
class RankPlace:
    """Names one rank, its records and its user."""

    attempt_id: AttemptId
    rank: int
    folder: Path
    uid: int | None
    is_alone: bool
    """The attempt has no other rank."""


class Rank:
    """One rank seen through its records; what cannot change any more is read once."""

    def __init__(self, place: RankPlace, boot_id: str) -> None:
        self._place = place
        self._boot_id = boot_id
        self._claim_path, self._pid_path = place.folder / CLAIM, place.folder / PID
        self._exit_path, self._lost_path = place.folder / EXIT, place.folder / LOST
        self._claim: Claim | None = None
        self._started: PidRecord | None = None
        self._last: RankStatus | None = None
        self._was_seen = False

    def status(self, launched_at_s: float, now_s: float) -> RankStatus:
        """Return where the launched rank stands; a loss is noted, and what was left is killed, before it is told."""
        if (told := self._told()) is not None:
            return told
        claim = self._find_claim()
        if claim is None and now_s - launched_at_s < CLAIM_LIMIT_S:
            return RankStatus(self._place.rank, RankState.WAITING)
        if claim is None:
            # Take the rank away from a shim that might yet come.
            create(self._claim_path, Claim(self._boot_id, 0, 0))
        elif claim.boot_id == self._boot_id and linux.is_alive(claim.shim_pid, claim.shim_start_time):
            return self._living()
        # The shim may have written its last word between our two looks.
        if (told := self._told()) is not None:
            return told
        return self._lose(now_s) if self._kill_left() else self._living()

    def wake(self) -> None:
        """Have the rank's shim look at its files now instead of at its next interval."""
        self._signal_shim(signal.SIGUSR1)

    def terminate(self) -> None:
        """Have the rank's shim stop its rank, with the grace that a shim gives by itself."""
        self._signal_shim(signal.SIGTERM)

    def kill(self) -> bool:
        """Kill the rank with its shim, nothing of another attempt or boot; tell whether nothing is left."""
        if self._told() is not None:
            return True
        self._signal_shim(signal.SIGKILL)
        return self._kill_left()

    def _told(self) -> RankStatus | None:
        """Return the status that will not change again, if there is one."""
        if self._last is None:
            if (ended := read(self._exit_path, ExitRecord)) is not None:
                self._last = self._final(RankState.EXITED, ended.ended_at_s, _report(self._place.rank, ended))
            elif not self._was_seen and (loss := read(self._lost_path, Loss)) is not None:
                self._last = self._final(RankState.LOST, loss.noticed_at_s, _nothing_known(self._place.rank))
            # Only an executor before this one can have noted a loss that this one does not know.
            self._was_seen = True
        return self._last

    def _living(self) -> RankStatus:
        started = self._find_started()
        if started is None:
            return RankStatus(self._place.rank, RankState.WAITING)
        return RankStatus(self._place.rank, RankState.RUNNING, pid=started.pid, started_at_s=started.started_at_s)

    def _lose(self, now_s: float) -> RankStatus:
        write(self._lost_path, Loss(now_s), is_durable=True)
        self._last = self._final(RankState.LOST, now_s, _nothing_known(self._place.rank))
        return self._last

    def _final(self, state: RankState, at_s: float, report: ExitReport) -> RankStatus:
        started = self._find_started()
        return RankStatus(
            self._place.rank,
            state,
            pid=started.pid if started is not None else None,
            started_at_s=started.started_at_s if started is not None else None,
            ended_at_s=at_s,
            exit=report,
        )

    def _find_claim(self) -> Claim | None:
        if self._claim is None:
            self._claim = read(self._claim_path, Claim)
        return self._claim

    def _find_started(self) -> PidRecord | None:
        if self._started is None:
            self._started = read(self._pid_path, PidRecord)
        return self._started

    def _signal_shim(self, number: signal.Signals) -> None:
        claim = self._find_claim()
        if claim is None or claim.boot_id != self._boot_id:
            return
        shim = linux.process(claim.shim_pid)
        if shim is not None and shim.start_time == claim.shim_start_time:
            linux.send(shim, number)

    def _kill_left(self) -> bool:
        """Kill what still runs of the rank; tell whether nothing is left, as after a restart of the machine."""
        started, place = self._find_started(), self._place
        if started is not None and started.boot_id != self._boot_id:
            return True
        for _ in range(_KILL_ROUNDS):
            left = _left(place, started)
            if not left:
                return True
            if place.uid is not None and place.is_alone:
                linux.kill_user(place.uid)
            for one in left:
                linux.send(one, signal.SIGKILL)
            time.sleep(_KILL_PAUSE_S)
        return False


def clear_user(uid: int) -> bool:
    """Kill whatever an attempt's user still runs; tell whether nothing is left."""
    for _ in range(_KILL_ROUNDS):
        if not any(one.is_alive and linux.user_of(one.pid) == uid for one in linux.processes()):
            return True
        linux.kill_user(uid)
        time.sleep(_KILL_PAUSE_S)
    return False


def _left(place: RankPlace, started: PidRecord | None) -> list[linux.Process]:
    """Return what still runs of the rank.

    With a user of its own: whatever that user runs, of this rank where there are others. Without: the program itself,
    whatever carries the attempt's mark in its environment, and the descendants of both.
    """
    everyone = [one for one in linux.processes() if one.is_alive]
    user = place.uid if place.uid is not None else os.geteuid()
    roots = [one for one in everyone if _is_ours(one, place, started, user)]
    below = linux.descendants([one.pid for one in roots], everyone)
    return list({one.pid: one for one in (*roots, *below)}.values())


def _is_ours(one: linux.Process, place: RankPlace, started: PidRecord | None, user: int) -> bool:
    if one.pid == os.getpid() or linux.user_of(one.pid) != user:
        return False
    if place.uid is not None and place.is_alone:
        return True
    if started is not None and (one.pid, one.start_time) == (started.pid, started.start_time):
        return True
    # The user is the attempt's alone, so a session with this number can only be the rank's.
    if place.uid is not None and started is not None and one.session == started.pid:
        return True
    return linux.has_marks(one.pid, {"NORDAN_ATTEMPT": place.attempt_id, "NORDAN_NODE_RANK": str(place.rank)})


def _nothing_known(rank: int) -> ExitReport:
    return ExitReport(rank=rank, exit_code=None, signal=None)


def _report(rank: int, ended: ExitRecord) -> ExitReport:
    return ExitReport(
        rank=rank,
        exit_code=ended.exit_code,
        signal=ended.signal,
        user_s=ended.user_s,
        system_s=ended.system_s,
        max_rss_kib=ended.max_rss_kib,
        oom=ended.oom,
        at_deadline=ended.at_deadline,
    )
