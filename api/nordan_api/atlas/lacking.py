"""What is stored and another atlas could not read, for names that it lacks. It cannot come into force then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from nordan_api.atlas.effects import InUse
from nordan_core.domain.errors import Invalid
from nordan_core.residency.derogations import parse_derogation
from nordan_core.residency.effective_text import parse_effective
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.places import Atlas
from nordan_core.residency.policy import parse_policy
from nordan_core.world import check_codes
from nordan_core.world_facts import WorldState

Document = Mapping[str, Any]  # Any: JSON
Parse = Callable[[Document, Atlas], object]


def lacking(used: InUse, world: WorldState, atlas: Atlas) -> list[dict[str, str]]:
    """Return what could not be read, each with where it stands and why."""
    found = []
    for where, parse, document in (*_described(world), *_stated(used)):
        try:
            parse(document, atlas)
        except (PolicyError, Invalid) as error:
            found.append({"where": where, "message": str(error)})
    return found


def _described(world: WorldState) -> Iterator[tuple[str, Parse, Document]]:
    # All that is described, also what no pool touches yet: a later document may name it.
    check = partial(check_codes, prefix="")
    if world.cell is not None:
        yield "the control plane", check, world.cell
    for kind, documents in (("entity", world.entities), ("region", world.regions), ("pool", world.pools)):
        for name, document in documents.items():
            yield f"{kind} {name}", check, document


def _stated(used: InUse) -> Iterator[tuple[str, Parse, Document]]:
    for key, territory in used.readers.items():
        yield f"the territory of key {key}", _check_reader, {"territory": territory}
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
    for name, document in used.former.items():
        yield f"the policy before declassification {name}", parse_policy, document


def _check_reader(document: Document, atlas: Atlas) -> object:
    return atlas.parse_territory(document["territory"], "")
