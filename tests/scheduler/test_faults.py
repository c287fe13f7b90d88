"""A scheduler stops once at its point; without one, never."""

from __future__ import annotations

import signal
import threading

import pytest

from nordan_scheduler.faults import NO_FAULTS, POINTS, Faults


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    stopped: list[tuple[int, int]] = []
    monkeypatch.setattr(signal, "pthread_kill", lambda thread, number: stopped.append((thread, number)))
    return stopped


def test_it_stops_once(stopped: list[tuple[int, int]]) -> None:
    faults = Faults("before_commit")
    faults.at("elsewhere")
    assert stopped == []
    faults.at("before_commit")
    faults.at("before_commit")
    assert stopped == [(threading.get_ident(), signal.SIGSTOP)]


def test_without_a_point_it_is_inert(stopped: list[tuple[int, int]]) -> None:
    for point in POINTS:
        NO_FAULTS.at(point)
    assert stopped == []


def test_a_point_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="before_commit"):
        Faults("somewhere")
