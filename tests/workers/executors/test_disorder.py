"""Many attempts while shims, parents and executors die at random, by fixed seeds."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from pathlib import Path

import pytest

from nordan_core.domain.ids import AttemptId
from nordan_workers.executors.base import AttemptStatus, RankState
from nordan_workers.executors.local import LocalExecutor
from nordan_workers.shim import linux
from nordan_workers.shim.records import CLAIM, Claim, read
from support.attempts import launch_order, until
from workers.executors.conftest import MakeExecutor
from workers.executors.contract import started

ATTEMPTS = 40
#: Says that it started, leaves something running in another session, and ends soon.
PROGRAM = [
    "sh",
    "-c",
    "echo started >> $NORDAN_OUTPUT_DIR/starts; (setsid sleep 60 &); sleep 0.1; exit 0",
]


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_dies_each_attempt_ends_once_and_leaves_nothing(
    make_executor: MakeExecutor, region_dir: Path, seed: int
) -> None:
    chance = random.Random(seed)
    executor = make_executor()
    orders = [launch_order(PROGRAM, ranks=chance.choice([1, 1, 2])) for _ in range(ATTEMPTS)]
    for order in orders:
        started(executor, order)
        match chance.randrange(8):
            case 0:
                kill_parent(executor)
            case 1:
                kill_a_shim(region_dir, chance)
            case 2:
                executor = make_executor()
                # As a supervisor that died before it noted that the launch had returned.
                started(executor, order)
            case 3:
                executor.stop(AttemptId(chance.choice(orders).attempt_id), 0.0)
    statuses = [all_over(executor, AttemptId(order.attempt_id)) for order in orders]
    for status in statuses:
        assert {rank.state for rank in status.ranks} <= {RankState.EXITED, RankState.LOST}
        for rank in status.ranks:
            starts = region_dir / "work" / status.attempt_id / f"outputs-{rank.rank}" / "starts"
            # Empty: it was killed between the opening and the writing.
            assert not starts.exists() or starts.read_text() in {"", "started\n"}
    until(lambda: left_running(region_dir) == [], "everything's end")


def kill_parent(executor: LocalExecutor) -> None:
    pid = executor._parent._started_pid
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_a_shim(region_dir: Path, chance: random.Random) -> None:
    claims = sorted(region_dir.glob(f"attempts/*/rank-*/{CLAIM}"))
    claim = read(chance.choice(claims), Claim) if claims else None
    shim = linux.process(claim.shim_pid) if claim is not None else None
    if claim is not None and shim is not None and shim.start_time == claim.shim_start_time:
        linux.send(shim, signal.SIGKILL)


def all_over(executor: LocalExecutor, attempt_id: AttemptId) -> AttemptStatus:
    until(lambda: executor.poll(attempt_id).is_over, "the attempt's end", limit_s=40)
    return executor.poll(attempt_id)


def left_running(region_dir: Path) -> list[linux.Process]:
    """Return what was started in this region, by its environment; shims have none of it."""
    mark = os.fsencode(region_dir / "work")
    found = []
    for one in linux.processes():
        with contextlib.suppress(OSError):
            if one.is_alive and mark in linux.read_bytes(f"/proc/{one.pid}/environ"):
                found.append(one)
    return found
