"""GPUs as a driver tells them; the driver is not ours, so here it is made up."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from nordan_workers.gpus import Gpus, RealGpu, discover, watt_hours


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


@pytest.mark.parametrize(
    ("model", "memory_mib", "expected"),
    [
        ("L4", 23_034, ("GPU-b", "GPU-d")),
        ("H100", 81_559, ("GPU-a", "GPU-e")),
        ("h100", 81_920, ("GPU-a", "GPU-c")),
        ("H100", 96_000, ("GPU-c",)),
    ],
    ids=["L4", "the smaller H100", "a rounded memory takes any H100", "the larger H100"],
)
def test_a_pool_counts_the_gpus_of_its_own_model_from_0(
    model: str, memory_mib: int, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, None)
    gpus = Gpus()
    gpus.found = (
        RealGpu(0, "GPU-a", "NVIDIA H100 80GB HBM3", 81_559),
        RealGpu(1, "GPU-b", "NVIDIA L4", 23_034),
        RealGpu(2, "GPU-c", "NVIDIA H100 NVL", 96_000),
        RealGpu(3, "GPU-d", "NVIDIA L4", 23_034),
        RealGpu(4, "GPU-e", "NVIDIA H100 80GB HBM3", 81_559),
    )
    assert gpus.uuids(range(len(expected)), model, memory_mib) == expected
    with pytest.raises(LookupError):
        gpus.uuids([len(gpus.found)], model, memory_mib)


def test_a_machine_of_one_kind_does_not_mind_what_its_pool_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeDriver(2))
    assert Gpus().uuids([1], "mine", 80_000) == ("GPU-1",)


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
