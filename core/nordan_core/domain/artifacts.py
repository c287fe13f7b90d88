"""Datasets and artifacts as values: what was stored, under which policy, made from what, lying where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nordan_core.domain.contents import ArtifactKind, Manifest
from nordan_core.domain.ids import ArtifactId, AttemptId, JobId, OrganisationId, ProjectId, RegionCode, UploadId


@dataclass(frozen=True, slots=True)
class Dataset:
    """A named collection of versions under one policy document."""

    id: str
    project: ProjectId
    name: str
    policy: Mapping[str, object]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Artifact:
    """One manifest. `policy` is an effective policy document: the dataset's own, or the meet of inputs and job."""

    id: ArtifactId
    organisation: OrganisationId
    project: ProjectId
    kind: ArtifactKind
    name: str
    manifest: Manifest
    digest: str
    policy: Mapping[str, object]
    created_at: datetime
    parents: tuple[str, ...] = ()
    dataset: str | None = None
    job: JobId | None = None
    attempt: AttemptId | None = None
    regions: tuple[RegionCode, ...] = ()
    fenced_at: datetime | None = None
    """Since when all its places are fenced."""
    fences: Mapping[RegionCode, Mapping[str, Any]] = field(default_factory=dict)  # Any: JSON
    """By region whose place became unlawful: what the judge said (`domain.fences`)."""

    @property
    def readable(self) -> tuple[RegionCode, ...]:
        """Return the regions where its bytes lie and may be read."""
        return () if self.fenced_at is not None else tuple(one for one in self.regions if one not in self.fences)


@dataclass(frozen=True, slots=True)
class Upload:
    """Leave to put bytes into one region, once."""

    id: UploadId
    organisation: OrganisationId
    project: ProjectId
    region: RegionCode
    kind: ArtifactKind
    name: str
    policy: Mapping[str, object]
    created_by: str
    created_at: datetime
    expires_at: datetime
    dataset: str | None = None
    artifact: ArtifactId | None = None
    copies: ArtifactId | None = None
    """The artifact whose bytes the region fetches from another one; None: a client sends them."""
