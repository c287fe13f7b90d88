"""Where a test may make the supervisor die, as if by `kill -9`, once. Inert unless NORDAN_CRASH_AT names a point.

The points surround each step after which a second try could do harm: `before_` and `after_` each of `write` (the
redemption id to disk), `redeem` (the request), `answer` (the order to disk), `launch` and `report` (the end, sent).
Where jobs are pods there are two more, each before the note of it: `create` (the pod) and `bind` (the pod to its node).
A file in the run folder remembers that it happened, so that a restarted process with the same environment lives.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

STEPS = ("write", "redeem", "answer", "launch", "report")
POD_STEPS = ("create", "bind")
"""Steps of the Kubernetes executor alone."""
POINTS = tuple(f"{when}_{step}" for step in (*STEPS, *POD_STEPS) for when in ("before", "after"))


class Faults:
    """Dies at one point, once; without a point, `at` does nothing."""

    def __init__(self, point: str, run_folder: Path) -> None:
        if point and point not in POINTS:
            raise ValueError(f"NORDAN_CRASH_AT={point} is no point; give one of {', '.join(POINTS)}")
        self._point = point
        self._marker = run_folder / f"crashed-{point}"

    def at(self, point: str) -> None:
        """Kill this process if the point is the one, and it has not happened yet."""
        if point != self._point:
            return
        try:
            self._marker.touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


NO_FAULTS = Faults("", Path())
