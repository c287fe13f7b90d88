"""When a rank ends: deadline and stop as a table."""

from __future__ import annotations

import pytest

from nordan_workers.shim.records import Deadline, Stop
from nordan_workers.shim.schedule import Schedule, schedule

BOOT = "boot"
GRACE_S = 2.0


@pytest.mark.parametrize(
    ("deadline", "stop", "term_s", "kill_s", "term_by_deadline", "kill_by_deadline"),
    [
        pytest.param(100.0, None, 98.0, 100.0, True, True, id="a deadline alone: nothing runs after it"),
        pytest.param(100.0, Stop(50.0, 10.0), 50.0, 60.0, False, False, id="a stop before the deadline"),
        pytest.param(100.0, Stop(50.0, 90.0), 50.0, 100.0, False, True, id="a grace that the deadline cuts"),
        pytest.param(100.0, Stop(99.0, 10.0), 98.0, 100.0, True, True, id="a stop after the deadline's own SIGTERM"),
        pytest.param(100.0, Stop(99.0, 0.0), 98.0, 99.0, True, False, id="a kill just before the deadline"),
        pytest.param(None, None, -2.0, 0.0, True, True, id="no deadline: one that has passed"),
        pytest.param(None, Stop(50.0, 1.0), -2.0, 0.0, True, True, id="no deadline, whatever the stop says"),
    ],
)
def test_the_earlier_of_deadline_and_stop_counts(
    deadline: float | None,
    stop: Stop | None,
    term_s: float,
    kill_s: float,
    *,
    term_by_deadline: bool,
    kill_by_deadline: bool,
) -> None:
    limit = Deadline(BOOT, deadline) if deadline is not None else None
    plan = schedule(limit, stop, boot_id=BOOT, grace_s=GRACE_S)
    assert plan == Schedule(term_s, kill_s, term_by_deadline, kill_by_deadline)


def test_a_deadline_of_another_boot_has_passed() -> None:
    assert schedule(Deadline("other", 100.0), None, boot_id=BOOT, grace_s=GRACE_S).kill_at_s == 0.0
