"""Looks after time: deadlines that pass, pods that do not start, nodes that are not heard of, and the sweep."""

from __future__ import annotations

import threading

import structlog

from nordan_core.domain.reasons import Reason
from nordan_workers.executors.kubernetes.endings import Want
from nordan_workers.executors.kubernetes.errands import Errands
from nordan_workers.executors.kubernetes.reading import Reader
from nordan_workers.executors.kubernetes.seats import Attempt
from nordan_workers.executors.kubernetes.site import Site
from nordan_workers.executors.kubernetes.status import Trouble, trouble_of
from nordan_workers.executors.kubernetes.sweeper import Sweeper
from nordan_workers.shim.records import STOP, Stop, write

TICK_S = 0.2
LOOK_S = 1.0

log = structlog.get_logger()


class Keeper:
    """One thread; what it decides is noted and done by errands."""

    def __init__(self, site: Site, errands: Errands, sweeper: Sweeper, *, sweep_s: float) -> None:
        self._site = site
        self._errands = errands
        self._sweeper = sweeper
        self._sweep_s = sweep_s
        self._reader = Reader(site)
        self._stopped = threading.Event()
        self._looked_s = self._swept_s = site.clock.monotonic()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End soon, and wait for it."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(TICK_S):
            try:
                self._tick(self._site.clock.monotonic())
            except Exception:
                log.exception("keeper_failed")

    def _tick(self, now_s: float) -> None:
        is_look_due = now_s - self._looked_s >= LOOK_S
        if is_look_due:
            self._looked_s = now_s
        for attempt in self._site.all_attempts():
            if attempt.launched is None or attempt.is_over:
                continue
            if now_s >= attempt.deadline_s and not attempt.is_late:
                attempt.is_late = True
                self._errands.call(attempt)
                self._site.tell(attempt.id)
            if is_look_due and attempt.want(now_s) is Want.RUN:
                self._look(attempt, now_s)
        if now_s - self._swept_s >= self._sweep_s:
            self._swept_s = now_s
            self._sweeper.sweep()

    def _look(self, attempt: Attempt, now_s: float) -> None:
        """Give an attempt up whose pods do not come, or whose node has vanished."""
        trouble = self._trouble(attempt, now_s)
        if trouble is None:
            return
        with attempt.lock:
            if attempt.is_over or attempt.want(now_s) is not Want.RUN:
                return
            # The stop first: what has not begun by then never does. The kubelet may be dead and the job alive, so that
            # only its agent can still be told.
            grace_s = attempt.grace_s if trouble.cause is Reason.NODE_LOST else 0.0
            write(attempt.folder / STOP, Stop(now_s, grace_s))
            attempt.condemn(trouble)
        log.info("attempt_given_up", attempt_id=attempt.id, cause=trouble.cause)
        self._errands.call(attempt)
        self._site.tell(attempt.id)

    def _trouble(self, attempt: Attempt, now_s: float) -> Trouble | None:
        launched = attempt.launched
        is_this_boot = launched is not None and launched.boot_id == self._site.boot_id
        waited_s = now_s - launched.at_s if launched is not None and is_this_boot else 0.0
        for seat in attempt.seats:
            if seat.end is not None:
                continue
            if self._reader.is_node_away(seat):
                return Trouble(Reason.NODE_LOST, f"rank {seat.rank}'s node is no longer heard of")
            if seat.started is None:
                sighting = self._site.sighting(seat)
                view = sighting.view if sighting is not None else None
                if (trouble := trouble_of(view, waited_s, self._site.patience)) is not None:
                    return trouble
        return None
