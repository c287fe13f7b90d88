"""From the nodes of a cluster to the Pool documents that describe them: groups of one accelerator and one size. Pure.

What nobody can read off a node, such as its price, stays empty for the operator to fill in; a document with an empty
field is refused when it is applied.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from nordan_core.domain.errors import OperatorError
from nordan_core.domain.ids import is_name
from nordan_core.domain.places import Amounts
from nordan_core.embedded.gpus import model_name
from nordan_workers.cluster import quantities, requests
from nordan_workers.executors.kubernetes import names

Object = Mapping[str, Any]  # Any: JSON
#: Labels that name a node's GPUs: those of the vendors' own discovery first.
_PRODUCTS = (
    "nvidia.com/gpu.product",
    "amd.com/gpu.product-name",
    "cloud.google.com/gke-accelerator",
    "k8s.amazonaws.com/accelerator",
)
_GPU_MEMORY = "nvidia.com/gpu.memory"
#: Pods of these owners are on every node, so a job can never have what they ask for.
_ON_EVERY_NODE = frozenset({"DaemonSet", "Node"})
_UNSAID = {
    "accelerator": "the model, as jobs ask for it: H100",
    "gpu_memory_mib": "memory of one GPU",
    "price_eur_per_gpu_h": "EUR per GPU-hour",
    "facts_valid_until": "until when you vouch for these facts: 2027-12-31",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the operator says of all pools that are found."""

    region: str
    provider: str
    pool: str | None = None
    """Name, where only one kind of nodes is expected."""
    accelerator: str | None = None
    gpu_memory_mib: int | None = None
    price_eur_per_gpu_h: str | None = None
    facts_valid_until: str | None = None
    gpu_resource: str = "nvidia.com/gpu"
    has_made_up_gpus: bool = False


@dataclass(frozen=True, slots=True)
class FoundPool:
    """Nodes that one document describes."""

    document: dict[str, Any]  # Any: a World document
    nodes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the pool's name."""
        return str(self.document["name"])

    @property
    def unsaid(self) -> tuple[str, ...]:
        """Return the fields that the operator still has to fill in."""
        return tuple(field for field in _UNSAID if self.document[field] is None)


@dataclass(frozen=True, slots=True)
class _Kind:
    accelerator: str | None
    gpu_memory_mib: int | None
    gpus: int


def find_pools(nodes: Sequence[Object], pods: Iterable[Object], wanted: Wanted) -> tuple[FoundPool, ...]:
    """Return a pool for each kind of nodes that offer GPUs, by name; nodes without any are left out.

    Raises:
        OperatorError: no node offers GPUs, or a name was given and there are several kinds.
    """
    taken = _taken_everywhere(pods, wanted.gpu_resource)
    groups: defaultdict[_Kind, list[Object]] = defaultdict(list)
    for node in nodes:
        kind = _kind(node, wanted)
        if kind.gpus > 0:
            groups[kind].append(node)
    if not groups:
        raise OperatorError(f"none of {len(nodes)} nodes offers {wanted.gpu_resource}; is the selector right?")
    named = _names(list(groups), wanted)
    found = [_pool(named[kind], kind, group, taken, wanted) for kind, group in groups.items()]
    return tuple(sorted(found, key=lambda one: one.name))


def as_yaml(pools: Iterable[FoundPool], territory: str | None, region: str) -> str:
    """Return the documents with the nodes that each was made from, and how to give these their labels."""
    return "---\n".join(_section(pool, territory, region) for pool in pools)


def node_labels(region: str, territory: str, pool: str) -> dict[str, str]:
    """Return the labels by which a node belongs to a pool."""
    return {names.NODE_REGION: region, names.NODE_TERRITORY: territory, names.NODE_POOL: pool}


def _pool(name: str, kind: _Kind, nodes: Sequence[Object], taken: Mapping[str, Amounts], wanted: Wanted) -> FoundPool:
    rooms = [_room(node, taken.get(_name(node), Amounts())) for node in nodes]
    document = {
        "kind": "Pool",
        "name": name,
        "region": wanted.region,
        "provider": wanted.provider,
        "accelerator": kind.accelerator,
        "gpu_memory_mib": kind.gpu_memory_mib,
        "gpus_per_node": kind.gpus,
        "cpus": max(1, min(one.cpu_milli for one in rooms) // 1000),
        "memory_mib": max(1, min(one.memory_mib for one in rooms)),
        "price_eur_per_gpu_h": wanted.price_eur_per_gpu_h,
        "facts_valid_until": wanted.facts_valid_until,
        "has_made_up_gpus": wanted.has_made_up_gpus,
    }
    return FoundPool(document, tuple(sorted(_name(node) for node in nodes)))


def _room(node: Object, taken: Amounts) -> Amounts:
    """Return what a job can have of a node that nobody uses."""
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    cpu_milli = quantities.cpu_milli(allocatable.get("cpu", 0)) - taken.cpu_milli
    return Amounts(0, cpu_milli, quantities.memory_mib(allocatable.get("memory", 0)) - taken.memory_mib)


def _taken_everywhere(pods: Iterable[Object], gpu_resource: str) -> dict[str, Amounts]:
    taken: dict[str, Amounts] = {}
    for pod in pods:
        node = (pod.get("spec") or {}).get("nodeName")
        owners = (pod.get("metadata") or {}).get("ownerReferences") or ()
        if node and any(one.get("kind") in _ON_EVERY_NODE for one in owners):
            taken[node] = requests.total((taken.get(node, Amounts()), requests.of_pod(pod, gpu_resource)))
    return taken


def _kind(node: Object, wanted: Wanted) -> _Kind:
    labels = (node.get("metadata") or {}).get("labels") or {}
    product = next((str(labels[key]) for key in _PRODUCTS if labels.get(key)), "")
    memory = str(labels.get(_GPU_MEMORY, ""))
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    return _Kind(
        accelerator=wanted.accelerator or (model_name(product.replace("-", " ")).upper() if product else None),
        gpu_memory_mib=wanted.gpu_memory_mib or (int(memory) if memory.isdecimal() else None),
        gpus=quantities.count(allocatable.get(wanted.gpu_resource, 0)),
    )


def _names(kinds: Sequence[_Kind], wanted: Wanted) -> dict[_Kind, str]:
    """Return a name for each kind: the given one, or region and accelerator, with the GPUs where that is not enough."""
    if wanted.pool is not None:
        if len(kinds) > 1:
            shown = ", ".join(sorted(f"{one.gpus} x {one.accelerator or 'unknown'}" for one in kinds))
            raise OperatorError(
                f"these are nodes of {len(kinds)} kinds ({shown}): narrow the selector, or give no name"
            )
        return {kinds[0]: wanted.pool}
    made: dict[_Kind, str] = {}
    for kind in kinds:
        model = "".join(one if one.isalnum() else "-" for one in (kind.accelerator or "gpu").lower()).strip("-")
        alike = [one for one in kinds if one.accelerator == kind.accelerator]
        name = f"{wanted.region}-{model}"
        if len(alike) > 1:
            name += f"-{kind.gpus}"
        if len([one for one in alike if one.gpus == kind.gpus]) > 1:
            name += f"-{kind.gpu_memory_mib or 0}"
        if not is_name(name):
            raise OperatorError(f"{name!r} is too long for a name: give one with --pool")
        made[kind] = name
    return made


def _section(pool: FoundPool, territory: str | None, region: str) -> str:
    lines = [
        f"# {len(pool.nodes)} nodes: {', '.join(pool.nodes)}",
        "# They belong to the pool by their labels, and its taint keeps others away:",
    ]
    labels = node_labels(region, territory or "TERRITORY", pool.name)
    lines.append(f"#   kubectl label node {' '.join(pool.nodes)} \\")
    lines.append("#     " + " ".join(f"{key}={value}" for key, value in labels.items()))
    lines.append(f"#   kubectl taint node {' '.join(pool.nodes)} {names.TAINT_POOL}={pool.name}:NoSchedule")
    for line in yaml.safe_dump(pool.document, sort_keys=False, allow_unicode=True).splitlines():
        field = line.partition(":")[0]
        lines.append(f"{field}:  # {_UNSAID[field]}" if field in pool.unsaid else line)
    return "\n".join(lines) + "\n"


def _name(node: Object) -> str:
    return str((node.get("metadata") or {}).get("name"))
