"""Runs attempts as pods of the region's cluster, one pod for each rank, bound by us to the node that the engine chose.

`launch`, `stop` and `forget` note what is wanted and return; a few threads make the cluster so. `poll` answers from
what one watch has told. What runs goes on without this process and without the API server: the helper in each pod
keeps the deadline, which reaches it through the region's files and gateway.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from nordan_core.clock import Clock
from nordan_core.domain.errors import NotFound
from nordan_core.domain.ids import AttemptId, is_id
from nordan_core.domain.reasons import Reason
from nordan_core.wire import LaunchOrder
from nordan_workers.executors import folders as layout
from nordan_workers.executors.base import EVENTS_SOCKET, AttemptStatus, LaunchFailed, RankState, WorkFolders
from nordan_workers.executors.book import LOG_LIMIT_BYTES, Book, Prepared, is_worth_writing
from nordan_workers.executors.kubernetes import manifests, names, records
from nordan_workers.executors.kubernetes.binding import Binder
from nordan_workers.executors.kubernetes.client import Cluster
from nordan_workers.executors.kubernetes.endings import Want
from nordan_workers.executors.kubernetes.errands import Errands
from nordan_workers.executors.kubernetes.keeper import Keeper
from nordan_workers.executors.kubernetes.manifests import PodSettings
from nordan_workers.executors.kubernetes.pods import Nodes, Pods
from nordan_workers.executors.kubernetes.reading import Reader
from nordan_workers.executors.kubernetes.seats import Attempt
from nordan_workers.executors.kubernetes.site import Site
from nordan_workers.executors.kubernetes.status import Patience
from nordan_workers.executors.kubernetes.sweeper import Sweeper
from nordan_workers.executors.kubernetes.visits import keep_visit
from nordan_workers.executors.kubernetes.watch import Audience, Fan, Watch
from nordan_workers.faults import NO_FAULTS, Faults
from nordan_workers.shim import linux
from nordan_workers.shim.rank import announce
from nordan_workers.shim.records import Deadline, Stop, write

#: A supervisor that starts waits so long for the cluster's first answer before it says what it knows.
FIRST_LIST_S = 10.0
#: A deadline that was noted on another machine, or before it restarted, means nothing on this one's clock. The helper
#: in the pod keeps the true one, which is not further away than the longest life of a grant.
ADOPTED_S = 900.0
#: `forget` waits so long for pods that still run.
FORGET_S = 8.0
FORGET_PAUSE_S = 0.05
#: How long after a session was cut the watch may tell that its rank has ended.
HEARD_S = 1.5
#: The gateway may have let an agent in just before, and note its word while the folder is being deleted.
DELETE_TRIES = 3
#: Requests under way at the close are waited for so long; what they did is found again by a successor.
CLOSE_S = 2.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Tuning:
    """How patient and how busy the executor is; the defaults are for production."""

    patience: Patience = field(default_factory=Patience)
    sweep_s: float = 30.0
    threads: int = 16
    log_limit_bytes: int = LOG_LIMIT_BYTES


class KubernetesExecutor:
    """Keeps the promises of `nordan_workers.executors.base.Executor`; several threads may use it."""

    def __init__(
        self,
        region_dir: Path,
        clock: Clock,
        *,
        cluster: Cluster,
        settings: PodSettings,
        tuning: Tuning = Tuning(),
        audience: Audience = Audience(),
        faults: Faults = NO_FAULTS,
    ) -> None:
        """Find the attempts of an earlier executor in `region_dir` and begin to watch the cluster."""
        for name, mode in (("attempts", 0o700), ("work", 0o711), ("logs", 0o750), ("run", 0o750)):
            (region_dir / name).mkdir(exist_ok=True, mode=mode)
        self._region_dir = region_dir
        self._clock = clock
        self._cluster = cluster
        self._tuning = tuning
        self._boot_id = linux.boot_id()
        self._book = Book(region_dir)
        self._book.clear_remains()
        self._turn = threading.Lock()
        self._attempts = {one.attempt_id: self._found(one) for one in self._book.all_prepared()}
        self._written: dict[AttemptId, float] = {}
        pods = Pods(clock.monotonic, self._tell)
        nodes = Nodes(clock.monotonic)
        self._site = Site(
            binder=Binder(cluster, settings),
            settings=settings,
            pods=pods,
            nodes=nodes,
            clock=clock,
            boot_id=self._boot_id,
            patience=tuning.patience,
            tell=self._tell,
            attempts=self._attempts,
            faults=faults,
        )
        self._reader = Reader(self._site)
        self._errands = Errands(self._site, tuning.threads)
        self.sweeper = Sweeper(self._site, self._errands)
        self._keeper = Keeper(self._site, self._errands, self.sweeper, sweep_s=tuning.sweep_s)
        namespace = settings.namespace
        self.watches = (
            Watch(cluster, f"/api/v1/namespaces/{namespace}/pods", Fan(pods, *audience.pods)),
            Watch(cluster, "/api/v1/nodes", Fan(nodes, *audience.nodes)),
        )
        for part in (*self.watches, self._keeper):
            part.start()

    @property
    def tenancy(self) -> tuple[str, ...]:
        """Return all kinds: pods are kept apart by their nodes' kernels, and nodes are chosen by the engine."""
        return ("shared", "dedicated", "single")

    def prepare(self, order: LaunchOrder) -> WorkFolders:
        """Keep `Executor.prepare`."""
        attempt_id = AttemptId(order.attempt_id)
        if not is_id(attempt_id, "att"):
            raise LaunchFailed("the attempt's id has a wrong form")
        try:
            with self._turn:
                attempt = self._attempts.get(attempt_id) or self._take_in(attempt_id, order)
        except OSError as error:
            raise LaunchFailed(f"cannot write the attempt's records: {error.strerror}") from error
        # The program runs elsewhere: what is laid for it, and what comes from it, makes the folders that it needs.
        return self._folders(attempt)

    def seal(self, folders: WorkFolders) -> None:
        """Keep `Executor.seal`."""
        try:
            layout.seal(folders)
        except OSError as error:
            raise LaunchFailed(f"cannot hand over the attempt's folders: {error.strerror}") from error

    def launch(self, order: LaunchOrder, folders: WorkFolders, deadline_s: float) -> None:
        """Keep `Executor.launch`; the pods are made soon, by threads that try again while the API server is away."""
        attempt = self._known(folders.attempt_id)
        if not (order.image or self._site.settings.job_image):
            raise LaunchFailed("the job names no image, and the region has none of its own", Reason.IMAGE_PULL_FAILED)
        try:
            with attempt.lock:
                self._note_deadline(attempt, deadline_s)
                port = manifests.service_port(order)
                attempt.note_launched(records.Launched(self._boot_id, self._clock.monotonic(), order.grace_s, port))
                attempt.order = order
        except OSError as error:
            raise LaunchFailed(f"cannot write the attempt's records: {error.strerror}") from error
        self._errands.call(attempt)

    def poll(self, attempt_id: AttemptId) -> AttemptStatus:
        """Keep `Executor.poll`."""
        return self._reader.attempt(self._known(attempt_id))

    def extend(self, deadlines: Mapping[AttemptId, float]) -> None:
        """Keep `Executor.extend`. An attempt that is given up is not extended: its bound is what proves its end."""
        now_s = self._clock.monotonic()
        for attempt_id, deadline_s in deadlines.items():
            attempt = self._attempts.get(attempt_id)
            if attempt is None or attempt.final is not None or attempt.condemned is not None:
                continue
            wanted_s = attempt.bounded(deadline_s)
            if not is_worth_writing(wanted_s, self._written.get(attempt_id, now_s), now_s):
                continue
            try:
                with attempt.lock:
                    self._note_deadline(attempt, wanted_s)
            except OSError as error:
                # A full disk: the old deadline stands, which errs to the side of stopping.
                log.warning("attempt_deadline_not_written", attempt_id=attempt_id, errno=error.errno)

    def stop(self, attempt_id: AttemptId, grace_s: float) -> None:
        """Keep `Executor.stop`."""
        if (attempt := self._attempts.get(attempt_id)) is None:
            return
        with attempt.lock:
            wanted = Stop(self._clock.monotonic(), max(0.0, grace_s))
            if (earlier := attempt.stop) is not None:
                wanted = Stop(earlier.at_s, min(earlier.grace_s, wanted.kill_at_s - earlier.at_s))
            try:
                if wanted != earlier:
                    self._book.note_stop(attempt_id, wanted)
            except OSError as error:
                # A full disk must not keep anything running: the pods are deleted all the same.
                log.warning("attempt_stop_not_written", attempt_id=attempt_id, errno=error.errno)
            attempt.stop = wanted
        self._errands.call(attempt)

    def open_session(self, attempt_id: AttemptId, rank: int, connection: socket.socket) -> None:
        """Keep `SupportsExec.open_session`; the session lives in this process, and ends with it."""
        attempt = self._known(attempt_id)
        seat = next((one for one in attempt.seats if one.rank == rank), None)
        if seat is None or self._rank_state(attempt, rank) is not RankState.RUNNING:
            raise NotFound("rank", str(rank))

        def is_over() -> bool:
            """Tell whether the rank's end is why a session ended; the watch hears of it a moment later."""
            give_up_s = self._clock.monotonic() + HEARD_S
            while self._rank_state(attempt, rank) is RankState.RUNNING:
                if attempt.want(self._clock.monotonic()) is not Want.RUN:
                    return True
                if self._clock.monotonic() >= give_up_s:
                    return False
                time.sleep(FORGET_PAUSE_S)
            return True

        arguments = (self._cluster.door(self._site.settings.namespace), seat.pod, connection.dup(), is_over)
        threading.Thread(target=keep_visit, args=arguments, name="visit", daemon=True).start()

    def adopt(self) -> tuple[AttemptId, ...]:
        """Keep `Executor.adopt`; waits a while for the cluster's first answer."""
        if not self._site.pods.is_listed.wait(FIRST_LIST_S):
            log.warning("cluster_not_heard", waited_s=FIRST_LIST_S)
        return tuple(one.id for one in sorted(self._attempts.values(), key=lambda one: one.prepared_at_s))

    def forget(self, attempt_id: AttemptId) -> None:
        """Keep `Executor.forget`; an attempt that may still run stays adopted and is logged."""
        if (attempt := self._attempts.get(attempt_id)) is None:
            return
        if not self._is_ended(attempt):
            log.warning("attempt_pods_left", attempt_id=attempt_id)
            return
        attempt.is_forgotten = True
        self._remove_objects(attempt)
        try:
            layout.delete(self._folders(attempt))
            _delete_records(attempt.folder)
            # What the gateway laid for an agent that it had let in just before; from now on it clears that itself.
            layout.delete(self._folders(attempt))
        except OSError as error:
            log.warning("attempt_folders_left", attempt_id=attempt_id, errno=error.errno)
            return
        with self._turn:
            self._attempts.pop(attempt_id, None)
            self._written.pop(attempt_id, None)

    def close(self) -> None:
        """Keep `Executor.close`."""
        for watch in self.watches:
            watch.stop()
        self._keeper.stop()
        self._errands.close(CLOSE_S)
        self._cluster.close()
        for watch in self.watches:
            watch.join(1.0)

    def _rank_state(self, attempt: Attempt, rank: int) -> RankState:
        return next(one.state for one in self._reader.attempt(attempt).ranks if one.rank == rank)

    def _take_in(self, attempt_id: AttemptId, order: LaunchOrder) -> Attempt:
        ranks = tuple(sorted(rank.rank for rank in order.ranks))
        prepared = Prepared(attempt_id, ranks, None, self._clock.monotonic())
        record = records.PodRecord(
            token=secrets.token_hex(records.TOKEN_BYTES),
            ranks=ranks,
            env=manifests.job_environment(order),
            log_limit_bytes=self._tuning.log_limit_bytes,
        )
        folder = self._book.folder(attempt_id)
        folder.mkdir(exist_ok=True, mode=0o700)
        # The token first: an attempt that counts as prepared has one.
        write(folder / records.POD, record)
        self._book.note_prepared(prepared)
        attempt = self._attempts[attempt_id] = Attempt(prepared, folder)
        return attempt

    def _found(self, prepared: Prepared) -> Attempt:
        """Return an attempt of an earlier executor, with its stop and deadline."""
        attempt = Attempt(prepared, self._book.folder(prepared.attempt_id))
        if attempt.condemned is None:
            attempt.stop = self._book.stop(prepared.attempt_id)
        deadline = self._book.deadline(prepared.attempt_id)
        if attempt.launched is not None:
            is_ours = deadline is not None and deadline.boot_id == self._boot_id
            attempt.deadline_s = deadline.at_s if deadline and is_ours else self._clock.monotonic() + ADOPTED_S
        return attempt

    def _known(self, attempt_id: AttemptId) -> Attempt:
        attempt = self._attempts.get(attempt_id)
        if attempt is None:
            raise NotFound("attempt", attempt_id)
        return attempt

    def _folders(self, attempt: Attempt) -> WorkFolders:
        return layout.work_folders(self._region_dir, attempt.id, (seat.rank for seat in attempt.seats), None)

    def _note_deadline(self, attempt: Attempt, deadline_s: float) -> None:
        self._book.note_deadline(attempt.id, Deadline(self._boot_id, deadline_s))
        self._written[attempt.id] = attempt.deadline_s = deadline_s

    def _is_ended(self, attempt: Attempt) -> bool:
        """End what may still run of an attempt, and tell whether it has."""
        if attempt.launched is None or self._reader.attempt(attempt).is_over:
            return True
        self.stop(attempt.id, 0.0)
        give_up_s = self._clock.monotonic() + FORGET_S
        while not self._reader.attempt(attempt).is_over:
            if self._clock.monotonic() >= give_up_s:
                return False
            time.sleep(FORGET_PAUSE_S)
        return True

    def _remove_objects(self, attempt: Attempt) -> None:
        """Have the pods and the Service removed; what a failure leaves is an orphan, which the sweeper finds."""
        for seat in attempt.seats:
            sighting = self._site.sighting(seat)
            if sighting is not None and sighting.view.is_gone:
                self._site.pods.drop(seat.pod)
            elif seat.created is not None:
                self._errands.remove(seat.pod, seat.created.uid)
            elif sighting is not None:
                self._errands.remove(seat.pod, sighting.view.uid)
        if len(attempt.seats) > 1 and attempt.launched is not None:
            self._errands.remove_service(names.service_name(attempt.id))

    def _tell(self, attempt_id: AttemptId) -> None:
        announce(str(self._region_dir / "run" / EVENTS_SOCKET), attempt_id)


def _delete_records(folder: Path) -> None:
    """Delete an attempt's records, the token first: its agents are turned away then, and the gateway notes no more."""
    (folder / records.POD).unlink(missing_ok=True)
    for _ in range(DELETE_TRIES):
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
            return
        time.sleep(FORGET_PAUSE_S)
    shutil.rmtree(folder)
