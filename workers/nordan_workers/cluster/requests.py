"""What a pod asks of its node, as the kubelet and kube-scheduler count it. Pure.

Containers run together, so theirs add up. Init containers run one after the other before them, so only the largest
counts; one that stays (restartPolicy Always) adds to everything that comes after it. What a pod was given before it was
resized counts while it is more than what it asks for now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nordan_core.domain.places import Amounts
from nordan_workers.cluster import quantities

Object = Mapping[str, Any]  # Any: JSON
_NOTHING = Amounts()


def of_pod(pod: Object, gpu_resource: str) -> Amounts:
    """Return GPUs, CPU and memory that a pod holds on its node."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    given = {
        one.get("name"): one
        for part in ("containerStatuses", "initContainerStatuses")
        for one in status.get(part) or ()
    }

    def asked(container: Object) -> Amounts:
        said = given.get(container.get("name"), {}).get("allocatedResources") or {}
        return _larger(_requests(container.get("resources") or {}, gpu_resource), _amounts(said, gpu_resource))

    beside, largest = _NOTHING, _NOTHING
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            beside = total((beside, asked(container)))
            largest = _larger(largest, beside)
        else:
            largest = _larger(largest, total((beside, asked(container))))
    running = total((beside, *(asked(container) for container in spec.get("containers") or ())))
    whole = _larger(largest, running)
    # A pod may ask as a whole; its GPUs are its containers' all the same.
    stated = _requests(spec.get("resources") or {}, gpu_resource)
    whole = Amounts(whole.gpus, stated.cpu_milli or whole.cpu_milli, stated.memory_mib or whole.memory_mib)
    return total((whole, _amounts(spec.get("overhead") or {}, gpu_resource)))


def _requests(resources: Object, gpu_resource: str) -> Amounts:
    # Where only a limit is stated it is the request, too.
    return _amounts({**(resources.get("limits") or {}), **(resources.get("requests") or {})}, gpu_resource)


def _amounts(named: Object, gpu_resource: str) -> Amounts:
    return Amounts(
        quantities.count(named.get(gpu_resource, 0)),
        quantities.cpu_milli(named.get("cpu", 0), is_asked=True),
        quantities.memory_mib(named.get("memory", 0), is_asked=True),
    )


def total(parts: Iterable[Amounts]) -> Amounts:
    """Return the sum."""
    gpus = cpu_milli = memory_mib = 0
    for one in parts:
        gpus += one.gpus or 0
        cpu_milli += one.cpu_milli
        memory_mib += one.memory_mib
    return Amounts(gpus, cpu_milli, memory_mib)


def _larger(one: Amounts, other: Amounts) -> Amounts:
    return Amounts(
        max(one.gpus or 0, other.gpus or 0),
        max(one.cpu_milli, other.cpu_milli),
        max(one.memory_mib, other.memory_mib),
    )
