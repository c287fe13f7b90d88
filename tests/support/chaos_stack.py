"""A whole stack of real processes in a folder of its own: found by name, killed, stopped, continued, gone at the end.

`nordan up` runs as a child and starts again what was killed. Nothing but what this stack started is ever signalled.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from nordan_core.embedded.proc import ProcessId

WORLD = Path(__file__).resolve().parents[1] / "chaos" / "world.yaml"
FR, SE = "fr-nan-1", "se-lul-1"
REGIONS = (FR, SE)
#: The first numbers stay for stacks that do not choose, such as the demo's.
FIRST_NUMBER = 10
SLOTS = 40
START_S = 150.0
STOP_S = 60.0
#: Handed on, so that the environment tells whoever looks for left-over processes what they belong to.
_KEPT = ("PATH", "LANG", "LD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True)
class Invoker:
    """Who runs `nordan up`, with what and for which world: by default we ourselves, for the chaos world."""

    python: Path = Path(sys.executable)
    environment: Mapping[str, str] = field(default_factory=dict)
    user: int | None = None
    world: Path | None = WORLD
    """None: the home region."""


@dataclass
class ChaosStack:
    """One stack; `up` may be killed and started again."""

    home: Path
    invoker: Invoker = field(default_factory=Invoker)
    url: str = ""
    key: str = ""
    project: str = ""
    _up: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def data(self) -> Path:
        """The stack's data folder."""
        return self.home / "data"

    @property
    def starts(self) -> Path:
        """Where jobs note that they were started: a file per attempt and rank, a line per start."""
        return self.home / "starts"

    @property
    def up(self) -> subprocess.Popen[bytes]:
        """The running `nordan up`."""
        assert self._up is not None
        return self._up

    def region(self, code: str) -> Path:
        """Return a region's folder."""
        return self.data / "regions" / code

    def regions(self) -> list[Path]:
        """Return the folders of all regions."""
        return sorted((self.data / "regions").iterdir())

    def start(self) -> None:
        """Start `nordan up` and wait until it has logged its invoker in."""
        config = self.home / "config.json"
        config.unlink(missing_ok=True)
        by, is_other = self.invoker, self.invoker.user is not None
        command = [str(by.python), "-P", "-m", "nordan_core.embedded.up_command", f"--data-dir={self.data}", "--port=0"]
        command += ["--stop-jobs", *([f"--world={by.world}"] if by.world else [])]
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        with (self.home / "up.log").open("ab") as log:
            self._up = subprocess.Popen(
                command,
                env={**kept, **by.environment, "HOME": str(self.home), "NORDAN_CONFIG": str(config)},
                user=by.user,
                group=by.user,
                extra_groups=[] if is_other else None,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        until(lambda: config.exists() or self.up.poll() is not None, "the stack to be ready", START_S)
        assert config.exists(), self.trouble()
        known = json.loads(config.read_text())
        self.url, self.key, self.project = known["url"], known["key"], known["project"]

    def stop(self) -> list[str]:
        """Stop everything in order and return the command lines of what had to be killed afterwards."""
        for process in self._records().values():
            process.send(signal.SIGCONT)
        if self._up is not None and self._up.poll() is None:
            self._up.send_signal(signal.SIGTERM)
            try:
                self._up.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._up.kill()
                self._up.wait()
        return [words for pid in self.pids_marked(str(self.home)) if (words := _end(pid))]

    def process(self, name: str) -> ProcessId:
        """Return the process of this name, once it runs."""
        until(lambda: name in self._records(), f"{name} to run")
        return self._records()[name]

    def names(self) -> tuple[str, ...]:
        """Return the names of all processes that `up` keeps running."""
        return tuple(sorted(self._records()))

    def kill(self, name: str) -> ProcessId:
        """Kill a process without a word and return which it was."""
        process = self.process(name)
        process.send(signal.SIGKILL)
        return process

    def wait_replaced(self, name: str, dead: ProcessId, timeout_s: float = 60.0) -> ProcessId:
        """Wait until `up` runs another process under this name."""
        until(lambda: self._records().get(name, dead) != dead, f"{name} to be started again", timeout_s)
        return self._records()[name]

    @contextmanager
    def stopped(self, process: ProcessId) -> Iterator[None]:
        """Keep a process stopped during the block; it is continued whatever happens."""
        process.send(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send(signal.SIGCONT)

    def leader(self) -> tuple[str, ProcessId]:
        """Return name and process of the scheduler that leads, as the database has it."""
        until(lambda: self._leader() is not None, "somebody to lead")
        found = self._leader()
        assert found is not None
        return found

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:  # Any: columns
        """Return a connection to the database as the control plane's own role."""
        return psycopg.connect(
            host=str(self.data / "postgres" / "run"),
            dbname="nordan",
            user="nordan",
            password=(self.data / "control" / "database-password").read_text().strip(),
            application_name="chaos",
        )

    def rows(self, query: str, values: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:  # Any: columns
        """Run a query in a transaction of its own; a server that is recovering is waited for."""
        deadline = time.monotonic() + 30.0
        while True:
            try:
                with self.connect() as connection:
                    return connection.execute(query.encode(), values).fetchall()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def has_started(self, job: str) -> bool:
        """Tell whether the first rank of a job's first attempt has begun."""
        rows = self.rows("select id from attempt where job_id = %(job)s and number = 1", {"job": job})
        return any((self.starts / f"{attempt}.0").exists() for (attempt,) in rows)

    def pids_marked(self, mark: str) -> list[int]:
        """Return the live processes whose command line or environment holds a text, this one left out."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                texts = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
            except OSError:
                continue
            if int(folder.name) != os.getpid() and any(mark.encode() in text for text in texts):
                found.append(int(folder.name))
        return found

    def trouble(self) -> str:
        """Return what `up` said last, and the last warnings of each log."""
        told = (self.home / "up.log").read_text(errors="replace").splitlines()[-20:]
        for log in sorted(self.data.glob("logs/*.log")):
            faults = [line for line in log.read_text(errors="replace").splitlines() if "rror" in line or "warn" in line]
            told += [f"{log.name}: {line[:300]}" for line in faults[-3:]]
        return "\n".join(told)

    def _leader(self) -> tuple[str, ProcessId] | None:
        holders = self.rows("select holder from leader where until > clock_timestamp()")
        pids = {int(holder.split(":")[1]) for (holder,) in holders}
        return next(((name, process) for name, process in self._records().items() if process.pid in pids), None)

    def _records(self) -> dict[str, ProcessId]:
        found = {}
        for record in (self.data / "processes").glob("*.json"):
            try:
                found[record.stem] = ProcessId.from_json(record.read_text())
            except FileNotFoundError:
                continue
        return {name: process for name, process in found.items() if process.is_alive()}


@contextmanager
def chaos_stack(invoker: Invoker | None = None) -> Iterator[ChaosStack]:
    """Start a stack with the chaos world; at the end nothing of it may be left running."""
    home = Path(tempfile.mkdtemp(prefix="nc-", dir="/tmp"))
    # As root, services and jobs run under other users, who pass through to their folders.
    home.chmod(0o711)
    stack = ChaosStack(home, invoker or Invoker())
    stack.starts.mkdir()
    stack.starts.chmod(0o1777)
    with _numbered_regions(stack.data):
        try:
            stack.start()
            yield stack
            left = stack.stop()
            assert left == [], f"left running: {left}"
        finally:
            stack.stop()
            shutil.rmtree(home, ignore_errors=True)


def until(holds: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    """Wait until something holds; the test fails when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what}"
        time.sleep(0.05)


@contextmanager
def _numbered_regions(data: Path) -> Iterator[None]:
    """Give the regions numbers, and so users, that no other stack of a test on this machine has meanwhile.

    The end of an attempt kills whatever runs as its user.
    """
    with socket.socket(socket.AF_UNIX) as claim:
        first = FIRST_NUMBER + len(REGIONS) * _claimed_slot(claim)
        data.mkdir()
        numbers = data / "region-numbers.json"
        numbers.write_text(json.dumps({code: first + index for index, code in enumerate(REGIONS)}))
        numbers.chmod(0o600)
        yield


def _claimed_slot(claim: socket.socket) -> int:
    """Bind the name of a free slot: the kernel gives it to one process and takes it back when that ends."""
    for slot in range(SLOTS):
        with suppress(OSError):
            claim.bind(f"\0nordan-test-stack-{slot}")
            return slot
    raise AssertionError(f"{SLOTS} stacks run on this machine already")


def _end(pid: int) -> str:
    """Kill a process and return its command line; empty when it was gone already."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return ""
    return words and f"{pid} {words}"
