"""This machine's GPUs as their driver tells them: which there are, and how much energy they have used.

Used by the local executor. A machine without driver or library has no GPUs and is not an error; pools on it may still
offer made-up ones, which nobody asks here.
"""

from __future__ import annotations

import importlib
from collections import Counter
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


@dataclass(frozen=True, slots=True)
class PoolGpus:
    """What a pool of real GPUs says of them, and which others of its region say the like."""

    model: str = ""
    """Empty asks for whatever there is."""
    memory_mib: int = 0
    is_alone: bool = False
    """Whether no other pool of the region has real GPUs."""
    rival_memories_mib: tuple[int, ...] = ()
    """What the region's other real pools of this model say."""

    def is_nearest_to(self, memory_mib: int) -> bool:
        """Tell whether GPUs of this size are this pool's: no other one of its model is as near to it."""
        distance = abs(memory_mib - self.memory_mib)
        return all(distance < abs(memory_mib - rival) for rival in self.rival_memories_mib)


class Gpus:
    """The GPUs that the driver showed when this was made."""

    def __init__(self) -> None:
        self._nvml = _open_nvml()
        self.found: tuple[RealGpu, ...] = _describe_all(self._nvml) if self._nvml is not None else ()
        """In order of index."""

    def uuids(self, indices: Iterable[int], pool: PoolGpus | None = None) -> tuple[str, ...]:
        """Return the ids of these GPUs of a pool, which counts its own from 0; no GPU is in two pools.

        Raises:
            LookupError: the machine does not have so many of them; the message says what it has.
        """
        pool = pool or PoolGpus()
        uuids = [gpu.uuid for gpu in self._of(pool)]
        chosen = list(indices)
        if any(index >= len(uuids) for index in chosen):
            raise LookupError(
                f"{_wanted(pool)} this machine has {len(uuids)} GPUs, and {max(chosen) + 1} are needed; {self._all()}"
            )
        return tuple(uuids[index] for index in chosen)

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

    def _of(self, pool: PoolGpus) -> tuple[RealGpu, ...]:
        if not pool.model:
            return self.found
        named = [gpu for gpu in self.found if model_name(gpu.model).lower() == pool.model.lower()]
        if not named and pool.is_alone and len({(gpu.model, gpu.memory_mib) for gpu in self.found}) == 1:
            # One pool for GPUs of one kind: whatever its author calls them.
            return self.found
        own = [gpu for gpu in named if pool.is_nearest_to(gpu.memory_mib)]
        # A pool that was described by hand may round its memory.
        nearest = min((gpu.memory_mib for gpu in own), key=lambda size: abs(size - pool.memory_mib), default=0)
        return tuple(gpu for gpu in own if gpu.memory_mib == nearest)

    def _all(self) -> str:
        kinds = Counter((model_name(gpu.model), gpu.memory_mib) for gpu in self.found)
        return "it has " + (", ".join(f"{count} {name} of {mib} MiB" for (name, mib), count in kinds.items()) or "none")


def discover() -> tuple[RealGpu, ...]:
    """Return this machine's GPUs in order of index; empty where NVML finds none."""
    return Gpus().found


def watt_hours(before_mj: int | None, after_mj: int | None) -> float | None:
    """Return the energy between two readings; None where one is missing or the counter began anew."""
    if before_mj is None or after_mj is None or after_mj < before_mj:
        return None
    return (after_mj - before_mj) / _MJ_PER_WH


def _wanted(pool: PoolGpus) -> str:
    if not pool.model:
        return "of any model"
    twin = ", which another pool says too," if pool.memory_mib in pool.rival_memories_mib else ""
    return f"of model {pool.model} and nearest to {pool.memory_mib} MiB{twin}"


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
