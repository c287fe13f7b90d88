"""What a running shim is told: its deadline and the wish to stop, read when the attempt's folder says they changed."""

from __future__ import annotations

from pathlib import Path

from nordan_core.clock import SystemClock
from nordan_workers.shim.records import DEADLINE, STOP, Deadline, Stop, read
from nordan_workers.shim.schedule import Schedule, schedule


class Control:
    """Reads deadline and stop when the attempt's folder says that one was replaced."""

    def __init__(self, attempt_dir: Path, boot_id: str, deadline_grace_s: float) -> None:
        self._folder = attempt_dir
        self._boot_id = boot_id
        self._grace_s = deadline_grace_s
        self._clock = SystemClock()
        self._stamp_ns = -1
        self._is_settled = False
        self._schedule = self._read()

    def now(self) -> float:
        """Return the boot-time clock, in seconds."""
        return self._clock.monotonic()

    def schedule(self) -> Schedule:
        """Return when the rank must end, as the files say now."""
        stamp_ns = self._folder.stat().st_mtime_ns
        is_changed = stamp_ns != self._stamp_ns
        # Stamps are as coarse as the kernel's tick: a second rename in the same tick is found by reading once more.
        if is_changed or not self._is_settled or self._schedule.term_at_s <= self.now():
            self._schedule = self._read()
        self._stamp_ns, self._is_settled = stamp_ns, not is_changed
        return self._schedule

    def _read(self) -> Schedule:
        deadline = read(self._folder / DEADLINE, Deadline)
        return schedule(deadline, read(self._folder / STOP, Stop), boot_id=self._boot_id, grace_s=self._grace_s)
