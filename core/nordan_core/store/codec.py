"""Job specifications as JSON documents and back. It reads only what it wrote, so nothing is checked twice."""

from __future__ import annotations

from typing import Any

from nordan_core.domain.contents import FileEntry, Manifest
from nordan_core.domain.jobs import JobKind, JobSpec, Objective, Resources, Retry
from nordan_core.domain.money import Price
from nordan_core.domain.reasons import Reason

Document = dict[str, Any]  # Any: JSON


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
        "max_price": spec.max_price.micro_eur_per_gpu_s if spec.max_price else None,
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
    """Return the specification that `spec_document` wrote."""
    resources, retry = document["resources"], document["retry"]
    price = document["max_price"]
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
        max_price=None if price is None else Price(price),
        max_duration_s=document["max_duration_s"],
        max_wait_s=document["max_wait_s"],
        grace_s=document["grace_s"],
        retry=Retry(retry["limit"], frozenset(Reason(one) for one in retry["on"])),
        is_preemptible=document["preemptible"],
        priority=document["priority"],
        port=document["port"],
        readiness_path=document["readiness_path"],
    )


def manifest_document(manifest: Manifest) -> list[Any]:
    """Return a manifest as it is stored: a list of [path, digest, size, mode]."""
    return [[entry.path, entry.digest, entry.size_bytes, entry.mode] for entry in manifest.files]


def manifest_of(rows: list[Any]) -> Manifest:
    """Return the manifest that `manifest_document` wrote."""
    return Manifest(tuple(FileEntry(path, digest, size, mode) for path, digest, size, mode in rows))
