"""Threads that repeat a step: the leader's work, and what every process does. One that dies ends the process.

A step raises `NotLeader` when another process leads: the loop stands by. A database that is away is waited for, and so
is a part that is `Unavailable`. Any other exception is a defect; the crew notes it and the process ends, so that a
fresh one takes over.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

import structlog
from sqlalchemy.exc import InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from nordan_core.domain.errors import Unavailable
from nordan_core.store.leadership import NotLeader
from nordan_scheduler.leader import Leader

_log = structlog.get_logger()
#: Wait after the database did not answer.
DATABASE_AWAY_S = 1.0
#: A standby looks at least this often whether it leads or should end.
STANDBY_S = 0.5

Step = Callable[[int], float]
"""Does a piece of work under a leader epoch and returns the seconds until the next is due; a wake-up comes sooner."""

#: What a database that is restarting, full or cutting off an idle transaction looks like.
AWAY = (OperationalError, InternalError, PoolTimeout)


class Crew:
    """The threads of a process: started by name, stopped together."""

    def __init__(self) -> None:
        self.stopping = Event()
        self.failed = Event()
        self._threads: list[Thread] = []

    def start(self, name: str, work: Callable[[], None]) -> None:
        """Run `work` in a thread; if it raises, the whole crew stops."""
        thread = Thread(target=self._run, args=(name, work), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self, timeout_s: float) -> None:
        """Ask every thread to end and wait for them, at most so long for each."""
        self.stopping.set()
        for thread in self._threads:
            thread.join(timeout_s)

    def _run(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # noqa: BLE001  # the boundary of a thread: whatever it was, the process must end
            _log.exception("thread_died", thread=name)
            self.failed.set()
            self.stopping.set()


class LeaderLoop:
    """Repeats a step while this process leads, and waits while it does not."""

    def __init__(self, name: str, step: Step, leader: Leader, stopping: Event) -> None:
        self.name = name
        self._step = step
        self._leader = leader
        self._stopping = stopping
        self._wake = Event()

    def wake(self) -> None:
        """Run the next step now."""
        self._wake.set()

    def run(self) -> None:
        """Repeat until the process stops."""
        while not self._stopping.is_set():
            epoch = self._leader.epoch()
            if epoch is None:
                self._leader.changed.wait(STANDBY_S)
                continue
            pause_s = self._once(epoch)
            if pause_s > 0 and not self._stopping.is_set():
                self._wake.wait(pause_s)
            self._wake.clear()

    def _once(self, epoch: int) -> float:
        try:
            return self._step(epoch)
        except NotLeader:
            self._leader.lost(epoch)
            return 0.0
        except AWAY as error:
            _log.warning("database_away", loop=self.name, error=type(error).__name__)
            self._stopping.wait(DATABASE_AWAY_S)
            return 0.0
        except Unavailable as error:
            # Such as an atlas of a later version: a fresh process could not read it either.
            _log.error("step_waits", loop=self.name, detail=error.message)
            self._stopping.wait(error.retry_after_s)
            return 0.0
