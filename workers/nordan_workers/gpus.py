"""This machine's GPUs as their driver tells them: which there are, and how much energy they have used.

Used by the local executor. A machine without driver or library has no GPUs and is not an error; pools on it may still
offer made-up ones, which nobody asks here.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType

from nordan_core.embedded.gpus import model_name

_MIB = 1 << 20
_MJ_PER_WH = 3_600_000


@dataclass(frozen=True, slots=True)
class RealGpu:
    """One GPU of this machine."""

    index: int
    """As the driver counts, and as placements name it."""
    uuid: str
    """What CUDA_VISIBLE_DEVICES takes; stays the same when the driver counts anew."""
    model: str
    memory_mib: int


class Gpus:
    """The GPUs that the driver showed when this was made."""

    def __init__(self) -> None:
        self._nvml = _open_nvml()
        self.found: tuple[RealGpu, ...] = _describe_all(self._nvml) if self._nvml is not None else ()
        """In order of index."""

    def uuids(self, indices: Iterable[int], model: str = "", memory_mib: int = 0) -> tuple[str, ...]:
        """Return the ids of these GPUs of a pool, which counts those of its own model and memory from 0.

        Raises:
            LookupError: the machine does not have so many of them.
        """
        uuids = dict(enumerate(gpu.uuid for gpu in self._of_kind(model, memory_mib)))
        return tuple(uuids[index] for index in indices)

    def energy_mj(self, uuids: Iterable[str]) -> int | None:
        """Return the millijoules that these GPUs have used since their driver was loaded, summed.

        None where one of them does not count its energy (before Volta), or cannot be asked now.
        """
        if self._nvml is None:
            return None
        total = 0
        try:
            for uuid in uuids:
                total += int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._nvml.nvmlDeviceGetHandleByUUID(uuid)))
        except self._nvml.NVMLError:
            return None
        return total

    def _of_kind(self, model: str, memory_mib: int) -> tuple[RealGpu, ...]:
        if not model or len({(gpu.model, gpu.memory_mib) for gpu in self.found}) == 1:
            # One kind, whatever the pool's author calls it.
            return self.found
        named = tuple(gpu for gpu in self.found if model_name(gpu.model).lower() == model.lower())
        # A pool that was described by hand may round its memory.
        return tuple(gpu for gpu in named if gpu.memory_mib == memory_mib) or named


def discover() -> tuple[RealGpu, ...]:
    """Return this machine's GPUs in order of index; empty where NVML finds none."""
    return Gpus().found


def watt_hours(before_mj: int | None, after_mj: int | None) -> float | None:
    """Return the energy between two readings; None where one is missing or the counter began anew."""
    if before_mj is None or after_mj is None or after_mj < before_mj:
        return None
    return (after_mj - before_mj) / _MJ_PER_WH


def _open_nvml() -> ModuleType | None:
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    return nvml


def _describe_all(nvml: ModuleType) -> tuple[RealGpu, ...]:
    try:
        return tuple(_describe(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
    except nvml.NVMLError:
        return ()


def _describe(nvml: ModuleType, index: int) -> RealGpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    return RealGpu(
        index=index,
        uuid=str(nvml.nvmlDeviceGetUUID(handle)),
        model=str(nvml.nvmlDeviceGetName(handle)),
        memory_mib=int(nvml.nvmlDeviceGetMemoryInfo(handle).total) // _MIB,
    )
