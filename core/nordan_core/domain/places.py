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
    """Whether a node takes work: only one that is ready does; what runs on the others is left to run."""

    READY = "ready"
    CORDONED = "cordoned"
    DRAINING = "draining"
    """On its way out; what runs there may be asked to end."""
    DOWN = "down"
    """Away: its cluster does not hear it, or it is not among its pool's nodes any more."""


class Hold(StrEnum):
    """What an operator of the control plane said about a node or a whole pool."""

    NONE = ""
    CORDONED = "cordoned"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Amounts:
    """Quantities of a node's resources."""

    gpus: int | None = 0
    """None: the node does not know the resource; it may still carry a pool's made-up GPUs."""
    cpu_milli: int = 0
    """Thousandths of a CPU."""
    memory_mib: int = 0


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a region's cluster says about one node."""

    pool: PoolName
    name: NodeName
    state: NodeState
    offered: Amounts
    """What the node has for pods, whoever's."""
    foreign: Amounts = Amounts()
    """What pods that are not ours ask for, those of daemon sets among them."""
    reason: str = ""
    """Why it is not ready, in the cluster's words."""
    is_unverified: bool = False
    """Facts that law is judged by are in doubt: nothing new goes there."""
    block: str = ""
    rack: str = ""


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
    nodes_seen_at: datetime | None = None
    """When its cluster's nodes were last reported; None where none reports, and while its picture is out of date."""


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
    hold: Hold = Hold.NONE
    """What an operator said about all its nodes, those to come among them."""
    hold_reason: str = ""


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
    shut_gpus: int = 0
    """Of the GPUs that no job of ours holds, so many cannot be had: the node lacks them, or foreign pods use them."""
    shut_cpus: int = 0
    shut_memory_mib: int = 0
    hold: Hold = Hold.NONE
    hold_reason: str = ""
    report: NodeReport | None = None
    """The last word of its cluster; None where no cluster reports."""
    gone_at: datetime | None = None
    """Since when it was left out of its cluster's reports, or of its pool's document."""

    @property
    def free_gpus(self) -> int:
        """Return how many GPUs a job could get."""
        return max(0, self.free_mask.bit_count() - self.shut_gpus)

    @property
    def placeable_cpus(self) -> int:
        """Return how many CPUs a job could get."""
        return max(0, self.free_cpus - self.shut_cpus)

    @property
    def placeable_memory_mib(self) -> int:
        """Return how much memory a job could get."""
        return max(0, self.free_memory_mib - self.shut_memory_mib)

    def reason(self, pool_hold: Hold = Hold.NONE, pool_hold_reason: str = "") -> str:
        """Return why the node is not ready, in the order of what weighs most; empty for one that is."""
        if self.gone_at is not None:
            return "not among its cluster's nodes of the pool" if self.report else "not among its pool's nodes"
        said = self.report.reason if self.report is not None and self.report.state is self.state else ""
        if said:
            return said
        for hold, why in ((self.hold, self.hold_reason), (pool_hold, pool_hold_reason)):
            if hold.value == self.state.value:
                return why or "by an operator"
        if self.report is not None and self.report.is_unverified:
            return self.report.reason or "its facts are unverified"
        return ""
