"""The fleet as the guard of a cluster sees it: which attempts are lawful where, and how to fence them."""

from __future__ import annotations

from collections.abc import Collection

from nordan_core.domain.ids import AttemptId
from nordan_workers.cluster.breaches import Seat, Seats
from nordan_workers.supervisor.attempts import FENCED
from nordan_workers.supervisor.fleet import Fleet
from nordan_workers.supervisor.records import Phase


class FleetCourt:
    """Keeps the promises of `nordan_workers.cluster.guard.Court`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def seats(self) -> Seats:
        """Return where the ranks of the attempts that have not ended were placed, by rank."""
        return {
            AttemptId(held.attempt_id): tuple(
                Seat(held.order.pool, rank.node) for rank in sorted(held.order.ranks, key=lambda one: one.rank)
            )
            for held in self._fleet
            if held.record.phase is not Phase.ENDED
        }

    def fence(self, attempts: Collection[AttemptId]) -> None:
        """Stop these attempts without grace."""
        for attempt_id in attempts:
            if (held := self._fleet.get(attempt_id)) is not None:
                held.want_stop(FENCED)
                self._fleet.wake(held)
