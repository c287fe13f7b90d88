"""What the guard learns of the fleet, and what its word does there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from nordan_core.domain.ids import AttemptId
from nordan_workers.cluster.breaches import Seat
from nordan_workers.supervisor.attempts import FENCED
from nordan_workers.supervisor.court import FleetCourt
from nordan_workers.supervisor.fleet import Fleet
from nordan_workers.supervisor.records import Phase


class _Fleet:
    def __init__(self, *held: Any) -> None:
        self._held = {one.attempt_id: one for one in held}
        self.woken: list[str] = []

    def __iter__(self) -> Any:
        return iter(self._held.values())

    def get(self, attempt_id: str) -> Any:
        return self._held.get(attempt_id)

    def wake(self, held: Any) -> None:
        self.woken.append(held.attempt_id)


def _held(attempt_id: str, phase: Phase, *nodes: tuple[int, str]) -> Any:
    ranks = [SimpleNamespace(rank=rank, node=node) for rank, node in nodes]
    wishes: list[Any] = []
    order = SimpleNamespace(pool="h100", ranks=ranks)
    record = SimpleNamespace(phase=phase)
    return SimpleNamespace(attempt_id=attempt_id, order=order, record=record, wishes=wishes, want_stop=wishes.append)


def test_seats_are_those_of_attempts_that_have_not_ended_by_rank() -> None:
    fleet = _Fleet(_held("att_1", Phase.LAUNCHED, (1, "n2"), (0, "n1")), _held("att_2", Phase.ENDED, (0, "n3")))
    court = FleetCourt(cast("Fleet", fleet))
    assert court.seats() == {AttemptId("att_1"): (Seat("h100", "n1"), Seat("h100", "n2"))}


def test_a_fenced_attempt_is_stopped_without_grace_and_one_that_is_gone_is_passed_over() -> None:
    held = _held("att_1", Phase.LAUNCHED, (0, "n1"))
    fleet = _Fleet(held)
    FleetCourt(cast("Fleet", fleet)).fence([AttemptId("att_1"), AttemptId("att_9")])
    assert held.wishes == [FENCED]
    assert fleet.woken == ["att_1"]
