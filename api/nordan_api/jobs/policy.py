"""The effective policy of a job and whether anything may ever run it: the judgement at submission.

Everything here is a value from values; the routes bring facts and contents and store the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nordan_core.domain.artifacts import Artifact
from nordan_core.domain.contents import ArtifactKind
from nordan_core.domain.errors import Refused
from nordan_core.domain.jobs import Job, JobSpec
from nordan_core.domain.reasons import Reason
from nordan_core.domain.tenants import Project
from nordan_core.facts import FactsBook, PoolCapacity
from nordan_core.residency.conflicts import empty_facets
from nordan_core.residency.effective_text import parse_effective
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.explain import Never, explain_never
from nordan_core.residency.facets import Policy
from nordan_core.residency.floors import floor_layers, standing
from nordan_core.residency.judge import judge_control_plane
from nordan_core.residency.layers import Effective, Layer, LayerKind, effective
from nordan_core.residency.places import Atlas
from nordan_core.residency.policy import parse_policy


@dataclass(frozen=True, slots=True)
class NamedInput:
    """An artifact under the name that it is staged at; job files have the name `.files`."""

    name: str
    artifact: Artifact


FILES_INPUT = ".files"


def read_policy(document: Mapping[str, Any], field: str, atlas: Atlas) -> Policy:
    """Return the policy of a request's field.

    Raises:
        PolicyError: with the whole path of the facet at fault.
    """
    try:
        return parse_policy(document, atlas)
    except PolicyError as error:
        raise error.under(field) from None


def read_floor(document: Mapping[str, Any], field: str, atlas: Atlas) -> Policy:
    """Return the policy of an organisation's or a project's floor.

    Raises:
        PolicyError: it is malformed, or waives what only the owner of data may waive: no job could stand on it.
    """
    floor = read_policy(document, field, atlas)
    try:
        effective([Layer(LayerKind.PROJECT, "floor", floor)], has_content=False)
    except PolicyError as error:
        raise error.under(field) from None
    return floor


def effective_of_job(project: Project, spec: JobSpec, inputs: Sequence[NamedInput], atlas: Atlas) -> Effective:
    """Return the meet of organisation, project, every input and the job itself, with defaults applied once.

    Raises:
        PolicyError: the job's own policy is malformed, or says what only a data owner may say.
    """
    layers = floor_layers(project, atlas)
    for one in inputs:
        if one.artifact.kind is not ArtifactKind.FILES:
            layers.append(Layer(_kind(one.artifact), one.name, parse_policy(one.artifact.policy, atlas)))
    layers.append(Layer(LayerKind.JOB, spec.name, read_policy(spec.policy, "policy", atlas)))
    return effective(layers, has_content=spec.has_content)


def policies_of(job: Job, project: Project | None, atlas: Atlas) -> tuple[Effective, ...]:
    """Return what a job must satisfy now: see `residency.floors.standing`."""
    return standing(parse_effective(job.effective, atlas), project, atlas)


def effective_of_data(project: Project, name: str, policy: dict[str, Any], atlas: Atlas) -> Effective:
    """Return the policy that data are stored and read under: their owner's, met with the floors."""
    layers = [*floor_layers(project, atlas), Layer(LayerKind.INPUT, name, parse_policy(policy, atlas))]
    return effective(layers, has_content=True)


def _kind(artifact: Artifact) -> LayerKind:
    return LayerKind.INPUT if artifact.kind is ArtifactKind.DATASET else LayerKind.PARENT


def check_not_empty(of: Effective, facts: FactsBook, now: datetime) -> None:
    """Refuse a policy that allows nowhere at all.

    Raises:
        Refused: `residency_unsatisfiable` with the smallest conflict and the nearest relaxation.
    """
    if empty_facets(of, facts.atlas, now):
        never = explain_never(of, facts.pools, facts.atlas, now)
        raise Refused(Reason.RESIDENCY_UNSATISFIABLE, never.sentence, never_document(never))


def check_described_here(of: Effective, facts: FactsBook, now: datetime) -> None:
    """Refuse a job that this control plane may not even describe.

    Raises:
        Refused: `control_plane_outside_describe`, with the sentence that says what to do.
    """
    verdict = judge_control_plane(of, facts.control_plane, facts.atlas, now)
    if not verdict.allowed:
        first = verdict.refusals[0]
        raise Refused(
            Reason.CONTROL_PLANE_OUTSIDE_DESCRIBE,
            first.message,
            {"refusals": [{"facet": one.facet, "want": one.want, "have": one.have} for one in verdict.refusals]},
        )


def check_possible(spec: JobSpec, of: Effective, inputs: Sequence[NamedInput], facts: FactsBook, now: datetime) -> None:
    """Refuse a job that no registered pool may ever run, whatever the load, cordons or price.

    Raises:
        Refused: `residency_unsatisfiable` with the smallest conflict and the nearest relaxation; `data_not_in_region`
            when no lawful pool's region holds the inputs; `no_capacity` when none is large enough.
    """
    mask = facts.mask(of, now)
    lawful = [pool for place, pool in enumerate(facts.pools) if mask.allows(place)]
    if not lawful:
        never = explain_never(of, facts.pools, facts.atlas, now)
        raise Refused(Reason.RESIDENCY_UNSATISFIABLE, never.sentence, never_document(never))
    if spec.max_wait_s is not None:
        return
    holding = [pool for pool in lawful if all(pool.region in one.artifact.readable for one in inputs)]
    if not holding:
        regions = ", ".join(sorted({pool.region for pool in lawful}))
        raise Refused(Reason.DATA_NOT_IN_REGION, f"no lawful region holds all inputs; put them into one of {regions}")
    if not any(fits(spec, facts.capacity[pool.pool]) for pool in holding):
        raise Refused(Reason.NO_CAPACITY, _too_large(spec, [facts.capacity[pool.pool] for pool in holding]))


def fits(spec: JobSpec, pool: PoolCapacity) -> bool:
    """Tell whether a pool, empty, could hold the whole gang."""
    want = spec.resources
    return (
        (not want.accelerators or pool.accelerator in want.accelerators)
        and want.gpus <= pool.gpus_per_node
        and want.cpus <= pool.cpus
        and want.memory_mib <= pool.memory_mib
        and spec.nodes <= pool.nodes
    )


def _too_large(spec: JobSpec, pools: Sequence[PoolCapacity]) -> str:
    offered = "; ".join(
        f"{pool.name}: {pool.nodes} nodes of {pool.gpus_per_node} {pool.accelerator}" for pool in pools[:4]
    )
    kinds = "|".join(spec.resources.accelerators) or "any"
    return f"no lawful pool has {spec.nodes} nodes of {spec.resources.gpus} GPUs ({kinds}); there are {offered}"


def never_document(never: Never) -> dict[str, object]:
    """Return conflict and relaxation as JSON values."""
    relaxation = never.relaxation
    return {
        "conflict": [{"facet": one.facet, "layer": one.layer, "sentence": one.sentence} for one in never.conflict],
        "relaxation": None
        if relaxation is None
        else {
            "pool": relaxation.pool,
            "region": relaxation.region,
            "changes": [
                {"facet": one.facet, "value": one.value, "stated_by": list(one.stated_by), "sentence": one.sentence}
                for one in relaxation.changes
            ],
        },
    }
