"""Child processes that are kept running: start, restart with back-off, logs of limited size, orderly stop.

Used by `up` and by the PostgreSQL and Valkey runners. Knows nothing of what the processes do. A child leads a
session of its own, so Ctrl-C at the terminal reaches `up` alone and `up` decides the order of stopping.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from nordan_core.clock import Clock, SystemClock
from nordan_core.domain.errors import OperatorError
from nordan_core.embedded.files import write_file
from nordan_core.embedded.layout import Identity
from nordan_core.embedded.proc import ProcessId, stop_all, wait_gone

FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 5.0
#: A process that lived this long was well: the next restart is prompt again.
HEALTHY_AFTER_S = 5.0
LOG_LIMIT_BYTES = 10 * 2**20


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run, as whom, with which environment, and how to stop it."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    identity: Identity
    cwd: Path = Path("/")
    umask: int = 0o077
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 10.0


class Process:
    """One child process and its record on disk."""

    def __init__(self, spec: ProcessSpec, records: Path, clock: Clock) -> None:
        self.spec = spec
        self.restarts = 0
        self._records = records
        self._clock = clock
        self._child: subprocess.Popen[bytes] | None = None
        self._id: ProcessId | None = None
        self._is_recorded = False
        self._started = 0.0
        self._backoff_s = FIRST_BACKOFF_S
        self._restart_at: float | None = None

    @property
    def is_started(self) -> bool:
        """Whether there has been a child; False after a first start that failed."""
        return self._child is not None

    @property
    def pid(self) -> int | None:
        """The child's pid while it runs."""
        return self._child.pid if self._child and self._child.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """The last child's exit code, negative for a signal; None while it runs."""
        return self._child.poll() if self._child else None

    def start(self) -> None:
        """Start the child.

        Raises:
            OperatorError: the program is missing, or may not be run by its user.
            OSError: its log or its record cannot be written; in the second case it runs.
        """
        self._child = spawn(self.spec)
        self._started = self._clock.monotonic()
        self._restart_at = None
        self._id = ProcessId.of(self._child.pid)
        self._is_recorded = False
        self._write_record()

    def tick(self) -> None:
        """Restart the child if it ended and its back-off is over; keep its log within the limit and its record true.

        One whose first start failed is started.

        Raises:
            OperatorError, OSError: as `start`; the next tick tries again.
        """
        trim_log(self.spec.log)
        if self._child is None:
            self.start()
        elif self._child.poll() is None:
            self._write_record()
        else:
            self._restart_in_time(self._clock.monotonic())

    def ask_to_stop(self) -> None:
        """Send the stop signal."""
        if self._id and self.pid:
            self._id.send(self.spec.stop_signal)

    def finish(self, timeout_s: float) -> None:
        """Wait for the end, kill what is left of the process group, and drop the record."""
        if self._child is None:
            return
        try:
            self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
        self._record.unlink(missing_ok=True)

    def _write_record(self) -> None:
        if self._id and not self._is_recorded:
            write_file(self._record, self._id.to_json(), Identity.own())
            self._is_recorded = True

    @property
    def _record(self) -> Path:
        return self._records / f"{self.spec.name}.json"

    def _restart_in_time(self, now: float) -> None:
        if self._restart_at is None:
            self._restart_at = now + self._next_backoff(now)
        elif now >= self._restart_at:
            self.restarts += 1
            self.start()

    def _next_backoff(self, now: float) -> float:
        if now - self._started > HEALTHY_AFTER_S:
            self._backoff_s = FIRST_BACKOFF_S
        wait, self._backoff_s = self._backoff_s, min(self._backoff_s * 2, LONGEST_BACKOFF_S)
        return wait


@dataclass
class ProcessTable:
    """All children of one `up`."""

    records: Path
    clock: Clock = field(default_factory=SystemClock)
    _processes: dict[str, Process] = field(default_factory=dict)

    def ensure(self, spec: ProcessSpec) -> Process:
        """Return the running process of this name, started or, when its spec changed, replaced.

        Raises:
            OperatorError, OSError: it cannot be started now; the next call and the next tick try again.
        """
        found = self._processes.get(spec.name)
        if found and found.spec != spec:
            self.stop([spec.name])
            found = None
        process = found or self._processes.setdefault(spec.name, Process(spec, self.records, self.clock))
        if not process.is_started:
            process.start()
        return process

    def tick(self) -> None:
        """Look after every process once; one that cannot be started now is tried again later.

        A full disk refuses its record or its log, which is no reason to end the others.
        """
        for process in self._processes.values():
            with suppress(OperatorError, OSError):
                process.tick()

    def get(self, name: str) -> Process | None:
        """Return the process of this name."""
        return self._processes.get(name)

    def names(self) -> tuple[str, ...]:
        """Return all names in the order in which they were started first."""
        return tuple(self._processes)

    def stop(self, names: Iterable[str]) -> None:
        """Stop some processes at the same time and wait for all; unknown names are ignored."""
        chosen = [self._processes.pop(name) for name in names if name in self._processes]
        for process in chosen:
            process.ask_to_stop()
        deadline = self.clock.monotonic() + max((one.spec.stop_timeout_s for one in chosen), default=0.0)
        for process in chosen:
            process.finish(max(0.0, deadline - self.clock.monotonic()))


def wait_until(
    process: Process, answers: Callable[[], bool], timeout_s: float, pause: Callable[[float], None] = time.sleep
) -> None:
    """Wait until a process that was just started answers; `pause` sleeps and may raise to give up.

    Raises:
        OperatorError: it ended, or did not answer within the time; the message holds the end of its log.
    """
    deadline = time.monotonic() + timeout_s
    while not answers():
        name, hint = process.spec.name, log_hint(process.spec.log)
        if process.exit_code is not None:
            raise OperatorError(f"{name} ended with exit code {process.exit_code} while starting. {hint}")
        if time.monotonic() > deadline:
            raise OperatorError(f"{name} did not answer within {timeout_s:g} s. {hint}")
        pause(0.05)


def spawn(spec: ProcessSpec) -> subprocess.Popen[bytes]:
    """Start a spec's child in a session of its own, its output appended to its log.

    Raises:
        OperatorError: the program is missing, or may not be run by its user.
    """
    is_other = spec.identity != Identity.own()
    log = os.open(spec.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            spec.command,
            env=dict(spec.environment),
            cwd=spec.cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=spec.umask,
            user=spec.identity.uid if is_other else None,
            group=spec.identity.gid if is_other else None,
            extra_groups=[] if is_other else None,
        )
    except OSError as error:
        raise OperatorError(
            f"{spec.name} cannot be started: running {spec.command[0]} as user {spec.identity.uid} in {spec.cwd} "
            f"failed with: {error.strerror}."
        ) from error
    finally:
        os.close(log)


def run_once(spec: ProcessSpec, timeout_s: float = 180.0) -> None:
    """Run a spec to its end.

    Raises:
        OperatorError: it failed or took too long; the message holds the end of its log.
    """
    child = spawn(spec)
    try:
        code = child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        raise OperatorError(f"{spec.name} did not end within {timeout_s:g} s. {log_hint(spec.log)}") from None
    finally:
        if child.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    if code != 0:
        raise OperatorError(f"{spec.name} failed with exit code {code}. {log_hint(spec.log)}")


def stop_leftovers(records: Path, timeout_s: float = 10.0) -> tuple[str, ...]:
    """Stop what an earlier `up` that was killed left running, and return the names."""
    found = {}
    for record in sorted(records.glob("*.json")):
        with suppress(ValueError, KeyError):
            process = ProcessId.from_json(record.read_text())
            if process.is_alive():
                found[record] = process
    stop_all(list(found.values()), signal.SIGTERM, timeout_s)
    wait_gone(list(found.values()), timeout_s)
    for record in records.glob("*.json"):
        record.unlink()
    return tuple(record.stem for record in found)


def trim_log(log: Path, limit_bytes: int = LOG_LIMIT_BYTES) -> None:
    """Move a log that grew over the limit to `.1` by copy: its writer appends, so it goes on in the emptied file."""
    try:
        if log.stat().st_size <= limit_bytes:
            return
        with log.open("r+b") as file:
            older = log.with_name(f"{log.name}.1")
            older.touch(mode=0o600)
            older.write_bytes(file.read())
            file.truncate(0)
    except OSError:
        # A full disk must not stop the stack; the log is tried again at the next tick.
        return


def log_hint(log: Path, lines: int = 8) -> str:
    """Return where to look, and the log's last lines."""
    try:
        tail = log.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        tail = []
    return f"Its log is {log}." + ("".join(f"\n  | {line}" for line in tail) if tail else "")
