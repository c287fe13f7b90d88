"""On a machine with a GPU: what the driver says, and a job that sees its GPU and no other."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nordan_core.clock import SystemClock
from nordan_core.wire import LaunchOrder
from nordan_workers.executors import local
from nordan_workers.executors.local import LocalExecutor
from nordan_workers.gpus import Gpus
from support.attempts import launch_order, own_uids, region_folder, until
from workers.executors.contract import ended, started

GPUS = Gpus()
pytestmark = pytest.mark.skipif(not GPUS.found, reason="needs a GPU: NVML finds none on this machine")


@pytest.fixture
def region_dir() -> Iterator[Path]:
    with region_folder() as folder:
        yield folder


@pytest.fixture
def executor(region_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalExecutor]:
    span = own_uids(500, 509) if os.geteuid() == 0 else None
    monkeypatch.setattr(local, "DEADLINE_GRACE_S", 0.5)
    made = LocalExecutor(region_dir, SystemClock(), uid_range=span)
    yield made
    for attempt_id in made.adopt():
        made.forget(attempt_id)
    made.close()


def printed(executor: LocalExecutor, region_dir: Path, order: LaunchOrder) -> str:
    status = ended(executor, started(executor, order))
    text = (region_dir / "logs" / order.attempt_id / "rank-0.log").read_text()
    assert not status.has_failed, text
    return text


def test_the_driver_names_model_memory_and_uuid() -> None:
    for gpu in GPUS.found:
        assert gpu.uuid.startswith("GPU-")
        assert gpu.model
        assert gpu.memory_mib > 1024


def test_the_energy_counter_rises() -> None:
    uuids = [gpu.uuid for gpu in GPUS.found]
    before = GPUS.energy_mj(uuids)
    if before is None:
        pytest.skip("these GPUs do not count their energy")
    # An idle one uses tens of watts, so this takes a fraction of a second.
    until(lambda: (GPUS.energy_mj(uuids) or 0) > before, "the counter has risen", 5.0)


@pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="needs nvidia-smi")
def test_a_job_can_reach_its_gpu_as_its_own_user(executor: LocalExecutor, region_dir: Path) -> None:
    order = launch_order(["sh", "-c", "nvidia-smi -L; echo $CUDA_VISIBLE_DEVICES"], has_made_up_gpus=False)
    text = printed(executor, region_dir, order)
    assert text.splitlines()[-1] == GPUS.found[0].uuid
    assert GPUS.found[0].uuid in text.splitlines()[0]


def test_an_attempt_on_a_real_gpu_reports_energy(executor: LocalExecutor) -> None:
    attempt_id = started(executor, launch_order(["sleep", "1"], has_made_up_gpus=False))
    energy_wh = ended(executor, attempt_id).energy_wh
    if GPUS.energy_mj([GPUS.found[0].uuid]) is None:
        assert energy_wh is None
    else:
        assert energy_wh is not None
        assert energy_wh > 0.0
