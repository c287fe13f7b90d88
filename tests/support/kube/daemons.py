"""Processes of a test cluster: started with a log, watched, ended, and never outliving the test run.

Each one asks the kernel to be killed when the process that started it dies (`setpriv --pdeathsig`), so a test run
that is killed leaves none behind.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_POLL_S = 0.05
_TERM_S = 5.0


class DaemonFailed(Exception):
    """A part of the cluster did not start or ended early; the text has the end of its log."""


class Daemon:
    """One process: it can be started again after it was stopped or killed.

    With `is_behind_nsenter` the process is the child of an nsenter that waits for it: signals are for the child.
    """

    def __init__(self, name: str, argv: Sequence[str], log: Path, *, is_behind_nsenter: bool = False) -> None:
        self.name = name
        self.log = log
        self._argv = list(argv)
        self._is_behind_nsenter = is_behind_nsenter
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; its output is added to the log."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_tied_to_us(), *self._argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process's id. Raises: DaemonFailed when it does not run."""
        if self._process is None or self._process.poll() is not None:
            raise DaemonFailed(f"{self.name} does not run")
        return child_of(self._process.pid) if self._is_behind_nsenter else self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End the process politely, then not; return when it is gone."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the process at once; return when it is gone."""
        self._end(signal.SIGKILL)

    def _end(self, sign: signal.Signals) -> None:
        if self._process is None:
            return
        with contextlib.suppress(DaemonFailed, ProcessLookupError, IndexError):
            os.kill(self.pid, sign)
        try:
            self._process.wait(_TERM_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(DaemonFailed, ProcessLookupError, IndexError):
                os.kill(self.pid, signal.SIGKILL)
            self._process.kill()
            self._process.wait()
        self._process = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep the process from running, as a machine that hangs would."""
        pid = self.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def wait_until(self, is_ready: Callable[[], bool], *, timeout_s: float) -> None:
        """Return when `is_ready` says so.

        Raises: DaemonFailed when the process ends first or the time is over.
        """
        deadline = time.monotonic() + timeout_s
        while not is_ready():
            if not self.is_running:
                raise DaemonFailed(f"{self.name} ended while it started:\n{self.log_end()}")
            if time.monotonic() > deadline:
                raise DaemonFailed(f"{self.name} was not ready after {timeout_s:.0f} s:\n{self.log_end()}")
            time.sleep(_POLL_S)

    def log_end(self, lines: int = 25) -> str:
        """Return the last lines of the log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def child_of(pid: int) -> int:
    """Return the only child of a process such as `unshare --fork` or `nsenter --pid`."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _tied_to_us() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []
