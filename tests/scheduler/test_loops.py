"""The leader's loops: what ends the process, and what is only waited for."""

from __future__ import annotations

from threading import Event
from typing import cast

import pytest

from nordan_core.domain.errors import Unavailable
from nordan_scheduler.leader import Leader
from nordan_scheduler.loops import LeaderLoop


class Leading:
    """A process that leads for good."""

    changed = Event()

    def epoch(self) -> int:
        return 1


def run(*errors: Exception) -> int:
    """Let a loop run whose steps fail so, one after the other, and then end it; returns the number of steps."""
    waiting, stopping = list(errors), Event()
    steps = 0

    def step(_epoch: int) -> float:
        nonlocal steps
        steps += 1
        if waiting:
            raise waiting.pop(0)
        stopping.set()
        return 0.0

    LeaderLoop("test", step, cast(Leader, Leading()), stopping).run()
    return steps


def test_what_is_unavailable_is_waited_for() -> None:
    """An atlas of a later version, say: the jobs that run would lose their scheduler with the process."""
    assert run(Unavailable("this version cannot read the atlas", 0.0), Unavailable("still not", 0.0)) == 3


def test_a_defect_ends_the_process() -> None:
    with pytest.raises(ValueError, match="a defect"):
        run(ValueError("a defect"))
