"""An executor without processes, for tests of whoever drives one. It passes the contract of every executor.

It understands `true`, `false` and `sleep SECONDS` (by its clock); anything else runs until the test ends it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nordan_core.clock import Clock
from nordan_core.domain.errors import NotFound
from nordan_core.domain.ids import AttemptId
from nordan_core.domain.jobs import JobKind
from nordan_core.wire import ExitReport, LaunchOrder
from nordan_workers.executors import folders as layout
from nordan_workers.executors.base import Address, AttemptStatus, LaunchFailed, RankState, RankStatus, WorkFolders


@dataclass
class _Rank:
    rank: int
    pid: int
    started_at_s: float | None = None
    ended_at_s: float | None = None
    report: ExitReport | None = None
    is_lost: bool = False


@dataclass
class _Attempt:
    order: LaunchOrder
    folders: WorkFolders
    ranks: list[_Rank]
    deadline_s: float = 0.0
    kill_at_s: float = float("inf")
    is_launched: bool = False


@dataclass
class FakeExecutor:
    """Runs attempts in memory; `finish` and `lose` end them, `launches` counts real starts."""

    region_dir: Path
    clock: Clock
    tenancy: tuple[str, ...] = ("shared", "dedicated", "single")
    obeys_sigterm: bool = True
    refuses: bool = False
    """Every launch fails, as on a machine that cannot fork."""
    launches: list[AttemptId] = field(default_factory=list)
    extended: dict[AttemptId, float] = field(default_factory=dict)
    _attempts: dict[AttemptId, _Attempt] = field(default_factory=dict)

    def prepare(self, order: LaunchOrder) -> WorkFolders:
        attempt_id = AttemptId(order.attempt_id)
        if attempt_id not in self._attempts:
            ranks = [rank.rank for rank in order.ranks]
            (self.region_dir / "work").mkdir(exist_ok=True)
            folders = layout.work_folders(self.region_dir, attempt_id, ranks, None)
            self._attempts[attempt_id] = _Attempt(order, folders, [_Rank(rank, 100_000 + rank) for rank in ranks])
        layout.make(self._attempts[attempt_id].folders)
        return self._attempts[attempt_id].folders

    def seal(self, folders: WorkFolders) -> None:
        layout.seal(folders)

    def launch(self, order: LaunchOrder, folders: WorkFolders, deadline_s: float) -> None:
        attempt = self._find(AttemptId(order.attempt_id))
        if self.refuses:
            raise LaunchFailed("the fake refuses")
        attempt.deadline_s = deadline_s
        if not attempt.is_launched:
            attempt.is_launched = True
            self.launches.append(folders.attempt_id)
            now_s = self.clock.monotonic()
            for rank in attempt.ranks:
                if min(attempt.kill_at_s, deadline_s) > now_s:
                    rank.started_at_s = now_s

    def poll(self, attempt_id: AttemptId) -> AttemptStatus:
        attempt = self._find(attempt_id)
        now_s = self.clock.monotonic()
        for rank in attempt.ranks:
            self._move_on(attempt, rank, now_s)
        serves = attempt.is_launched and attempt.order.kind is JobKind.INFERENCE
        return AttemptStatus(
            attempt_id,
            tuple(_status(rank) for rank in attempt.ranks),
            address=Address("127.0.0.1", attempt.order.port or 50_000) if serves else None,
            observed_at_s=now_s,
        )

    def extend(self, deadlines: Mapping[AttemptId, float]) -> None:
        for attempt_id, deadline_s in deadlines.items():
            if attempt_id in self._attempts:
                self._attempts[attempt_id].deadline_s = deadline_s
                self.extended[attempt_id] = deadline_s

    def stop(self, attempt_id: AttemptId, grace_s: float) -> None:
        if (attempt := self._attempts.get(attempt_id)) is None:
            return
        now_s = self.clock.monotonic()
        attempt.kill_at_s = min(attempt.kill_at_s, now_s + grace_s)
        if self.obeys_sigterm or not attempt.is_launched:
            for rank in attempt.ranks:
                _end(rank, now_s, signal=15)

    def adopt(self) -> tuple[AttemptId, ...]:
        return tuple(self._attempts)

    def forget(self, attempt_id: AttemptId) -> None:
        if (attempt := self._attempts.pop(attempt_id, None)) is not None:
            layout.delete(attempt.folders)
            shutil.rmtree(self.region_dir / "attempts" / attempt_id, ignore_errors=True)

    def close(self) -> None:
        """Nothing is held."""

    def finish(self, attempt_id: AttemptId, exit_code: int = 0, rank: int | None = None) -> None:
        """End one rank, or all of them, as if the program had exited."""
        for one in self._attempts[attempt_id].ranks:
            if rank is None or one.rank == rank:
                _end(one, self.clock.monotonic(), exit_code=exit_code)

    def lose(self, attempt_id: AttemptId, rank: int = 0) -> None:
        """Lose one rank, as if its shim had been killed."""
        one = next(one for one in self._attempts[attempt_id].ranks if one.rank == rank)
        _end(one, self.clock.monotonic())
        one.is_lost = True

    def _find(self, attempt_id: AttemptId) -> _Attempt:
        if attempt_id not in self._attempts:
            raise NotFound("attempt", attempt_id)
        return self._attempts[attempt_id]

    def _move_on(self, attempt: _Attempt, rank: _Rank, now_s: float) -> None:
        if not attempt.is_launched:
            return
        if rank.started_at_s is None and attempt.deadline_s <= now_s:
            _end(rank, now_s, signal=15, at_deadline=True)
        elif attempt.kill_at_s <= now_s:
            _end(rank, now_s, signal=9)
        elif attempt.deadline_s <= now_s:
            _end(rank, now_s, signal=15 if self.obeys_sigterm else 9, at_deadline=True)
        elif (
            rank.started_at_s is not None
            and (code := _program_end(attempt.order, now_s - rank.started_at_s)) is not None
        ):
            _end(rank, now_s, exit_code=code)


def _program_end(order: LaunchOrder, age_s: float) -> int | None:
    match order.command:
        case ("true",):
            return 0
        case ("false",):
            return 1
        case ("sleep", seconds):
            return 0 if age_s >= float(seconds) else None
    return None


def _end(
    rank: _Rank, now_s: float, *, exit_code: int | None = None, signal: int | None = None, at_deadline: bool = False
) -> None:
    if rank.report is None:
        rank.ended_at_s = now_s
        rank.report = ExitReport(rank=rank.rank, exit_code=exit_code, signal=signal, at_deadline=at_deadline)


def _status(rank: _Rank) -> RankStatus:
    if rank.report is not None:
        state = RankState.LOST if rank.is_lost else RankState.EXITED
    else:
        state = RankState.WAITING if rank.started_at_s is None else RankState.RUNNING
    return RankStatus(
        rank.rank,
        state,
        pid=rank.pid if rank.started_at_s is not None else None,
        started_at_s=rank.started_at_s,
        ended_at_s=rank.ended_at_s,
        exit=rank.report,
    )
