"""The supervisor in this process with an executor in memory: what no real machine does on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nordan_core.clock import SystemClock
from nordan_core.domain.ids import AttemptId
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptResult
from nordan_core.wire import LaunchOrder
from nordan_workers.api_client import WorkerApi
from nordan_workers.faults import NO_FAULTS
from nordan_workers.handover import SUPERVISOR_SOCKET, hand_over
from nordan_workers.joining import read_join_file
from nordan_workers.pulse import Pulse
from nordan_workers.store.region_store import RegionStore
from nordan_workers.supervisor import loop
from nordan_workers.supervisor.loop import Region, Supervisor
from nordan_workers.supervisor.records import Record, Records
from support.attempts import launch_order
from support.fake_executor import FakeExecutor
from support.fake_worker_api import FakeWorkerApi, worker_api


@pytest.fixture
def api() -> Iterator[FakeWorkerApi]:
    with worker_api() as api:
        yield api


@pytest.fixture
def executor(tmp_path: Path) -> FakeExecutor:
    return FakeExecutor(tmp_path, SystemClock())


@asynccontextmanager
async def supervising(folder: Path, api: FakeWorkerApi, executor: FakeExecutor) -> AsyncIterator[None]:
    (folder / "run").mkdir(exist_ok=True)
    (folder / "logs").mkdir(exist_ok=True)
    joined = read_join_file(api.join_file(folder / "join.json"))
    region = Region(
        region_dir=folder,
        joined=joined,
        executor=executor,
        store=RegionStore(folder / "store"),
        records=Records(folder / "records"),
        api=WorkerApi(joined),
        clock=SystemClock(),
        faults=NO_FAULTS,
        boot_id="this boot",
        pulse=Pulse(folder / "supervisor.alive"),
    )
    supervisor = Supervisor(region)
    running = asyncio.create_task(supervisor.run())
    await until((folder / "run" / SUPERVISOR_SOCKET).exists)
    try:
        yield
    finally:
        supervisor.stop()
        await running


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def ending(folder: Path, api: FakeWorkerApi, order: LaunchOrder) -> tuple[AttemptResult | None, Reason | None]:
    hand_over([api.grant(order)], folder / "run" / SUPERVISOR_SOCKET)
    await until(lambda: api.final(order) is not None)
    final = api.final(order)
    assert final is not None
    return final.result, final.reason


def test_an_executor_for_one_organisation_refuses_a_second_also_after_a_restart(
    tmp_path: Path, api: FakeWorkerApi, executor: FakeExecutor
) -> None:
    executor.tenancy = ("single",)
    other = {"organisation_handle": "another"}

    async def story() -> None:
        async with supervising(tmp_path, api, executor):
            assert await ending(tmp_path, api, launch_order()) == (AttemptResult.SUCCEEDED, None)
        async with supervising(tmp_path, api, executor):
            second = launch_order().model_copy(update=other)
            assert await ending(tmp_path, api, second) == (AttemptResult.FAILED, Reason.REJECTED_BY_POLICY)
            assert await ending(tmp_path, api, launch_order()) == (AttemptResult.SUCCEEDED, None)

    asyncio.run(story())
    assert len(executor.launches) == 2


def test_a_machine_that_cannot_launch_says_so(tmp_path: Path, api: FakeWorkerApi, executor: FakeExecutor) -> None:
    executor.refuses = True

    async def story() -> None:
        async with supervising(tmp_path, api, executor):
            result = await ending(tmp_path, api, launch_order())
            assert result == (AttemptResult.FAILED, Reason.NODE_CAPACITY_TAKEN)

    asyncio.run(story())


def test_an_attempt_whose_record_is_gone_is_removed_at_the_start(
    tmp_path: Path, api: FakeWorkerApi, executor: FakeExecutor
) -> None:
    order = launch_order()
    executor.prepare(order)

    async def story() -> None:
        async with supervising(tmp_path, api, executor):
            assert AttemptId(order.attempt_id) not in executor.adopt()

    asyncio.run(story())


def test_a_full_disk_delays_an_end_and_loses_nothing(
    tmp_path: Path, api: FakeWorkerApi, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([True, True])
    save = Records.save

    def full_at_the_end(self: Records, record: Record) -> None:
        if record.final and next(failures, False):
            raise OSError(28, "No space left on device")
        save(self, record)

    monkeypatch.setattr(Records, "save", full_at_the_end)

    async def story() -> None:
        async with supervising(tmp_path, api, executor):
            assert await ending(tmp_path, api, launch_order()) == (AttemptResult.SUCCEEDED, None)

    asyncio.run(story())
    assert next(failures, None) is None


def test_a_torn_record_is_dropped(tmp_path: Path) -> None:
    records = Records(tmp_path / "records")
    (tmp_path / "records" / "grt_torn.json").write_text("")
    assert records.load() == ()
    assert not (tmp_path / "records" / "grt_torn.json").exists()


def test_numbers_of_reports_rise_with_every_start(tmp_path: Path) -> None:
    folder = tmp_path / "records"
    first, second = Records(folder).next_sequence(), Records(folder).next_sequence()
    assert second - first == 1 << 16


def test_it_shows_a_pulse_for_as_long_as_it_speaks_with_the_control_plane(
    tmp_path: Path, api: FakeWorkerApi, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "INTERVAL_S", 0.05)
    pulse = tmp_path / "supervisor.alive"

    async def story() -> None:
        async with supervising(tmp_path, api, executor):
            await until(pulse.exists)
            # Rounds that fail are rounds; one that never comes shows a supervisor that hangs.
            monkeypatch.setattr(loop, "LONGEST_ROUND_S", 0.0)
            await asyncio.sleep(0.2)
            pulse.unlink()
            await asyncio.sleep(0.3)
            assert not pulse.exists()

    asyncio.run(story())
