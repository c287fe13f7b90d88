"""The shim of a pod, compiled here, and one run of it: as an ordinary process, or as PID 1 of a namespace."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nordan_workers.pod

SOURCES = Path(nordan_workers.pod.__file__).parent
FAR_S = 3600.0


def missing_compiler() -> str:
    """Say why the shim cannot be compiled here; empty when it can."""
    return "" if shutil.which("gcc") else "no C compiler (gcc) is on the path"


def compile_shim(target: Path) -> Path:
    """Compile the shim as an image's build does."""
    subprocess.run([str(SOURCES / "build-shim.sh"), str(target)], check=True, timeout=120)
    return target


def boot_s() -> float:
    """Return the clock that the shim counts by."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ShimRun:
    """One shim and its three folders; started by `start`."""

    def __init__(
        self, shim: Path, folder: Path, *, is_init: bool = False, uid: int | None = None, log_dir: Path | None = None
    ) -> None:
        """`uid` runs both shim and command as that user, as in a pod; it needs root."""
        if uid is not None:
            # Folders of tests are closed to other users.
            folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="nordan-shim-"))
            os.chown(folder, uid, uid)
            shim = Path(shutil.copy(shim, folder / "shim"))
        self._uid = uid
        self._own_folder = folder if uid is not None else None
        self.control = folder / "control"
        self.log_dir = log_dir or folder / "log"
        self.record_path = folder / "termination-log"
        for one in (self.control, self.log_dir):
            one.mkdir(parents=True)
            if uid is not None:
                os.chown(one, uid, uid)
        self.is_init = is_init
        self._shim = shim
        self._process: subprocess.Popen[bytes] | None = None

    def write(self, name: str, content: str | bytes) -> None:
        """Replace a file of the control folder, as the agent does."""
        data = content.encode() if isinstance(content, str) else content
        temporary = self.control / f".{name}"
        temporary.write_bytes(data)
        temporary.rename(self.control / name)

    def allow(self, deadline_in_s: float = FAR_S, **env: str) -> None:
        """Give a deadline, and the word to start."""
        self.deadline(deadline_in_s)
        self.write("start", b"".join(f"{name}={value}".encode() + b"\0" for name, value in env.items()))

    def deadline(self, in_s: float) -> None:
        self.write("deadline", f"{boot_s() + in_s:.3f}\n")

    def stop(self, grace_s: float) -> None:
        self.write("stop", f"{boot_s():.3f} {grace_s:.3f}\n")

    def collected(self) -> None:
        self.write("collected", "")

    def start(
        self, command: Sequence[str], *options: str, env: dict[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start the shim over a command."""
        places = (f"--control={self.control}", f"--log={self.log_dir}", f"--record={self.record_path}")
        argv = [str(self._shim), *places, *options, "--", *command]
        if self._uid is not None:
            argv = ["setpriv", f"--reuid={self._uid}", f"--regid={self._uid}", "--clear-groups", *argv]
        if self.is_init:
            argv = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *argv]
        environment = {"PATH": os.environ["PATH"], **(env or {})}
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=cwd)
        return self._process

    def leave(self, word: str) -> int:
        """End what a visit left; return the exit code."""
        return subprocess.run([str(self._shim), f"--leave={word}"], timeout=20, check=False).returncode

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the shim from outside its namespace."""
        pid = self.process.pid
        if self.is_init:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            pid = int(children[0])
        os.kill(pid, number)

    def wait(self, timeout_s: float = 20) -> int:
        """Return the exit code."""
        return self.process.wait(timeout_s)

    def wait_for(self, text: str, timeout_s: float = 20) -> str:
        """Wait until the log holds a text."""
        until_s = time.monotonic() + timeout_s
        while text not in (found := self.log()):
            assert time.monotonic() < until_s, f"{text!r} did not come: {found[-500:]!r}"
            time.sleep(0.01)
        return found

    def log(self) -> str:
        path = self.log_dir / "rank.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def record(self) -> dict[str, Any]:
        """Return the end as the container's termination log tells it."""
        found: dict[str, Any] = json.loads(self.record_path.read_text())
        return found

    def exit(self) -> dict[str, Any] | None:
        """Return the end as the agent is told it."""
        path = self.log_dir / "exit"
        return json.loads(path.read_text()) if path.exists() else None

    def clean_up(self) -> None:
        """End the shim and all that it runs."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait(10)
            for stream in (self._process.stdout, self._process.stderr):
                assert stream is not None
                stream.close()
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def programs(mark: str) -> list[int]:
    """Return the living programs of jobs whose command line holds a mark, without the helpers that run them."""
    return [pid for pid in marked(mark) if _is_program(pid)]


def _is_program(pid: int) -> bool:
    """Tell whether this is a job's Python, and not the shim that has it on its own command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"python\0")
    except (FileNotFoundError, ProcessLookupError):
        return False


def marked(mark: str) -> list[int]:
    """Return the living processes whose command line holds a mark."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if mark.encode() in (folder / "cmdline").read_bytes() and is_running(int(folder.name)):
                    found.append(int(folder.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found
