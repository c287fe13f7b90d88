"""What the kernel knows of processes: a pid with its start time names one process for ever.

Used to find and stop what an `up` that was killed left behind, without ever touching a stranger that got its pid.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

_PROC = Path("/proc")
_BOOT_ID = _PROC / "sys/kernel/random/boot_id"
_STATE_FIELD = 0
_START_TIME_FIELD = 19


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process of one boot of one machine."""

    pid: int
    started_ticks: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """Return the identity of a live pid, or None when there is no such process (a zombie is none)."""
        fields = _stat_fields(pid)
        if fields is None or fields[_STATE_FIELD] in {"Z", "X"}:
            return None
        return cls(pid, int(fields[_START_TIME_FIELD]), boot_id())

    @classmethod
    def from_json(cls, text: str) -> ProcessId:
        """Read what `to_json` wrote; raises ValueError or KeyError for anything else."""
        values = json.loads(text)
        return cls(int(values["pid"]), int(values["started_ticks"]), str(values["boot_id"]))

    def to_json(self) -> str:
        """Return the identity as one line."""
        return json.dumps(asdict(self))

    def is_alive(self) -> bool:
        """Tell whether this very process still runs."""
        return ProcessId.of(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process if it is still the same one."""
        with suppress(ProcessLookupError):
            if self.is_alive():
                os.kill(self.pid, number)

    def send_to_group(self, number: signal.Signals) -> None:
        """Send a signal to the group that the process leads, if it is still the same one."""
        with suppress(ProcessLookupError):
            if self.is_alive():
                os.killpg(self.pid, number)


def stop_all(processes: list[ProcessId], number: signal.Signals, timeout_s: float) -> None:
    """Send a signal to each, wait for all together, and kill what is left after the time."""
    for process in processes:
        process.send(number)
    if not wait_gone(processes, timeout_s):
        for process in processes:
            process.send(signal.SIGKILL)
        wait_gone(processes, timeout_s)


def wait_gone(processes: list[ProcessId], timeout_s: float) -> bool:
    """Wait until none of them is alive; False when the time ran out first."""
    deadline = time.monotonic() + timeout_s
    while any(process.is_alive() for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def working_in(folder: Path, program: str) -> list[ProcessId]:
    """Return the live processes of a program whose working directory is `folder`."""
    return [found for found in _all() if _program(found.pid) == program and _works_in(found.pid, folder)]


def command_lines() -> Iterator[bytes]:
    """Yield the command line of every process that we may look at."""
    for found in _all():
        with suppress(OSError):
            yield (_PROC / str(found.pid) / "cmdline").read_bytes()


def boot_id() -> str:
    """Return the kernel's name of this boot."""
    return _BOOT_ID.read_text().strip()


def _all() -> Iterator[ProcessId]:
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (found := ProcessId.of(int(entry.name))):
            yield found


def _stat_fields(pid: int) -> list[str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The command stands in parentheses and may itself hold spaces and parentheses.
    return text.rpartition(")")[2].split()


def _program(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return ""


def _works_in(pid: int, folder: Path) -> bool:
    try:
        return (_PROC / str(pid) / "cwd").samefile(folder)
    except OSError:
        return False
