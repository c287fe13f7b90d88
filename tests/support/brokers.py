"""A Valkey of its own for a test, without users, and a Celery worker on it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from nordan_core.embedded.packaged import valkey_server
from support.attempts import until


class Broker:
    """A broker that can be stopped, frozen and emptied."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis(port=self.port, socket_timeout=5)
        self.start()

    def start(self) -> None:
        """Start it, empty."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        self.process = subprocess.Popen([valkey_server(), *options], stdout=subprocess.DEVNULL)
        until(self._answers, "the broker answers")

    def kill(self) -> None:
        """Kill it; what it held is lost."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Let it hold its connections and say nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Leave nothing running."""
        self.client.close()
        self.kill()

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False


@contextmanager
def broker(folder: Path) -> Iterator[Broker]:
    """Run a broker."""
    made = Broker(folder)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def celery_worker(region_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a region's Celery worker, as `up` does; its output goes to `celery.log` in the region's folder."""
    environment = {
        "PATH": os.environ["PATH"],
        "NORDAN_REGION_DIR": str(region_dir),
        "NORDAN_JOIN_FILE": str(region_dir / "join.json"),
        "NORDAN_PULSE_FILE": str(region_dir / "worker.alive"),
        "PYTHONWARNINGS": "ignore",
    }
    with (region_dir / "celery.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "nordan_workers.app"], env=environment, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)
