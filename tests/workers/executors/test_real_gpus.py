"""Attempts on a pool of real GPUs, with a driver made up for the test."""

from __future__ import annotations

from pathlib import Path

import pytest

from nordan_core.clock import SystemClock
from nordan_core.identifiers import new_id
from nordan_workers.executors.base import LaunchFailed
from nordan_workers.executors.local import LocalExecutor
from nordan_workers.gpus import Gpus, RealGpu
from support.attempts import launch_order
from workers.executors.conftest import MakeExecutor
from workers.executors.contract import ended, running, started


class CountingGpus(Gpus):
    """Four GPUs that have used 3.6 kJ more at each reading."""

    def __init__(self) -> None:
        self.found = tuple(RealGpu(index, f"GPU-{index}", "H100", 81_920) for index in range(4))
        self.readings = 0

    def energy_mj(self, uuids: object) -> int | None:
        self.readings += 1
        return self.readings * 3_600_000


@pytest.fixture
def executor(make_executor: MakeExecutor) -> LocalExecutor:
    executor = make_executor()
    executor._gpus = CountingGpus()
    return executor


def test_a_program_sees_its_gpus_by_uuid(executor: LocalExecutor, region_dir: Path) -> None:
    order = launch_order(["sh", "-c", "echo $CUDA_VISIBLE_DEVICES"], ranks=2, gpus_per_rank=2, has_made_up_gpus=False)
    ended(executor, started(executor, order))
    logs = region_dir / "logs" / order.attempt_id
    assert [(logs / f"rank-{rank}.log").read_text() for rank in (0, 1)] == ["GPU-0,GPU-1\n", "GPU-2,GPU-3\n"]


def test_two_pools_of_different_models_never_share_a_gpu(executor: LocalExecutor, region_dir: Path) -> None:
    executor._gpus.found = (RealGpu(0, "GPU-0", "H100", 81_920), RealGpu(1, "GPU-1", "L4", 23_034))
    shown = []
    for model, memory_mib in (("H100", 81_920), ("L4", 23_034)):
        order = launch_order(["sh", "-c", "echo $CUDA_VISIBLE_DEVICES"], has_made_up_gpus=False)
        order = order.model_copy(update={"accelerator": model, "gpu_memory_mib": memory_mib})
        ended(executor, started(executor, order))
        shown.append((region_dir / "logs" / order.attempt_id / "rank-0.log").read_text())
    assert shown == ["GPU-0\n", "GPU-1\n"]


def test_a_pool_whose_model_went_away_does_not_launch_on_another_pools_gpu(executor: LocalExecutor) -> None:
    executor._gpus.found = (RealGpu(0, "GPU-0", "H100", 81_920),)
    lost = launch_order(has_made_up_gpus=False).model_copy(update={"accelerator": "L4", "gpu_memory_mib": 23_034})
    folders = executor.prepare(lost)
    with pytest.raises(LaunchFailed, match=r"of model L4 .*has 0 GPUs.*it has 1 H100 of 81920 MiB"):
        executor.launch(lost, folders, SystemClock().monotonic() + 60)
    ended(executor, started(executor, lost.model_copy(update={"attempt_id": new_id("att"), "is_only_real_pool": True})))


def test_energy_is_counted_from_launch_to_end_and_no_further(executor: LocalExecutor) -> None:
    attempt_id = started(executor, launch_order(["sleep", "0.2"], has_made_up_gpus=False))
    first = running(executor, attempt_id).energy_wh
    last = ended(executor, attempt_id).energy_wh
    assert first is not None
    assert last is not None
    assert 1.0 <= first < last
    assert executor.poll(attempt_id).energy_wh == last


def test_the_energy_of_an_ended_attempt_outlives_the_executor(
    executor: LocalExecutor, make_executor: MakeExecutor
) -> None:
    attempt_id = started(executor, launch_order(["true"], has_made_up_gpus=False))
    last = ended(executor, attempt_id).energy_wh
    second = make_executor()
    second._gpus = CountingGpus()
    assert second.poll(attempt_id).energy_wh == last


def test_made_up_gpus_use_no_energy_that_anyone_measured(executor: LocalExecutor) -> None:
    assert ended(executor, started(executor, launch_order(["true"]))).energy_wh is None
