"""Requests of a region are further apart where the control plane is busy, and never so far that a renewal is late."""

from __future__ import annotations

import asyncio
import threading

import pytest

from nordan_core.clock import ManualClock
from nordan_core.wire import SyncDown, SyncUp
from nordan_workers.supervisor.sync import COALESCE_S, INTERVAL_S, LONGEST_SPACING_S, SPACING_S
from support.syncing import NoAttempts, syncer_over


class SlowApi:
    """Takes so long for each answer."""

    def __init__(self, clock: ManualClock, took_s: float) -> None:
        self.clock, self.took_s = clock, took_s

    async def sync(self, up: SyncUp) -> SyncDown:
        del up
        self.clock.advance(self.took_s)
        return SyncDown(renewal="")


def pause_after(took_s: float, whole_s_ago: float, monkeypatch: pytest.MonkeyPatch) -> float:
    """Return how long a syncer waits with a change, after an answer that took so long."""
    clock, fleet, slept = ManualClock(), NoAttempts(), []

    async def sleep(seconds: float) -> None:
        # Other threads may have loops of their own.
        if threading.current_thread() is threading.main_thread():
            slept.append(seconds)

    syncer = syncer_over(SlowApi(clock, took_s), clock, fleet=fleet)

    async def story() -> None:
        await syncer.sync()
        syncer._whole_at_s = clock.monotonic() - whole_s_ago
        fleet.changed.set()
        monkeypatch.setattr(asyncio, "sleep", sleep)
        await syncer._wait()

    asyncio.run(story())
    [pause_s] = slept
    return pause_s


@pytest.mark.parametrize(
    ("took_s", "pause_s"),
    [
        (0.0, SPACING_S),
        (0.02, SPACING_S - 0.02),
        (0.1, 0.2),
        (10.0, COALESCE_S),
    ],
)
def test_a_slow_answer_makes_the_next_request_wait(
    took_s: float, pause_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pause_after(took_s, 0.0, monkeypatch) == pytest.approx(pause_s)


def test_the_wait_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pause_after(0.3, 0.0, monkeypatch) == pytest.approx(LONGEST_SPACING_S - 0.3)


def test_the_whole_is_told_on_time_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pause_after(0.1, INTERVAL_S - 0.05, monkeypatch) == pytest.approx(0.05)
