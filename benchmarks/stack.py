"""A fresh stack for one benchmark: `nordan up` in a temporary folder, on any free ports, gone at the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_S = 120.0


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack."""

    url: str
    key: str
    project: str
    data_dir: Path
    pid: int


@contextmanager
def fresh_stack(*options: str) -> Iterator[Stack]:
    """Start a stack, yield it, and stop it with its jobs."""
    folder = Path(tempfile.mkdtemp(prefix="nordan-bench-", dir="/tmp"))
    # Started as root, the services run under other users, who must be able to pass through to the data folder.
    folder.chmod(0o711)
    config = folder / "config.json"
    environment = {**os.environ, "NORDAN_CONFIG": str(config)}
    command = [sys.executable, "-m", "nordan_core.embedded.up_command", "up"]
    if shutil.which("nordan", path=str(Path(sys.executable).parent)):
        command = [str(Path(sys.executable).parent / "nordan"), "up"]
    data = folder / "data"
    with (folder / "up.log").open("wb") as log:
        up = subprocess.Popen(
            [*command, "--data-dir", str(data), "--port", "0", "--stop-jobs", *options],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _wait(up, config, data, folder / "up.log")
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(up: subprocess.Popen[bytes], config: Path, data: Path, log: Path) -> Stack:
    deadline = time.monotonic() + START_S
    while not config.exists():
        if up.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the stack did not start:\n{log.read_text()}")
        time.sleep(0.1)
    known = json.loads(config.read_text())
    return Stack(known["url"], known["key"], known["project"], data, up.pid)
