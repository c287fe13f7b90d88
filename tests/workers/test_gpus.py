"""GPUs as a driver tells them; the driver is not ours, so here it is made up."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from nordan_workers.gpus import Gpus, PoolGpus, RealGpu, discover, watt_hours


class _Error(Exception):
    pass


class FakeDriver(ModuleType):
    """As much of pynvml as is used."""

    NVMLError = _Error

    def __init__(self, count: int, *, counts_energy: bool = True) -> None:
        super().__init__("pynvml")
        self.count = count
        self.counts_energy = counts_energy
        self.energy_mj = {f"GPU-{index}": 1000 * (index + 1) for index in range(count)}

    def nvmlInit(self) -> None:  # noqa: N802  the driver's own name
        if self.count < 0:
            raise _Error

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        return f"GPU-{index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        return uuid

    def nvmlDeviceGetUUID(self, handle: str) -> str:  # noqa: N802
        return handle

    def nvmlDeviceGetName(self, handle: str) -> str:  # noqa: N802
        return "NVIDIA H100 80GB HBM3"

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(total=80 << 30)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        if not self.counts_energy:
            raise _Error
        return self.energy_mj[handle]


def install(monkeypatch: pytest.MonkeyPatch, driver: FakeDriver | None) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", driver)


def test_gpus_are_found_in_order_of_index(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeDriver(2))
    assert discover() == tuple(RealGpu(index, f"GPU-{index}", "NVIDIA H100 80GB HBM3", 81_920) for index in range(2))


@pytest.mark.parametrize("driver", [None, FakeDriver(-1), FakeDriver(0)], ids=["no library", "no driver", "no GPU"])
def test_a_machine_without_gpus_has_none(monkeypatch: pytest.MonkeyPatch, driver: FakeDriver | None) -> None:
    install(monkeypatch, driver)
    gpus = Gpus()
    assert gpus.found == ()
    with pytest.raises(LookupError):
        gpus.uuids([0])


def test_indices_become_uuids_in_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeDriver(3))
    assert Gpus().uuids([2, 0]) == ("GPU-2", "GPU-0")


H100_80 = "NVIDIA H100 80GB HBM3", 81_559
H100_94 = "NVIDIA H100 NVL", 95_830
L4 = "NVIDIA L4", 23_034


def machine(monkeypatch: pytest.MonkeyPatch, *kinds: tuple[str, int]) -> Gpus:
    """Return a machine with one GPU of each kind, GPU-0 first."""
    install(monkeypatch, None)
    gpus = Gpus()
    gpus.found = tuple(RealGpu(index, f"GPU-{index}", *kind) for index, kind in enumerate(kinds))
    return gpus


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        (PoolGpus("L4", 23_034), (1, 3)),
        (PoolGpus("H100", 81_559), (0, 4)),
        (PoolGpus("h100", 80_000), (0, 4)),
        (PoolGpus("H100", 94_000, rival_memories_mib=(80_000,)), (2,)),
        (PoolGpus("H100", 80_000, rival_memories_mib=(94_000,)), (0, 4)),
        (PoolGpus("H100", 94_000, is_alone=True), (2,)),
        (PoolGpus("mine", 80_000), ()),
        (PoolGpus("mine", 80_000, is_alone=True), ()),
    ],
)
def test_a_pool_counts_the_gpus_of_its_own_model_and_nearest_memory_from_0(
    pool: PoolGpus, expected: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = machine(monkeypatch, H100_80, L4, H100_94, L4, H100_80)
    assert gpus.uuids(range(len(expected)), pool) == tuple(f"GPU-{index}" for index in expected)
    with pytest.raises(LookupError):
        gpus.uuids([len(expected)], pool)


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        (PoolGpus("L4", 23_034), "of model L4 and nearest to 23034 MiB this machine has 0 GPUs, and 1 are needed"),
        (PoolGpus("H100", 94_000, rival_memories_mib=(80_000,)), "it has 2 H100 of 81559 MiB"),
        (PoolGpus("H100", 80_000, rival_memories_mib=(80_000, 94_000)), "which another pool says too"),
    ],
    ids=["another model", "another size", "a twin"],
)
def test_a_pool_whose_gpus_were_taken_out_gets_none_of_another_pool(
    pool: PoolGpus, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that had more kinds, and whose pools are registered still."""
    with pytest.raises(LookupError, match=words):
        machine(monkeypatch, H100_80, H100_80).uuids([0], pool)


def test_a_regions_only_pool_may_call_gpus_of_one_kind_what_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = machine(monkeypatch, H100_80, H100_80)
    assert gpus.uuids([1], PoolGpus("mine", 80_000, is_alone=True)) == ("GPU-1",)
    with pytest.raises(LookupError):
        gpus.uuids([1], PoolGpus("mine", 80_000))


def test_energy_is_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeDriver(3))
    assert Gpus().energy_mj(["GPU-0", "GPU-2"]) == 4000


def test_energy_that_is_not_counted_is_not_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeDriver(1, counts_energy=False))
    assert Gpus().energy_mj(["GPU-0"]) is None


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [(0, 3_600_000, 1.0), (100, 100, 0.0), (None, 5, None), (5, None, None), (10, 5, None)],
)
def test_energy_between_two_readings(before: int | None, after: int | None, expected: float | None) -> None:
    assert watt_hours(before, after) == expected
