"""Runs attempts as processes of this machine, each rank under a shim that keeps its deadline.

As root with a range of users, each attempt has a user of its own, and other attempts, Nordan's keys and sockets are
closed to it by the kernel's permissions. Without, everything runs as one user, so the executor offers `single` only.
It does not confine network, memory or CPU; pools say so, and certificates list it as a gap.

What is kept in memory can be read again from the records, so the executor may die at any line.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import structlog

from nordan_core.clock import Clock
from nordan_core.domain.errors import NotFound, OperatorError
from nordan_core.domain.ids import AttemptId, is_id
from nordan_core.domain.jobs import JobKind
from nordan_core.wire import ExitReport, LaunchOrder
from nordan_core.wire import RankOrder as RankPlacement
from nordan_workers.executors import folders as layout
from nordan_workers.executors.base import (
    EVENTS_SOCKET,
    Address,
    AttemptStatus,
    LaunchFailed,
    RankState,
    RankStatus,
    WorkFolders,
)
from nordan_workers.executors.book import (
    DEADLINE_GRACE_S,
    LOG_LIMIT_BYTES,
    Book,
    Energy,
    Launched,
    Prepared,
    is_worth_writing,
)
from nordan_workers.executors.environment import MASTER_ADDR, free_port, rank_environment
from nordan_workers.executors.ranks import Rank, RankPlace, clear_user
from nordan_workers.executors.shims import ShimParent
from nordan_workers.executors.uids import UidAllocator, UidRange
from nordan_workers.gpus import Gpus, PoolGpus, watt_hours
from nordan_workers.shim import linux
from nordan_workers.shim.records import ORDER, Deadline, RankOrder, Stop, write
from nordan_workers.shim.schedule import schedule

#: A rank that lives so long after it had to be killed has a shim that cannot do it: one that hangs, or that its job has
#: stopped with SIGSTOP, as a job without a user of its own can.
OVERDUE_S = 5.0

log = structlog.get_logger()


class LocalExecutor:
    """Keeps the promises of `nordan_workers.executors.base.Executor`; several threads may use it."""

    def __init__(
        self,
        region_dir: Path,
        clock: Clock,
        *,
        uid_range: UidRange | None = None,
        job_path: str = "",
        gpus: Gpus | None = None,
        log_limit_bytes: int = LOG_LIMIT_BYTES,
    ) -> None:
        """Find the attempts of an earlier executor in `region_dir`, whose folders are made where missing.

        Raises:
            OperatorError: jobs would run as root, or cannot get users of their own though a range is set.
        """
        _check_users(region_dir, uid_range)
        for name, mode in (("attempts", 0o700), ("work", 0o711), ("logs", 0o750), ("run", 0o750)):
            (region_dir / name).mkdir(exist_ok=True, mode=mode)
        self._region_dir = region_dir
        self._clock = clock
        self._job_path = job_path
        self._gpus = gpus if gpus is not None else Gpus()
        self._log_limit_bytes = log_limit_bytes
        self._boot_id = linux.boot_id()
        self._parent = ShimParent(region_dir)
        self._turn = threading.RLock()
        self._book = Book(region_dir)
        self._book.clear_remains()
        self._prepared = {one.attempt_id: one for one in self._book.all_prepared()}
        self._ranks: dict[AttemptId, tuple[Rank, ...]] = {}
        self._launched = {one: found for one in self._prepared if (found := self._book.launched(one)) is not None}
        self._deadlines: dict[AttemptId, float] = {}
        self._over: dict[AttemptId, AttemptStatus] = {}
        self._uids = UidAllocator(uid_range) if uid_range is not None else None
        if self._uids is not None:
            held = {one.attempt_id: one.uid for one in self._prepared.values() if one.uid is not None}
            owners = {one.name: one.stat().st_gid for one in (region_dir / "work").iterdir()}
            self._uids.restore(held, {uid for name, uid in owners.items() if name not in held})

    @property
    def tenancy(self) -> tuple[str, ...]:
        """Return all kinds with users of their own, else `single`: one user cannot be kept from itself."""
        return ("shared", "dedicated", "single") if self._uids is not None else ("single",)

    def prepare(self, order: LaunchOrder) -> WorkFolders:
        """Keep `Executor.prepare`."""
        attempt_id = AttemptId(order.attempt_id)
        if not is_id(attempt_id, "att"):
            raise LaunchFailed("the attempt's id has a wrong form")
        try:
            with self._turn:
                known = self._prepared.get(attempt_id) or self._take_in(attempt_id, order)
            folders = self._folders(known)
            layout.make(folders)
            layout.make_log_folder(self._region_dir / "logs" / attempt_id)
        except OSError as error:
            raise LaunchFailed(f"cannot make the attempt's folders: {error.strerror}") from error
        return folders

    def seal(self, folders: WorkFolders) -> None:
        """Keep `Executor.seal`."""
        try:
            layout.seal(folders)
        except OSError as error:
            raise LaunchFailed(f"cannot hand over the attempt's folders: {error.strerror}") from error

    def launch(self, order: LaunchOrder, folders: WorkFolders, deadline_s: float) -> None:
        """Keep `Executor.launch`."""
        attempt_id = AttemptId(order.attempt_id)
        self._known(attempt_id)
        try:
            # 1. The deadline first: a shim without one stops at once.
            self._note_deadline(attempt_id, deadline_s)
            # 2. What is chosen once: another launch finds it.
            with self._turn:
                launched = self._launched.get(attempt_id) or self._choose(attempt_id, order)
            # 3. An order for each rank.
            for rank in order.ranks:
                path = self._book.rank_folder(attempt_id, rank.rank) / ORDER
                write(path, self._rank_order(order, folders, rank, launched))
        except OSError as error:
            raise LaunchFailed(f"cannot write the attempt's records: {error.strerror}") from error
        # 4. The shims; one that finds its rank taken goes away again.
        try:
            self._parent.fork([self._book.rank_folder(attempt_id, rank.rank) for rank in order.ranks])
        except LaunchFailed:
            self.stop(attempt_id, 0.0)
            raise

    def poll(self, attempt_id: AttemptId) -> AttemptStatus:
        """Keep `Executor.poll`."""
        if (over := self._over.get(attempt_id)) is not None:
            return over
        known = self._known(attempt_id)
        launched = self._launched.get(attempt_id)
        if launched is None:
            return self._unlaunched(known)
        now_s = self._clock.monotonic()
        if self._is_overdue(attempt_id, now_s):
            self._kill(known)
        # A launch before the machine restarted is as long ago as can be.
        launched_at_s = launched.at_s if launched.boot_id == self._boot_id else float("-inf")
        ranks = tuple(rank.status(launched_at_s, now_s) for rank in self._ranks_of(known))
        port = launched.service_port
        address = Address(MASTER_ADDR, port) if port is not None else None
        status = AttemptStatus(attempt_id, ranks, address=address, observed_at_s=now_s)
        status = replace(status, energy_wh=self._energy(status, launched))
        if status.is_over:
            self._over[attempt_id] = status
        return status

    def extend(self, deadlines: Mapping[AttemptId, float]) -> None:
        """Keep `Executor.extend`."""
        now_s = self._clock.monotonic()
        for attempt_id, deadline_s in deadlines.items():
            if attempt_id in self._over or attempt_id not in self._prepared:
                continue
            written_s = self._deadlines.get(attempt_id, now_s)
            if not is_worth_writing(deadline_s, written_s, now_s):
                continue
            try:
                self._note_deadline(attempt_id, deadline_s)
            except OSError as error:
                # A full disk: the old deadline stands, which errs to the side of stopping.
                log.warning("attempt_deadline_not_written", attempt_id=attempt_id, errno=error.errno)
            if deadline_s < written_s:
                self._wake(attempt_id)

    def stop(self, attempt_id: AttemptId, grace_s: float) -> None:
        """Keep `Executor.stop`."""
        with self._turn:
            if attempt_id not in self._prepared:
                return
            wanted = Stop(self._clock.monotonic(), max(0.0, grace_s))
            earlier = self._book.stop(attempt_id)
            if earlier is not None:
                wanted = Stop(earlier.at_s, min(earlier.grace_s, wanted.kill_at_s - earlier.at_s))
            try:
                if wanted != earlier:
                    self._book.note_stop(attempt_id, wanted)
            except OSError as error:
                # A full disk must not keep anything running: the shims stop at a signal too, with a grace of their own.
                log.warning("attempt_stop_not_written", attempt_id=attempt_id, errno=error.errno)
                for rank in self._ranks_of(self._known(attempt_id)):
                    rank.terminate()
        self._wake(attempt_id)

    def open_session(self, attempt_id: AttemptId, rank: int, connection: socket.socket) -> None:
        """Keep `SupportsExec.open_session`; the keeper is a process beside the shims, found by nobody but the shim."""
        known = self._known(attempt_id)
        if rank not in known.ranks or attempt_id not in self._launched:
            raise NotFound("rank", str(rank))
        self._parent.fork_keeper(self._book.rank_folder(attempt_id, rank), connection)

    def adopt(self) -> tuple[AttemptId, ...]:
        """Keep `Executor.adopt`."""
        return tuple(sorted(self._prepared, key=lambda one: self._prepared[one].at_s))

    def forget(self, attempt_id: AttemptId) -> None:
        """Keep `Executor.forget`; what cannot be killed or deleted stays adopted, is logged, and keeps its uid."""
        known = self._prepared.get(attempt_id)
        if known is None:
            return
        if not (attempt_id in self._over or self._kill(known)) or not self._is_user_gone(known):
            log.warning("attempt_processes_left", attempt_id=attempt_id)
            return
        try:
            layout.delete(self._folders(known))
            shutil.rmtree(self._book.folder(attempt_id))
        except OSError as error:
            log.warning("attempt_folders_left", attempt_id=attempt_id, errno=error.errno)
            return
        with self._turn:
            for memory in (self._prepared, self._ranks, self._launched, self._deadlines, self._over):
                memory.pop(attempt_id, None)
            if self._uids is not None:
                self._uids.give_back(attempt_id)

    def close(self) -> None:
        """Keep `Executor.close`."""
        self._parent.leave()

    def _take_in(self, attempt_id: AttemptId, order: LaunchOrder) -> Prepared:
        uid = self._uids.take(attempt_id) if self._uids is not None else None
        ranks = tuple(sorted(rank.rank for rank in order.ranks))
        prepared = Prepared(attempt_id, ranks, uid, self._clock.monotonic())
        self._book.note_prepared(prepared)
        self._prepared[attempt_id] = prepared
        return prepared

    def _known(self, attempt_id: AttemptId) -> Prepared:
        known = self._prepared.get(attempt_id)
        if known is None:
            raise NotFound("attempt", attempt_id)
        return known

    def _folders(self, known: Prepared) -> WorkFolders:
        return layout.work_folders(self._region_dir, known.attempt_id, known.ranks, known.uid)

    def _ranks_of(self, known: Prepared) -> tuple[Rank, ...]:
        if known.attempt_id not in self._ranks:
            self._ranks[known.attempt_id] = tuple(
                Rank(
                    RankPlace(
                        attempt_id=known.attempt_id,
                        rank=rank,
                        folder=self._book.rank_folder(known.attempt_id, rank),
                        uid=known.uid,
                        is_alone=len(known.ranks) == 1,
                    ),
                    self._boot_id,
                )
                for rank in known.ranks
            )
        return self._ranks[known.attempt_id]

    def _is_overdue(self, attempt_id: AttemptId, now_s: float) -> bool:
        plan = schedule(
            self._book.deadline(attempt_id), self._book.stop(attempt_id), boot_id=self._boot_id, grace_s=0.0
        )
        return now_s > plan.kill_at_s + OVERDUE_S

    def _kill(self, known: Prepared) -> bool:
        """Kill every rank, also when one of them withstands; tell whether nothing is left."""
        are_gone = [rank.kill() for rank in self._ranks_of(known)]
        return all(are_gone)

    def _is_user_gone(self, known: Prepared) -> bool:
        """See to it that a gang's user runs nothing when it goes to the next attempt.

        A rank that is killed with its shim and the shims' parent may leave a process that no mark tells from those of
        the other ranks. A rank that is alone takes its user's processes along, so nothing has to be looked for.
        """
        return known.uid is None or len(known.ranks) == 1 or clear_user(known.uid)

    def _wake(self, attempt_id: AttemptId) -> None:
        for rank in self._ranks_of(self._known(attempt_id)):
            rank.wake()

    def _note_deadline(self, attempt_id: AttemptId, deadline_s: float) -> None:
        self._book.note_deadline(attempt_id, Deadline(self._boot_id, deadline_s))
        self._deadlines[attempt_id] = deadline_s

    def _choose(self, attempt_id: AttemptId, order: LaunchOrder) -> Launched:
        uuids: tuple[str, ...] = ()
        if not order.has_made_up_gpus:
            uuids = self._uuids(order, (index for rank in order.ranks for index in rank.gpu_indices))
        promised = {port for one in self._launched.values() for port in (one.master_port, one.service_port) if port}
        master_port = free_port(promised)
        promised.add(master_port)
        launched = Launched(
            boot_id=self._boot_id,
            at_s=self._clock.monotonic(),
            master_port=master_port,
            service_port=free_port(promised, order.port) if order.kind is JobKind.INFERENCE else None,
            gpu_uuids=uuids,
            energy_mj=self._gpus.energy_mj(uuids) if uuids else None,
        )
        self._book.note_launched(attempt_id, launched)
        self._launched[attempt_id] = launched
        return launched

    def _uuids(self, order: LaunchOrder, indices: Iterable[int]) -> tuple[str, ...]:
        try:
            return self._gpus.uuids(indices, _gpus_of(order))
        except LookupError as error:
            raise LaunchFailed(f"pool {order.pool} lacks GPUs: {error}") from error

    def _rank_order(
        self, order: LaunchOrder, folders: WorkFolders, rank: RankPlacement, launched: Launched
    ) -> RankOrder:
        shown = map(str, rank.gpu_indices) if order.has_made_up_gpus else self._uuids(order, rank.gpu_indices)
        return RankOrder(
            attempt_id=order.attempt_id,
            rank=rank.rank,
            command=order.command,
            env=rank_environment(
                order,
                folders,
                rank,
                devices=",".join(shown),
                master_port=launched.master_port,
                service_port=launched.service_port,
                job_path=self._job_path,
            ),
            cwd=str(next(one.cwd for one in folders.ranks if one.rank == rank.rank)),
            log=str(self._region_dir / "logs" / order.attempt_id / f"rank-{rank.rank}.log"),
            log_limit_bytes=self._log_limit_bytes,
            events=str(self._region_dir / "run" / EVENTS_SOCKET),
            uid=folders.uid,
            is_alone=len(order.ranks) == 1,
            deadline_grace_s=min(DEADLINE_GRACE_S, order.ttl_s / 10),
        )

    def _unlaunched(self, known: Prepared) -> AttemptStatus:
        now_s = self._clock.monotonic()
        ranks = tuple(RankStatus(rank, RankState.WAITING) for rank in known.ranks)
        if (stop := self._book.stop(known.attempt_id)) is not None:
            ranks = tuple(_never_started(rank, stop.at_s) for rank in known.ranks)
        return AttemptStatus(known.attempt_id, ranks, observed_at_s=now_s)

    def _energy(self, status: AttemptStatus, launched: Launched) -> float | None:
        if not launched.gpu_uuids:
            return None
        if (closed := self._book.energy(status.attempt_id)) is not None:
            return closed.watt_hours
        used = watt_hours(launched.energy_mj, self._gpus.energy_mj(launched.gpu_uuids))
        if status.is_over:
            self._book.note_energy(status.attempt_id, Energy(used))
        return used


def _gpus_of(order: LaunchOrder) -> PoolGpus:
    return PoolGpus(order.accelerator, order.gpu_memory_mib, order.is_only_real_pool, order.rival_memories_mib)


def _never_started(rank: int, at_s: float) -> RankStatus:
    report = ExitReport(rank=rank, exit_code=None, signal=int(signal.SIGTERM))
    return RankStatus(rank, RankState.EXITED, ended_at_s=at_s, exit=report)


def _check_users(region_dir: Path, uid_range: UidRange | None) -> None:
    is_root = os.geteuid() == 0
    if is_root and uid_range is None:
        raise OperatorError("jobs must not run as root; set NORDAN_UID_RANGE, for example to 200000-200999")
    if uid_range is None:
        return
    if not is_root:
        raise OperatorError("only root can give attempts users of their own; leave NORDAN_UID_RANGE empty")
    layout.check_passable(region_dir)
    if not linux.can_become(uid_range.first) or not linux.can_become(uid_range.last):
        raise OperatorError("the system does not let root take the users of NORDAN_UID_RANGE; choose mapped ones")
