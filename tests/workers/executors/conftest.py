"""A region's folder, and executors on it that leave nothing running."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nordan_core.clock import SystemClock
from nordan_workers.executors import local
from nordan_workers.executors.local import LocalExecutor
from nordan_workers.gpus import Gpus
from support.attempts import own_uids, region_folder

UIDS = own_uids(0, 99)
MakeExecutor = Callable[[], LocalExecutor]


@pytest.fixture
def region_dir() -> Iterator[Path]:
    with region_folder() as folder:
        yield folder


@pytest.fixture(params=["own users", "one user"])
def make_executor(
    request: pytest.FixtureRequest, region_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeExecutor]:
    """Make executors on the same region, one after another as if the supervisor had been restarted."""
    has_own_users = request.param == "own users"
    if has_own_users and os.geteuid() != 0:
        pytest.skip("needs uid 0: only root can give attempts users of their own")
    if not has_own_users:
        # Run by root, these tests would be refused; what is tested is the code that knows one user only.
        monkeypatch.setattr(local, "_check_users", lambda _region_dir, _uid_range: None)
    gpus = Gpus()
    made: list[LocalExecutor] = []

    def make() -> LocalExecutor:
        span = UIDS if has_own_users else None
        made.append(LocalExecutor(region_dir, SystemClock(), uid_range=span, gpus=gpus))
        return made[-1]

    yield make
    last = make()
    for attempt_id in last.adopt():
        last.forget(attempt_id)
    for one in made:
        one.close()


@pytest.fixture
def executor(make_executor: MakeExecutor) -> LocalExecutor:
    return make_executor()
