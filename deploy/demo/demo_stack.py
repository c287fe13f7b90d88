"""A Nordan stack of the demo's own: a fresh data folder, free ports, `nordan up` as a child, nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from console import Stopped, until
from sockets import beyond_loopback

ROOT = Path(__file__).resolve().parents[2]
#: The command as a person has it, from the virtual environment that runs the demo.
NORDAN = [str(Path(sys.executable).with_name("nordan"))]
COMMAND_WITHIN_S = 120.0
#: A busy machine takes ten times as long as an idle one.
START_WITHIN_S = 600.0
STOP_WITHIN_S = 30.0


@dataclass(frozen=True)
class Result:
    """How a command of the CLI ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:  # Any: whatever the command printed as JSON
        """Return the output read as JSON.

        Raises:
            Stopped: when it is none.
        """
        try:
            return json.loads(self.out)
        except ValueError:
            raise Stopped(f"expected JSON, got: {self.out or self.err}") from None

    @property
    def text(self) -> str:
        """Return everything that was printed."""
        return "\n".join(part for part in (self.out.strip(), self.err.strip()) if part)


class Stack:
    """Starts on entry, stops everything on exit, whatever happened between."""

    def __init__(self, world: Path) -> None:
        self.world = world
        self.regions: tuple[str, ...] = ("de-fra-1", "fr-bru-1", "no-nar-1", "se-bor-1")
        """Those that join; of others the world knows the facts only."""
        self.ranks = 2
        """Of the training job."""
        self.patience = 1.0
        """How many times longer than on one machine things may take."""
        self._home = Path(tempfile.mkdtemp(prefix="nordan-demo-"))
        # Started as root, the services run under other users, who must be able to pass through to the data folder.
        self._home.chmod(0o711)
        self.data_dir = self._home / "data"
        self.files = self._home / "files"
        self.files.mkdir()
        self._key = ""
        self._up: subprocess.Popen[bytes] | None = None
        self._background: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Stack:
        """Start the stack and wait until it answers."""
        try:
            self._start()
        except BaseException:
            self._clean()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the stack and remove its folder."""
        self._clean()

    def stop(self) -> list[str]:
        """Stop all processes of the stack; return the command lines of those that had to be killed afterwards."""
        for process in self._background:
            process.kill()
            process.wait()
        if self._up is not None and self._up.poll() is None:
            self._up.send_signal(signal.SIGTERM)
            try:
                self._up.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._up.kill()
                self._up.wait()
        self._up = None
        return [self._end(pid) for pid in self.processes()]

    def processes(self) -> list[int]:
        """Return the ids of living processes whose command line or environment names this stack's folder."""
        mark = str(self._home).encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                texts = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
            except OSError:
                continue
            if int(folder.name) != os.getpid() and any(mark in text for text in texts):
                found.append(int(folder.name))
        return found

    def nordan(self, *words: str, environment: Mapping[str, str] | None = None) -> Result:
        """Run a command of the CLI and return how it ended.

        Raises:
            Stopped: when it does not end in time.
        """
        try:
            done = subprocess.run(
                [*NORDAN, *words],
                cwd=self.files,
                env=self._environment() | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=COMMAND_WITHIN_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Stopped(f"nordan {words[0]} did not end within {COMMAND_WITHIN_S:.0f} s") from None
        return Result(done.returncode, done.stdout, done.stderr)

    def follow(self, *words: str, into: Path) -> None:
        """Run a command of the CLI in the background, its output going to a file."""
        with into.open("wb") as file:
            process = subprocess.Popen(
                [*NORDAN, *words],
                cwd=self.files,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._background.append(process)

    def fitted(self, document: str) -> str:
        """Return a job document in sizes that the nodes of this stack have."""
        return document

    def listening_beyond_loopback(self) -> list[str]:
        """Return what of the stack can be reached from other machines."""
        return beyond_loopback(self.processes())

    def kill_rank(self, attempt: Mapping[str, Any], rank: int) -> str:  # Any: JSON
        """Kill one process of a running attempt, as a fault would; say what was done."""
        record = (
            self.data_dir / "regions" / attempt["region"] / "attempts" / attempt["id"] / f"rank-{rank}" / "pid.json"
        )
        pid = int(json.loads(record.read_text())["pid"])
        os.kill(pid, signal.SIGKILL)
        return f"kill -9 {pid}: rank {rank} of {attempt['id']}"

    def act_as(self, key: str) -> None:
        """Use another API key from now on."""
        self._key = key

    def rest(self) -> httpx.Client:
        """Return a client of the REST interface with the key in use."""
        found = json.loads((self._home / ".config" / "nordan" / "config.json").read_text())
        headers = {"Authorization": f"Bearer {self._key or found['key']}"}
        return httpx.Client(base_url=found["url"], headers=headers, timeout=COMMAND_WITHIN_S)

    def up_log(self) -> str:
        """Return what `nordan up` printed so far."""
        path = self._home / "up.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def trouble(self) -> str:
        """Return what the stack said last, and the last line of each log that tells of an error."""
        told = self.up_log().splitlines()[-20:]
        for log in sorted(self.data_dir.glob("logs/*.log")):
            faults = [line for line in log.read_text(errors="replace").splitlines() if "rror" in line]
            told += [f"{log.name}: {line}" for line in faults[-2:]]
        return "\n".join(told)

    def _start(self) -> None:
        # Jobs outlive the stack unless it is told otherwise; a demo leaves nothing behind.
        command = [*NORDAN, "up", "--data-dir", str(self.data_dir), "--world", str(self.world)]
        command += ["--port", "0", "--stop-jobs"]
        with (self._home / "up.log").open("wb") as log:
            self._up = subprocess.Popen(
                command,
                cwd=self.files,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            until(self._is_ready, "the stack to answer", START_WITHIN_S)
        except Stopped as stopped:
            raise Stopped(f"{stopped}\n{self.trouble()}") from None

    def _is_ready(self) -> bool | None:
        assert self._up is not None
        if self._up.poll() is not None:
            raise Stopped(f"nordan up ended with {self._up.returncode}")
        return True if self.nordan("regions", "-o", "json").code == 0 else None

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        # The CLI's configuration, which `nordan up` writes, lives in the demo's own home.
        own = {"HOME": str(self._home), "NO_COLOR": "1", "COLUMNS": "160"}
        return kept | own | ({"NORDAN_KEY": self._key} if self._key else {})

    def _end(self, pid: int) -> str:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            os.kill(pid, signal.SIGKILL)
        except (OSError, ProcessLookupError):
            return f"{pid} (gone meanwhile)"
        return f"{pid} {words}"

    def _clean(self) -> None:
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)
