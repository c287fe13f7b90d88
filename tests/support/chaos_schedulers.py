"""A scheduler of a running stack that leads and stops by itself at a chosen point, in place of one that `up` keeps.

While `up` is stopped it starts nothing again, so a scheduler with the fault in its environment can have the place of
one; at the end it is killed, `up` goes on, and starts one as usual.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nordan_core.embedded.proc import ProcessId
from support.chaos_stack import ChaosStack, until
from support.running import like_it


@contextmanager
def self_stopping_leader(stack: ChaosStack, point: str) -> Iterator[ProcessId]:
    """Yield a scheduler that leads and will stop at a point; the other of the stack stands by."""
    up = ProcessId.of(stack.up.pid)
    assert up is not None
    name, process = stack.leader()
    other = next(one for one in stack.names() if one.startswith("scheduler-") and one != name)
    with stack.stopped(up):
        with stack.stopped(stack.process(other)):
            # The other cannot lead meanwhile, so the new one will once the lease has run out.
            faulty = _replace(stack, name, process, point)
            until(lambda: _leads(stack, faulty.pid), "the new scheduler to lead")
        found = ProcessId.of(faulty.pid)
        assert found is not None
        try:
            yield found
        finally:
            faulty.kill()
            faulty.wait()
    stack.wait_replaced(name, process)


def wait_stopped(process: ProcessId) -> None:
    """Wait until a process has stopped itself."""
    stat = Path(f"/proc/{process.pid}/stat")
    until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "the scheduler to stop before its commit")


def wait_cut_off(stack: ChaosStack) -> None:
    """Wait until the one with the fault has learned that its transaction was ended: it had one."""
    until(lambda: any(map(_was_cut_off, stack.home.glob("faulty-scheduler-*.log"))), "its commit to fail")


def _was_cut_off(log: Path) -> bool:
    return any("database_away" in line and "cycle" in line for line in log.read_text().splitlines())


def _replace(stack: ChaosStack, name: str, process: ProcessId, point: str) -> subprocess.Popen[bytes]:
    command, environment = like_it(process)
    proc = Path(f"/proc/{process.pid}")
    owner, folder = proc.stat(), (proc / "cwd").readlink()
    stack.kill(name)
    with (stack.home / f"faulty-{name}.log").open("ab") as log:
        return subprocess.Popen(
            command,
            env={**environment, "NORDAN_STOP_AT": point},
            cwd=folder,
            user=owner.st_uid,
            group=owner.st_gid,
            extra_groups=[] if owner.st_uid != os.getuid() else None,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _leads(stack: ChaosStack, pid: int) -> bool:
    holders = stack.rows("select holder from leader where until > clock_timestamp()")
    return any(int(holder.split(":")[1]) == pid for (holder,) in holders)
