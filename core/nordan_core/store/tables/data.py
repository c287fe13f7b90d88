"""Datasets and artifacts: manifests with policy, lineage and locations."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from nordan_core.store.tables.columns import Document, document, instant, optional_document, optional_instant


class DatasetRow(SQLModel, table=True):
    """A named, labelled collection of versions."""

    __tablename__ = "dataset"
    __table_args__ = (UniqueConstraint("project_id", "name"),)
    id: str = Field(primary_key=True)
    project_id: str = Field(foreign_key="project.id")
    name: str
    policy: Document = document(dict)
    created_at: datetime = instant()


class ArtifactRow(SQLModel, table=True):
    """One manifest under a policy: a dataset version, job files, a checkpoint or an output."""

    __tablename__ = "artifact"
    __table_args__ = (
        Index("artifact_by_job", "job_id", "kind", "created_at"),
        Index("artifact_by_dataset", "dataset_id", "created_at"),
        Index("artifact_by_digest", "project_id", "digest"),
    )
    id: str = Field(primary_key=True)
    organisation_id: str = Field(foreign_key="organisation.id")
    project_id: str = Field(foreign_key="project.id")
    kind: str
    name: str
    digest: str
    size_bytes: int = Field(sa_type=BigInteger)
    files: list[Any] = document(list)
    policy: Document = document(dict)
    """The effective policy as a document: meet of inputs and job, or the dataset's own."""
    parents: list[Any] = document(list)
    """Ids of the artifacts that it was made from."""
    dataset_id: str | None = Field(default=None, foreign_key="dataset.id")
    job_id: str | None = Field(default=None, foreign_key="job.id")
    attempt_id: str | None = Field(default=None, foreign_key="attempt.id")
    created_at: datetime = instant()
    fenced_at: datetime | None = optional_instant()
    """Since when all its places are fenced."""


class LocationRow(SQLModel, table=True):
    """A region that holds an artifact's bytes."""

    __tablename__ = "location"
    __table_args__ = (Index("location_fenced", "region", "fenced_at", postgresql_where=text("fenced_at is not null")),)
    artifact_id: str = Field(primary_key=True, foreign_key="artifact.id")
    region: str = Field(primary_key=True, foreign_key="region.code")
    created_at: datetime = instant()
    fenced_at: datetime | None = optional_instant()
    """Since when it is unlawful that they are there; they stay, and nobody reads them."""
    fence: Document | None = optional_document()
    """What the judge said then."""


class UploadRow(SQLModel, table=True):
    """Leave to put bytes into one region; used once, by the gateway's commit."""

    __tablename__ = "upload"
    __table_args__ = (Index("upload_open", "region", "expires_at", postgresql_where=text("artifact_id is null")),)
    id: str = Field(primary_key=True)
    organisation_id: str = Field(foreign_key="organisation.id")
    project_id: str = Field(foreign_key="project.id")
    region: str
    kind: str
    name: str
    dataset_id: str | None = Field(default=None, foreign_key="dataset.id")
    policy: Document = document(dict)
    created_by: str
    created_at: datetime = instant()
    expires_at: datetime = instant()
    artifact_id: str | None = None
    copies_artifact_id: str | None = Field(default=None, foreign_key="artifact.id")
