"""A real scheduler process against a test's database."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from nordan_core.identifiers import new_secret
from nordan_core.proof.keys import create_files


@dataclass(frozen=True, slots=True)
class SchedulerProcess:
    """A running scheduler; its port answers as soon as it is up."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def leads(self) -> bool:
        """Tell whether it says that it leads; no answer is no."""
        try:
            return bool(httpx.get(f"{self.url}/healthz", timeout=0.5).json()["leader"])
        except httpx.HTTPError:
            return False

    def is_stopped(self) -> bool:
        """Tell whether SIGSTOP holds it."""
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)


@contextmanager
def a_scheduler(
    database_url: str, folder: Path, name: str = "one", *, port: int = 0, stop_at: str = ""
) -> Iterator[SchedulerProcess]:
    """Start a scheduler and kill what is left of it at the end."""
    key, log, port = folder / "certificate.key", folder / f"{name}.log", port or _free_port()
    if not key.exists():
        create_files(key)
        (folder / "sealing-key").write_text(new_secret("test"))
    environment = {
        "NORDAN_DATABASE_URL": database_url.replace("postgresql+psycopg://", "postgresql://", 1),
        "NORDAN_CERTIFICATE_KEY_FILE": str(key),
        "NORDAN_SEALING_KEY_FILE": str(folder / "sealing-key"),
        "NORDAN_SCHEDULER_PORT": str(port),
        "NORDAN_STOP_AT": stop_at,
    }
    with log.open("wb") as sink:
        process = subprocess.Popen([sys.executable, "-m", "nordan_scheduler"], env=environment, stderr=sink)
        try:
            yield SchedulerProcess(process, f"http://127.0.0.1:{port}", log)
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


def wait_until(holds: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait until something holds; fails the test when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
