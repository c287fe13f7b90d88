"""Enter a job of a running stack: as any client may, and as a person with `nordan exec` at a terminal does."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from websockets.sync.client import connect

from support.tenants import Tenant


def enter(
    tenant: Tenant, job: str, command: Sequence[str], typed: bytes = b"", term: str = "xterm"
) -> tuple[dict[str, int], bytes]:
    """Run a command in a job with some input; return how it ended and what it wrote."""
    access = tenant.ask("POST", f"/jobs/{job}:exec", json={}, expect=200).json()
    headers = {"Authorization": f"Bearer {access['token']}"}
    out = b""
    with connect(access["url"].replace("http", "ws", 1), additional_headers=headers, proxy=None) as line:
        line.send(json.dumps({"command": list(command), "term": term}))
        for piece in (b"\0" + typed, b"\0"):
            line.send(piece)
        while True:
            message = line.recv(timeout=30)
            assert isinstance(message, bytes)
            if message[0] == 3:
                return json.loads(message[1:]), out
            out += message[1:]


def nordan_exec(tenant: Tenant, job: str, *words: str, typed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run `nordan exec` on a job with some input."""
    return subprocess.run(
        _words(job, *words), env=_environment(tenant), input=typed, capture_output=True, timeout=60, check=False
    )


@dataclass
class Screen:
    """A terminal with `nordan exec` at it."""

    process: subprocess.Popen[bytes]
    descriptor: int
    shown: bytes = b""

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.descriptor, text.encode())

    def until(self, text: str) -> None:
        """Wait until the screen shows something."""
        give_up_s = time.monotonic() + 30
        while text.encode() not in self.shown:
            assert time.monotonic() < give_up_s, self.shown
            self._read()

    def ends(self) -> int:
        """Wait until the command line has ended; return its code."""
        give_up_s = time.monotonic() + 30
        while self.process.poll() is None:
            assert time.monotonic() < give_up_s, self.shown
            self._read()
        self._read()
        return self.process.returncode

    def _read(self) -> None:
        if select.select([self.descriptor], [], [], 0.1)[0]:
            try:
                self.shown += os.read(self.descriptor, 4096)
            except OSError:  # nobody is at the other side any more
                time.sleep(0.05)


@contextmanager
def screen(tenant: Tenant, job: str, *words: str) -> Iterator[Screen]:
    """Run `nordan exec` at a terminal of its own."""
    mine, theirs = pty.openpty()
    process = subprocess.Popen(
        _words(job, *words),
        env=_environment(tenant),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Screen(process, mine)
    finally:
        process.kill()
        process.wait()
        os.close(mine)


def _words(job: str, *words: str) -> list[str]:
    return [sys.executable, "-m", "nordan_cli", "exec", job, *words]


def _environment(tenant: Tenant) -> dict[str, str]:
    known = {"NORDAN_URL": str(tenant.http.base_url), "NORDAN_KEY": tenant.key, "NORDAN_PROJECT": tenant.project}
    return {**known, "PATH": os.environ["PATH"], "TERM": "xterm", "NORDAN_CONFIG": "/nonexistent/config.json"}
