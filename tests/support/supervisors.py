"""Run the real supervisor as a process of its own on a region's folder, against a fake worker API."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nordan_core.clock import SystemClock
from nordan_core.domain.reasons import Reason
from nordan_core.wire import LaunchOrder
from nordan_workers.executors.local import LocalExecutor
from nordan_workers.gpus import Gpus
from nordan_workers.handover import SUPERVISOR_SOCKET, hand_over
from support.attempts import own_uids, region_folder, until
from support.fake_worker_api import FakeWorkerApi, worker_api

UIDS = own_uids(600, 699)


class RegionUnderTest:
    """A region's folder, its control plane, and its supervisor of the moment."""

    def __init__(self, folder: Path, api: FakeWorkerApi) -> None:
        self.folder = folder
        self.api = api
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "supervisor.log"
        api.join_file(folder / "join.json")

    def start(self, crash_at: str = "") -> None:
        """Start the supervisor and wait until it listens, or has crashed."""
        environment = {
            "PATH": os.environ["PATH"],
            "NORDAN_REGION_DIR": str(self.folder),
            "NORDAN_JOIN_FILE": str(self.folder / "join.json"),
            "NORDAN_JOB_PATH": str(Path(sys.executable).parent),
            "NORDAN_CRASH_AT": crash_at,
            "NORDAN_UID_RANGE": f"{UIDS.first}-{UIDS.last}" if os.geteuid() == 0 else "",
        }
        ready = self._ready_lines()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "nordan_workers.supervisor"], env=environment, stdout=log, stderr=log
            )
        process = self.process
        until(lambda: self._ready_lines() > ready or process.poll() is not None, "the supervisor is ready")

    def kill(self) -> None:
        """Kill the supervisor without a word."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop the supervisor as `up` does."""
        self._end(signal.SIGTERM)

    def wait_crash(self) -> None:
        """Wait until the supervisor has died by its own hand."""
        process = self.process
        assert process is not None
        until(lambda: process.poll() is not None, "the supervisor crashes")
        assert process.returncode == -signal.SIGKILL, self.log.read_text()

    def nudge(self, grant_id: str) -> bool:
        """Do what the Celery task does."""
        return hand_over([grant_id], self.folder / "run" / SUPERVISOR_SOCKET)

    def submit(self, order: LaunchOrder) -> LaunchOrder:
        """Make a grant for an order and nudge the supervisor."""
        self.nudge(self.api.grant(order))
        return order

    def ends(self, order: LaunchOrder, limit_s: float = 15.0) -> None:
        """Wait until the control plane knows the end."""
        until(lambda: self.api.final(order) is not None, "the attempt's end is told", limit_s)

    def is_forgotten(self, order: LaunchOrder) -> bool:
        """Tell whether nothing is left of an attempt but its logs."""
        is_removed = not any((self.folder / part / order.attempt_id).exists() for part in ("work", "attempts"))
        return is_removed and not self.record_files()

    def record_files(self) -> list[Path]:
        """Return the files of the supervisor's records of grants."""
        return list((self.folder / "records").glob("grt_*"))

    def settle(self) -> None:
        """End every attempt and every mood, for the next test."""
        self.api.be_plain()
        for grant in list(self.api.grants.values()):
            if grant.final is None:
                self.api.stop(grant.order, Reason.FENCED)
        until(lambda: not self.record_files(), "every attempt is settled")
        self.api.forget()

    def close(self) -> None:
        """Leave nothing running."""
        if self.process is not None and self.process.poll() is None:
            self.stop()
        if not (self.folder / "attempts").exists():
            return
        uid_range = UIDS if os.geteuid() == 0 else None
        executor = LocalExecutor(self.folder, SystemClock(), uid_range=uid_range, gpus=Gpus())
        for attempt_id in executor.adopt():
            executor.forget(attempt_id)
        executor.close()

    def _end(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(15)

    def _ready_lines(self) -> int:
        return self.log.read_text().count("supervisor_ready") if self.log.exists() else 0


@contextmanager
def region_under_test() -> Iterator[RegionUnderTest]:
    """Make a region with a fake control plane; the supervisor is not started yet."""
    with region_folder() as folder, worker_api() as api:
        (folder / "run").mkdir()
        region = RegionUnderTest(folder, api)
        try:
            yield region
        finally:
            region.close()


def open_python() -> str:
    """Return an interpreter that other users may run."""
    found = shutil.which("python3", path="/usr/bin:/usr/local/bin") if os.geteuid() == 0 else sys.executable
    if found is None:
        pytest.skip("no interpreter outside a closed home folder")
    return found
