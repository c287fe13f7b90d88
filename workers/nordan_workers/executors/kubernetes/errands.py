"""Brings one rank's pod to what is wanted of it: made and bound, or gone. Works on the threads of `hands`."""

from __future__ import annotations

from math import ceil

from nordan_core.domain.errors import NordanError
from nordan_core.domain.reasons import Reason
from nordan_workers.executors.kubernetes import records
from nordan_workers.executors.kubernetes.binding import Refused
from nordan_workers.executors.kubernetes.endings import Want
from nordan_workers.executors.kubernetes.hands import Hands
from nordan_workers.executors.kubernetes.manifests import SHIP_S, PodTicket
from nordan_workers.executors.kubernetes.reading import Reader
from nordan_workers.executors.kubernetes.seats import Attempt, Seat
from nordan_workers.executors.kubernetes.site import Site
from nordan_workers.executors.kubernetes.status import PodView

#: The least grace with which the kubelet still says when the pod has ended; with none the object goes at once.
LEAST_GRACE_S = 1
#: A deletion that has not come about so long after its grace is asked for again.
OVERDUE_S = 10.0
#: Tries to delete what is over; then the sweeper has its turn.
TRIES = 5
#: Between two looks for the first list.
UNTOLD_S = 1.0


class Errands:
    """What is to be done at the cluster, one errand for each pod."""

    def __init__(self, site: Site, threads: int) -> None:
        self._site = site
        self._reader = Reader(site)
        self._hands = Hands(threads, site.clock.monotonic)
        self._leaving: dict[str, int] = {}

    def call(self, attempt: Attempt) -> None:
        """Have all pods of an attempt looked after, and its Service first."""
        if len(attempt.seats) > 1 and attempt.order is not None:
            self._hands.call(f"service {attempt.id}", lambda: self._serve(attempt))
        for seat in attempt.seats:
            self.call_for(attempt, seat)

    def call_for(self, attempt: Attempt, seat: Seat) -> None:
        """Have one pod looked after."""
        self._hands.call(seat.pod, lambda: self._tend(attempt, seat))

    def remove(self, name: str, uid: str | None, grace_s: int = 0) -> None:
        """Delete a pod of which nothing runs, or that nobody owns; a few tries."""
        if name not in self._leaving:
            self._leaving[name] = TRIES
            self._hands.call(f"remove {name}", lambda: self._remove_for_good(name, uid, grace_s))

    def remove_service(self, name: str) -> None:
        """Delete a Service that nobody needs."""
        self._hands.call(f"remove service {name}", lambda: self._site.binder.delete_service(name))

    def is_leaving(self, name: str) -> bool:
        """Tell whether a pod is being removed for good."""
        return name in self._leaving

    def close(self, wait_s: float) -> None:
        """Begin nothing more, and wait a while for what is under way."""
        self._hands.close(wait_s)

    def _tend(self, attempt: Attempt, seat: Seat) -> float | None:
        if attempt.is_forgotten or seat.end is not None:
            return None
        now_s = self._site.clock.monotonic()
        if (want := attempt.want(now_s)) is not Want.RUN:
            return self._end(attempt, seat, want, now_s)
        try:
            return self._place(attempt, seat)
        except Refused as error:
            with attempt.lock:
                attempt.condemn(error.trouble)
            self.call(attempt)
            self._site.tell(attempt.id)
            return None

    def _place(self, attempt: Attempt, seat: Seat) -> float | None:
        """Make and bind the pod, where that was not done; a step at a time, since a stop may come between."""
        order, record, site = attempt.order, attempt.pod_record, self._site
        if order is None or record is None:
            return None
        rank = next(one for one in order.ranks if one.rank == seat.rank)
        if seat.created is None:
            site.faults.at("before_create")
            pod = site.binder.create(order, rank, self._ticket(record, rank.node))
            site.faults.at("after_create")
            site.pods.note(pod)
            if not _is_taken_in(attempt, seat, pod["metadata"]["uid"], rank.node):
                self.remove(seat.pod, pod["metadata"]["uid"])
                return None
        if attempt.want(site.clock.monotonic()) is not Want.RUN:
            return 0.0
        if not seat.is_bound:
            sighting = site.sighting(seat)
            is_bound = sighting is not None and bool(sighting.view.node)
            site.faults.at("before_bind")
            if not is_bound and not site.binder.bind(seat.pod, rank.node):
                site.pods.note_gone(seat.pod, seat.created.uid if seat.created else None)
            site.faults.at("after_bind")
            seat.is_bound = True
        # A stop that came while the binding was under way finds the pod on its next look.
        return 0.0 if attempt.want(site.clock.monotonic()) is not Want.RUN else None

    def _ticket(self, record: records.PodRecord, node: str) -> PodTicket:
        return PodTicket(record.token, self._site.nodes.offers(node, self._site.settings.gpu_resource))

    def _end(self, attempt: Attempt, seat: Seat, want: Want, now_s: float) -> float | None:
        """Have the pod end, unless it has or never was."""
        site = self._site
        sighting = site.sighting(seat)
        view = sighting.view if sighting is not None else None
        if view is None and seat.created is None:
            # Before the first list nobody knows whether an earlier executor has made a pod.
            return None if site.pods.is_listed.is_set() else UNTOLD_S
        if view is not None and (view.is_gone or view.outcome is not None):
            return None
        grace_s = _grace(attempt, want, now_s) if self._reader.may_run(seat) else 0
        asked_s = seat.deletion_s
        if asked_s is not None and asked_s <= now_s + grace_s + 0.5 and now_s < asked_s + OVERDUE_S:
            # Asked for already, and for no later moment.
            return asked_s + OVERDUE_S - now_s
        uid = _uid(seat, view)
        if site.binder.delete(seat.pod, grace_s=grace_s, uid=uid):
            seat.deletion_s = now_s + grace_s
            return grace_s + OVERDUE_S
        site.pods.note_gone(seat.pod, uid)
        return None

    def _serve(self, attempt: Attempt) -> None:
        if attempt.order is None or attempt.want(self._site.clock.monotonic()) is not Want.RUN:
            return
        try:
            self._site.binder.create_service(attempt.order)
        except Refused as error:
            with attempt.lock:
                attempt.condemn(error.trouble)
            self._site.tell(attempt.id)

    def _remove_for_good(self, name: str, uid: str | None, grace_s: int) -> None:
        try:
            self._site.binder.delete(name, grace_s=grace_s, uid=uid)
        except NordanError:
            self._leaving[name] -= 1
            if self._leaving[name] > 0:
                raise
        self._leaving.pop(name, None)
        self._site.pods.drop(name)


def _is_taken_in(attempt: Attempt, seat: Seat, uid: str, node: str) -> bool:
    """Note the pod, unless the rank was called over while its pod was being made: nobody would end it then."""
    with attempt.lock:
        if seat.end is not None or attempt.is_forgotten:
            return False
        seat.note_created(uid, node)
        return True


def _grace(attempt: Attempt, want: Want, now_s: float) -> int:
    """Return the seconds after which the kubelet kills: the helper does it sooner, and the agent ships in between."""
    if want is Want.CONDEMNED and attempt.condemned is not None and attempt.condemned.cause is Reason.NODE_LOST:
        return ceil(attempt.grace_s) + SHIP_S
    if want is Want.STOPPED and attempt.stop is not None and attempt.stop.grace_s > 0:
        return max(LEAST_GRACE_S, ceil(attempt.stop.kill_at_s - now_s) + SHIP_S)
    return LEAST_GRACE_S


def _uid(seat: Seat, view: PodView | None) -> str | None:
    if seat.created is not None:
        return seat.created.uid
    return view.uid if view is not None else None
