"""Job specifications as JSON documents and back. It reads only what it wrote, so nothing is checked twice."""

from __future__ import annotations

from typing import Any

from nordan_core.domain.contents import FileEntry, Manifest
from nordan_core.domain.jobs import JobKind, JobSpec, Objective, Resources, Retry
from nordan_core.domain.money import Price
from nordan_core.domain.reasons import Reason

Document = dict[str, Any]  # Any: JSON
MAX_PRICE = "max_price_micro_eur_per_gpu_h"
FORMER_MAX_PRICE = "max_price"
"""In whole micro-EUR per GPU-second, rounded: for the version before this one, and all that its documents have. They
stay as they are, since the log has their digests."""
_UNIT, _CENT = 3600, 10_000


def spec_document(spec: JobSpec) -> Document:
    """Return a job's specification as it is stored."""
    return {
        "name": spec.name,
        "kind": spec.kind.value,
        "image": spec.image,
        "command": list(spec.command),
        "files": manifest_document(spec.files),
        "env": dict(spec.env),
        "nodes": spec.nodes,
        "resources": {
            "gpus": spec.resources.gpus,
            "accelerators": list(spec.resources.accelerators),
            "cpus": spec.resources.cpus,
            "memory_mib": spec.resources.memory_mib,
        },
        "inputs": list(spec.inputs),
        "outputs": list(spec.outputs),
        "policy": dict(spec.policy),
        "objective": spec.objective.value,
        FORMER_MAX_PRICE: spec.max_price.micro_eur_per_gpu_s if spec.max_price else None,
        MAX_PRICE: spec.max_price.micro_eur_per_gpu_h if spec.max_price else None,
        "max_duration_s": spec.max_duration_s,
        "max_wait_s": spec.max_wait_s,
        "grace_s": spec.grace_s,
        "retry": {"limit": spec.retry.limit, "on": sorted(spec.retry.on)},
        "preemptible": spec.is_preemptible,
        "priority": spec.priority,
        "port": spec.port,
        "readiness_path": spec.readiness_path,
    }


def spec_of(document: Document) -> JobSpec:
    """Return the specification that `spec_document` wrote, in this version or before prices were exact."""
    resources, retry = document["resources"], document["retry"]
    return JobSpec(
        name=document["name"],
        kind=JobKind(document["kind"]),
        command=tuple(document["command"]),
        resources=Resources(
            resources["gpus"], tuple(resources["accelerators"]), resources["cpus"], resources["memory_mib"]
        ),
        image=document["image"],
        nodes=document["nodes"],
        env=tuple(document["env"].items()),
        files=manifest_of(document["files"]),
        inputs=tuple(document["inputs"]),
        outputs=tuple(document["outputs"]),
        policy=document["policy"],
        objective=Objective(document["objective"]),
        max_price=price_cap(document.get(MAX_PRICE), document.get(FORMER_MAX_PRICE)),
        max_duration_s=document["max_duration_s"],
        max_wait_s=document["max_wait_s"],
        grace_s=document["grace_s"],
        retry=Retry(retry["limit"], frozenset(Reason(one) for one in retry["on"])),
        is_preemptible=document["preemptible"],
        priority=document["priority"],
        port=document["port"],
        readiness_path=document["readiness_path"],
    )


def price_cap(per_hour: int | None, former: int | None) -> Price | None:
    """Return what a job pays at most, from what is stored of it.

    The former unit alone stands for all prices that round to it: for whole cents, where some are among them, else for
    the dearest. So no job is kept from a pool that it was let into.
    """
    if per_hour is not None or former is None:
        return None if per_hour is None else Price(per_hour)
    near = round(former * _UNIT / _CENT) * _CENT
    return Price(near if abs(near - former * _UNIT) * 2 <= _UNIT else former * _UNIT + _UNIT // 2 - 1)


def manifest_document(manifest: Manifest) -> list[Any]:
    """Return a manifest as it is stored: a list of [path, digest, size, mode]."""
    return [[entry.path, entry.digest, entry.size_bytes, entry.mode] for entry in manifest.files]


def manifest_of(rows: list[Any]) -> Manifest:
    """Return the manifest that `manifest_document` wrote."""
    return Manifest(tuple(FileEntry(path, digest, size, mode) for path, digest, size, mode in rows))
