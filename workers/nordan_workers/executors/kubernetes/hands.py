"""Does errands at the cluster on a few threads: each key at most once at a time, again after a failure or another call.

The same pattern as a controller's work queue. An errand is not a message but a reminder: it looks at what is wanted
when its turn comes, so that calling twice, or too often, does no harm.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable
from itertools import count

import structlog

from nordan_core.domain.errors import NordanError

#: After failures in a row; the last one stays.
PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0)

Errand = Callable[[], float | None]
"""Returns after how many seconds it wants to be called again; None: when somebody calls it."""


class Hands:
    """A queue of keys with an errand each, and the threads that work on it."""

    def __init__(self, threads: int, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._turn = threading.Condition()
        self._ready: deque[str] = deque()
        self._later: list[tuple[float, int, str]] = []
        self._order = count()
        self._errands: dict[str, Errand] = {}
        self._busy: set[str] = set()
        self._again: set[str] = set()
        self._failures: dict[str, int] = {}
        self._is_closed = False
        self._threads = [threading.Thread(target=self._work, name=f"hand-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def call(self, key: str, errand: Errand) -> None:
        """Have the errand done soon; called while it is being done, it is done once more afterwards."""
        with self._turn:
            self._errands[key] = errand
            if key in self._busy:
                self._again.add(key)
            elif key not in self._ready:
                self._ready.append(key)
                self._turn.notify()

    def close(self, wait_s: float) -> None:
        """Begin no other errand, and wait a while for those under way."""
        with self._turn:
            self._is_closed = True
            self._turn.notify_all()
        give_up_s = self._monotonic() + wait_s
        for thread in self._threads:
            thread.join(max(0.0, give_up_s - self._monotonic()))

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            key, errand = taken
            again_after_s = self._do(key, errand)
            with self._turn:
                self._busy.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self._ready.append(key)
                elif again_after_s is not None:
                    due_s = self._monotonic() + again_after_s
                    heapq.heappush(self._later, (due_s, next(self._order), key))
                elif key not in self._ready:
                    self._errands.pop(key, None)
                self._turn.notify()

    def _take(self) -> tuple[str, Errand] | None:
        with self._turn:
            while not self._is_closed:
                wait_s = self._bring_forward()
                if self._ready:
                    key = self._ready.popleft()
                    if (errand := self._errands.get(key)) is None:
                        continue
                    self._busy.add(key)
                    return key, errand
                self._turn.wait(wait_s)
            return None

    def _bring_forward(self) -> float | None:
        """Make ready what is due; return the seconds until the next one is."""
        now_s = self._monotonic()
        while self._later and self._later[0][0] <= now_s:
            key = heapq.heappop(self._later)[2]
            if key in self._errands and key not in self._busy and key not in self._ready:
                self._ready.append(key)
                self._turn.notify()
        return max(0.01, self._later[0][0] - now_s) if self._later else None

    def _do(self, key: str, errand: Errand) -> float | None:
        try:
            again_after_s = errand()
        except (NordanError, OSError) as error:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            if failures == 1:
                structlog.get_logger().warning("cluster_errand_delayed", errand=key, error=type(error).__name__)
            return PAUSES_S[min(failures, len(PAUSES_S)) - 1]
        except Exception:  # noqa: BLE001  whatever one errand meets must not stop the others
            structlog.get_logger().exception("cluster_errand_failed", errand=key)
            return None
        self._failures.pop(key, None)
        return again_after_s
