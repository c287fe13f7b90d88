"""Tenants and the people or programs that act for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from nordan_core.domain.ids import KeyId, OrganisationId, ProjectId


class Role(StrEnum):
    """What a key may do; the table is `nordan_api.auth.permissions`."""

    ADMIN = "admin"
    """Runs the platform: world, organisations, regions, audit."""
    OWNER = "owner"
    """Runs one organisation: projects, keys, and all that a submitter may."""
    SUBMITTER = "submitter"
    """Puts data and runs jobs in its projects."""
    VIEWER = "viewer"
    """Looks at jobs and data of its projects."""


@dataclass(frozen=True, slots=True)
class Organisation:
    """A tenant."""

    id: OrganisationId
    name: str
    floor: Mapping[str, object]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Project:
    """A tenant's workspace. `floor` is the policy document that every job and dataset in it meets."""

    id: ProjectId
    organisation: OrganisationId
    organisation_name: str
    name: str
    floor: Mapping[str, object]
    organisation_floor: Mapping[str, object]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request: the holder of one key."""

    key: KeyId
    organisation: OrganisationId
    role: Role
    project: ProjectId | None = None
    """Set when the key works in one project only."""
    territory: str | None = None
    """Where the holder sits, as recorded; None means unknown, which reads nothing above internal."""
    expires_at: datetime | None = None
    made_by: KeyId | None = None
    """The key that made this one; None for a first key."""
    same_as: KeyId | None = None
    """A key of the person that this one is for, where an administrator has said so."""
