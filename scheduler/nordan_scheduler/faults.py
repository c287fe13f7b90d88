"""Where a test may make a scheduler stop, as if by SIGSTOP, once. Inert unless NORDAN_STOP_AT names a point.

`before_commit` lies in the cycle, between the last statement that writes grants and the commit: whoever is stopped
there has done everything but say so, and wakes in a transaction that the server has ended meanwhile.
"""

from __future__ import annotations

import signal
import threading

POINTS = ("before_commit",)


class Faults:
    """Stops at one point, once; without a point, `at` does nothing."""

    def __init__(self, point: str) -> None:
        if point and point not in POINTS:
            raise ValueError(f"NORDAN_STOP_AT={point} is no point; give one of {', '.join(POINTS)}")
        self._point = point

    def at(self, point: str) -> None:
        """Stop this process, all of its threads, if the point is the one; whoever continues it finds it inert."""
        if point != self._point:
            return
        self._point = ""
        # To this very thread: sent to the process, it could stop the others first, and this one would commit meanwhile.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


NO_FAULTS = Faults("")
