"""Regions, pools and nodes as the control plane knows them. What law asks of them is in `residency.facts`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from nordan_core.domain.ids import NodeName, PoolName, RegionCode
from nordan_core.domain.money import Price


class ExecutorKind(StrEnum):
    """How a region runs attempts."""

    LOCAL = "local"
    KUBERNETES = "kubernetes"


class NodeState(StrEnum):
    """Whether a node takes work."""

    READY = "ready"
    CORDONED = "cordoned"
    DRAINING = "draining"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Region:
    """A data centre under one operator."""

    code: RegionCode
    territory: str
    operator: str
    executor: ExecutorKind
    host: str = ""
    locode: str = ""
    grid_zone: str = ""
    pue: float = 1.0
    gateway_url: str = ""
    seen_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """Homogeneous GPU nodes in one region of one provider."""

    name: PoolName
    region: RegionCode
    provider: str
    accelerator: str
    gpu_memory_mib: int
    gpus_per_node: int
    price: Price
    facts_version: int
    power_w_per_gpu: int = 700
    has_made_up_gpus: bool = True


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of a pool. `free_mask` has a bit per GPU that nobody holds."""

    name: NodeName
    pool: PoolName
    state: NodeState
    gpus: int
    free_mask: int
    cpus: int
    free_cpus: int
    memory_mib: int
    free_memory_mib: int
    version: int
    """Rises when state or size changes, not when GPUs are taken or given back."""

    @property
    def free_gpus(self) -> int:
        """Return how many GPUs nobody holds."""
        return self.free_mask.bit_count()
