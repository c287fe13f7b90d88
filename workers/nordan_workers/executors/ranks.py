"""Where a rank stands, read from its records; and the killing of what a dead shim left behind."""

from __future__ import annotations

import os
import signal
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
_KILL_ROUNDS = 20


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


def rank_status(place: RankPlace, launched_at_s: float, *, boot_id: str, now_s: float) -> RankStatus:
    """Return where a launched rank stands; a loss is noted, and what was left is killed, before it is told."""
    if (told := _told(place)) is not None:
        return told
    claim = read(place.folder / CLAIM, Claim)
    if claim is None and now_s - launched_at_s < CLAIM_LIMIT_S:
        return RankStatus(place.rank, RankState.WAITING)
    if claim is None:
        # Take the rank away from a shim that might yet come.
        create(place.folder / CLAIM, Claim(boot_id, 0, 0))
    elif claim.boot_id == boot_id and linux.is_alive(claim.shim_pid, claim.shim_start_time):
        return _living(place)
    # The shim may have written its last word between our two looks.
    return _told(place) or _lose(place, boot_id=boot_id, now_s=now_s)


def wake_shim(place: RankPlace, boot_id: str) -> None:
    """Have the rank's shim look at its files now instead of at its next interval."""
    _signal_shim(place, boot_id, signal.SIGUSR1)


def kill_rank(place: RankPlace, boot_id: str) -> None:
    """Kill a rank with its shim; nothing of another attempt, another boot, or a stranger with a number used again."""
    _signal_shim(place, boot_id, signal.SIGKILL)
    _kill_left(place, boot_id)


def _signal_shim(place: RankPlace, boot_id: str, number: signal.Signals) -> None:
    claim = read(place.folder / CLAIM, Claim)
    if claim is None or claim.boot_id != boot_id:
        return
    shim = linux.process(claim.shim_pid)
    if shim is not None and shim.start_time == claim.shim_start_time:
        linux.send(shim, number)


def _told(place: RankPlace) -> RankStatus | None:
    """Return the status that will not change again, if there is one."""
    started = read(place.folder / PID, PidRecord)
    started_at_s = started.started_at_s if started is not None else None
    if (ended := read(place.folder / EXIT, ExitRecord)) is not None:
        return RankStatus(
            place.rank,
            RankState.EXITED,
            pid=started.pid if started is not None else None,
            started_at_s=started_at_s,
            ended_at_s=ended.ended_at_s,
            exit=_report(place.rank, ended),
        )
    if (loss := read(place.folder / LOST, Loss)) is not None:
        return RankStatus(
            place.rank,
            RankState.LOST,
            started_at_s=started_at_s,
            ended_at_s=loss.noticed_at_s,
            exit=ExitReport(rank=place.rank, exit_code=None, signal=None),
        )
    return None


def _living(place: RankPlace) -> RankStatus:
    started = read(place.folder / PID, PidRecord)
    if started is None:
        return RankStatus(place.rank, RankState.WAITING)
    return RankStatus(place.rank, RankState.RUNNING, pid=started.pid, started_at_s=started.started_at_s)


def _lose(place: RankPlace, *, boot_id: str, now_s: float) -> RankStatus:
    _kill_left(place, boot_id)
    write(place.folder / LOST, Loss(now_s), is_durable=True)
    told = _told(place)
    assert told is not None
    return told


def _kill_left(place: RankPlace, boot_id: str) -> None:
    started = read(place.folder / PID, PidRecord)
    if started is not None and started.boot_id != boot_id:
        return
    for _ in range(_KILL_ROUNDS):
        left = _left(place, started)
        if not left:
            return
        if place.uid is not None and place.is_alone:
            linux.kill_user(place.uid)
        for one in left:
            linux.send(one, signal.SIGKILL)


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
