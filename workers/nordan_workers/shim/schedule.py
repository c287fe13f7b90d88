"""When a rank is told to end and when it is killed: arithmetic on the boot-time clock, without a clock."""

from __future__ import annotations

from dataclasses import dataclass

from nordan_workers.shim.records import Deadline, Stop


@dataclass(frozen=True, slots=True)
class Schedule:
    """The two instants of a rank's end, and what set each of them."""

    term_at_s: float
    kill_at_s: float
    is_term_by_deadline: bool
    is_kill_by_deadline: bool


def schedule(deadline: Deadline | None, stop: Stop | None, *, boot_id: str, grace_s: float) -> Schedule:
    """Return when SIGTERM and SIGKILL are due: whichever of deadline and stop comes first.

    SIGTERM precedes the deadline by `grace_s`, so that nothing runs after it. No deadline, or one of another boot,
    is a deadline that has passed.
    """
    limit_s = deadline.at_s if deadline is not None and deadline.boot_id == boot_id else 0.0
    if stop is None:
        return Schedule(limit_s - grace_s, limit_s, is_term_by_deadline=True, is_kill_by_deadline=True)
    return Schedule(
        term_at_s=min(limit_s - grace_s, stop.at_s),
        kill_at_s=min(limit_s, stop.kill_at_s),
        is_term_by_deadline=limit_s - grace_s < stop.at_s,
        is_kill_by_deadline=limit_s < stop.kill_at_s,
    )
