"""Supervisors of a running stack that die by their own hand at a chosen point, in place of those that `up` keeps.

While `up` is stopped it starts nothing again, so a supervisor with the fault in its environment can have the region;
after its death `up` goes on and starts one as usual.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from nordan_core.embedded.proc import ProcessId
from support.chaos_stack import ChaosStack, until
from support.running import like_it

_SUPERVISOR_UMASK = 0o007


@contextmanager
def faulty_supervisors(stack: ChaosStack, points: Mapping[str, str]) -> Iterator[None]:
    """Give regions supervisors that crash at the point named for them; returns when all have, and have successors."""
    up = ProcessId.of(stack.up.pid)
    assert up is not None
    before = {code: stack.process(f"supervisor-{code}") for code in points}
    faulty = {}
    with stack.stopped(up):
        try:
            for code, point in points.items():
                faulty[code] = _replace(stack, code, before[code], point)
            yield
            for code, process in faulty.items():
                _wait_crash(process, f"the supervisor of {code} to crash at {points[code]}")
        finally:
            for process in faulty.values():
                process.kill()
                process.wait()
    for code, dead in before.items():
        stack.wait_replaced(f"supervisor-{code}", dead)


def _wait_crash(process: subprocess.Popen[bytes], what: str) -> None:
    until(lambda: process.poll() is not None, what)
    assert process.returncode == -signal.SIGKILL, f"it ended with {process.returncode}"


def _replace(stack: ChaosStack, code: str, process: ProcessId, point: str) -> subprocess.Popen[bytes]:
    """Kill a supervisor and start one like it, but with a fault."""
    command, environment = like_it(process)
    stack.kill(f"supervisor-{code}")
    with (stack.home / f"faulty-{code}.log").open("ab") as log:
        return subprocess.Popen(
            command,
            env={**environment, "NORDAN_CRASH_AT": point},
            cwd=stack.region(code),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=_SUPERVISOR_UMASK,
        )
