"""What is stored and another atlas could not read, for names that it lacks. It cannot come into force then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nordan_api.atlas.effects import InUse
from nordan_core.domain.errors import Invalid
from nordan_core.residency.derogations import parse_derogation
from nordan_core.residency.effective_text import parse_effective
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.facts import ControlPlaneFacts, PoolFacts, control_plane_document, facts_document
from nordan_core.residency.facts_text import parse_control_plane, parse_pool_facts
from nordan_core.residency.places import Atlas
from nordan_core.residency.policy import parse_policy

Document = Mapping[str, Any]  # Any: JSON
Parse = Callable[[Document, Atlas], object]


def lacking(used: InUse, pools: tuple[PoolFacts, ...], cell: ControlPlaneFacts, atlas: Atlas) -> list[dict[str, str]]:
    """Return what could not be read, each with where it stands and why."""
    found = []
    for where, parse, document in _stored(used, pools, cell):
        try:
            parse(document, atlas)
        except (PolicyError, Invalid) as error:
            found.append({"where": where, "message": str(error)})
    return found


def _stored(
    used: InUse, pools: tuple[PoolFacts, ...], cell: ControlPlaneFacts
) -> Iterator[tuple[str, Parse, Document]]:
    yield "the control plane", parse_control_plane, control_plane_document(cell)
    for pool in pools:
        yield f"the facts of pool {pool.pool}", parse_pool_facts, facts_document(pool)
    for floor in used.organisations:
        yield f"the floor of organisation {floor.name}", parse_policy, floor.floor
    for project in used.projects.values():
        yield f"the floor of project {project.name} of {project.organisation_name}", parse_policy, project.floor
    for data in used.datasets:
        yield (
            f"the policy of dataset {data.name} of project {used.projects[data.project].name}",
            parse_policy,
            data.policy,
        )
    for document in used.data_policies.values():
        yield "the policy of stored data", parse_policy, document
    jobs = {one.policy_key: one.id for one in used.jobs}
    for key, document in used.job_policies.items():
        yield f"the policy of job {jobs[key]}", parse_effective, document
    for name, document in used.derogations.items():
        yield f"derogation {name}", parse_derogation, document
