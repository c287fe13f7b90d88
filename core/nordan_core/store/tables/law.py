"""What people decide about law: derogations, declassifications, atlases, and the policies of each time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, LargeBinary, text
from sqlmodel import Field, SQLModel

from nordan_core.store.tables.columns import Document, document, instant, optional_instant


class DerogationRow(SQLModel, table=True):
    """Leave to fall short of one facet; counts once approved twice, until it ends, is revoked or used up."""

    __tablename__ = "derogation"
    __table_args__ = (
        Index("derogation_by_project", "project_id", "id"),
        Index("derogation_open", "not_after", postgresql_where=text("approved_at is not null and revoked_at is null")),
    )
    id: str = Field(primary_key=True)
    organisation_id: str = Field(foreign_key="organisation.id")
    project_id: str = Field(foreign_key="project.id")
    text: Document = document()
    digest: str
    not_after: datetime = instant()
    """As in the text, so that what is over is found without reading texts."""
    max_uses: int
    uses: int = 0
    """Attempts that rest on it; it never passes `max_uses`."""
    requested_by: str = Field(foreign_key="api_key.id")
    requested_by_member: str
    requested_at: datetime = instant()
    approvals: list[Any] = document(list)
    """[{by, member, at}] in their order."""
    approved_at: datetime | None = optional_instant()
    revoked_at: datetime | None = optional_instant()
    revoked_by: str | None = None


class DeclassificationRow(SQLModel, table=True):
    """A wider policy for one artifact than the meet of what it was made from; counts once approved twice."""

    __tablename__ = "declassification"
    __table_args__ = (
        Index("declassification_by_project", "project_id", "id"),
        Index("declassification_by_artifact", "artifact_id"),
    )
    id: str = Field(primary_key=True)
    organisation_id: str = Field(foreign_key="organisation.id")
    project_id: str = Field(foreign_key="project.id")
    artifact_id: str = Field(foreign_key="artifact.id")
    text: Document = document()
    digest: str
    requested_by: str = Field(foreign_key="api_key.id")
    requested_by_member: str
    requested_at: datetime = instant()
    approvals: list[Any] = document(list)
    approved_at: datetime | None = optional_instant()
    revoked_at: datetime | None = optional_instant()
    revoked_by: str | None = None


class AtlasRow(SQLModel, table=True):
    """An atlas that was applied; the newest is in use. The bytes are kept, for they are what the digest names."""

    __tablename__ = "atlas"
    number: int | None = Field(default=None, primary_key=True, sa_type=BigInteger)
    digest: str = Field(unique=True)
    version: str
    data: bytes = Field(sa_type=LargeBinary)
    envelope: Document = document()
    """The signature that it came with."""
    applied_by: str
    applied_at: datetime = instant()


class PolicyVersionRow(SQLModel, table=True):
    """What a floor or a dataset said at each time, and who made it say so."""

    __tablename__ = "policy_version"
    subject: str = Field(primary_key=True)
    """Id of the organisation, project or dataset."""
    number: int = Field(primary_key=True)
    policy: Document = document()
    digest: str
    author: str
    """Id of the key that stated it."""
    at: datetime = instant()
