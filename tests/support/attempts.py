"""Builders for what an executor is given, a region's folder that jobs may enter, and waiting without guessing."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from nordan_core.domain.jobs import JobKind
from nordan_core.identifiers import new_id
from nordan_core.wire import LaunchOrder, RankOrder
from nordan_workers.executors.uids import UidRange

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0: only root can give attempts users of their own")


def own_uids(first: int, last: int) -> UidRange:
    """Return numbers of this test process alone: all that an attempt's user runs ends with the attempt.

    Two test processes on one machine that shared numbers would end each other's attempts.
    """
    base = 1_000_000 + os.getpid() % 10_000 * 1_000
    return UidRange(base + first, base + last)


@contextmanager
def region_folder() -> Iterator[Path]:
    """Make a region's folder that other users may pass, which pytest's own folders do not allow, and delete it."""
    folder = Path(tempfile.mkdtemp(prefix="nordan-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def launch_order(
    command: Sequence[str] = ("true",),
    *,
    ranks: int = 1,
    gpus_per_rank: int = 1,
    env: Mapping[str, str] | None = None,
    kind: JobKind = JobKind.BATCH,
    port: int | None = None,
    has_made_up_gpus: bool = True,
) -> LaunchOrder:
    """Build an order for an attempt that nobody has seen yet."""
    return LaunchOrder(
        attempt_id=new_id("att"),
        job_id=new_id("job"),
        grant_id=new_id("grt"),
        number=1,
        fence=7,
        kind=kind,
        organisation_handle="handle",
        pool="pool",
        has_made_up_gpus=has_made_up_gpus,
        command=tuple(command),
        env=dict(env or {}),
        ranks=tuple(
            RankOrder(
                rank=rank,
                node=f"node-{rank}",
                gpu_indices=tuple(range(rank * gpus_per_rank, (rank + 1) * gpus_per_rank)),
            )
            for rank in range(ranks)
        ),
        gpus_per_rank=gpus_per_rank,
        cpus=1,
        memory_mib=256,
        ttl_s=30.0,
        port=port,
    )


#: A limit says what a machine needs that does nothing else; this one runs other tests, too.
PATIENCE = 3.0


def until(condition: Callable[[], bool], what: str, limit_s: float = 15.0) -> None:
    """Return as soon as the condition holds; fail with `what` when it does not in several times the limit."""
    give_up_s = time.monotonic() + PATIENCE * limit_s
    while not condition():
        if time.monotonic() > give_up_s:
            pytest.fail(f"not within {PATIENCE * limit_s:g} s: {what}")
        time.sleep(0.005)
