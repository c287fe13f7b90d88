"""The wish to stop, from Ctrl-C or SIGTERM, and sleeping that ends when it is made.

Used by `up`. The handler only notes the wish: what is being started is finished or given up at the next pause, so no
child is ever started and forgotten. Long work that starts nothing of the stack asks to be ended at once instead.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: Longest time until a wish is noticed.
_SLICE_S = 0.05
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(Exception):
    """Somebody asked this `up` to stop."""


class Stopping:
    """Whether somebody asked."""

    def __init__(self) -> None:
        self.is_requested = False
        self._ends_at_once = False

    def request(self) -> None:
        """Ask."""
        self.is_requested = True

    def heed(self) -> None:
        """Note the wish of a signal.

        Raises:
            StopRequested: in a block that is ended at once, and only the first time: it then clears up undisturbed.
        """
        is_first, self.is_requested = not self.is_requested, True
        if self._ends_at_once and is_first:
            raise StopRequested

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal end the block wherever it is.

        Raises:
            StopRequested: somebody asked, before or meanwhile.
        """
        self.pause(0)
        self._ends_at_once = True
        try:
            yield
        finally:
            self._ends_at_once = False

    def pause(self, seconds: float) -> None:
        """Sleep.

        Raises:
            StopRequested: somebody asked, before or meanwhile.
        """
        deadline = time.monotonic() + seconds
        while not self.is_requested:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, _SLICE_S))
        raise StopRequested


@contextmanager
def stop_on_signals(stopping: Stopping) -> Iterator[None]:
    """Let the usual signals ask for a stop during the block."""

    def note(_number: int, _frame: FrameType | None) -> None:
        stopping.heed()

    # A hang-up that the invoker chose to ignore (nohup) stays ignored.
    chosen = [one for one in _SIGNALS if one is not signal.SIGHUP or signal.getsignal(one) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in chosen}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
