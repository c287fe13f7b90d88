"""Floors hold from the moment they are stated, also for jobs that were accepted before.

The api asks at redeem, renew and each read, the scheduler before it places; both must mean the same.
"""

from __future__ import annotations

from nordan_core.domain.tenants import Project
from nordan_core.residency.layers import FLOORS, Effective, Layer, LayerKind, effective
from nordan_core.residency.places import Atlas
from nordan_core.residency.policy import parse_policy


def floor_layers(project: Project, atlas: Atlas) -> list[Layer]:
    """Return the layers that hold for everything in a project."""
    return [
        Layer(LayerKind.ORGANISATION, project.organisation_name, parse_policy(project.organisation_floor, atlas)),
        Layer(LayerKind.PROJECT, project.name, parse_policy(project.floor, atlas)),
    ]


def standing(accepted: Effective, project: Project | None, atlas: Atlas) -> tuple[Effective, ...]:
    """Return the policy that a job was accepted under and, where a floor has changed since, today's beside it.

    All must allow: so a tighter floor holds at once, and a wider one never frees what was accepted under less.

    Raises:
        PolicyError: a floor cannot be read under this atlas.
    """
    if project is None:
        return (accepted,)
    own = [layer for layer in accepted.layers if layer.kind not in FLOORS]
    today = effective([*floor_layers(project, atlas), *own], has_content=accepted.has_content)
    return (accepted,) if today.digest == accepted.digest else (accepted, today)
