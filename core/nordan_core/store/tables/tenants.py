"""Organisations, projects and their keys."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, SQLModel

from nordan_core.store.tables.columns import Document, document, instant, optional_instant


class OrganisationRow(SQLModel, table=True):
    """A tenant. `floor` is a policy document that every job of it meets."""

    __tablename__ = "organisation"
    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    floor: Document = document(dict)
    created_at: datetime = instant()


class ProjectRow(SQLModel, table=True):
    """A tenant's workspace with its own floor."""

    __tablename__ = "project"
    __table_args__ = (UniqueConstraint("organisation_id", "name"),)
    id: str = Field(primary_key=True)
    organisation_id: str = Field(foreign_key="organisation.id")
    name: str
    floor: Document = document(dict)
    created_at: datetime = instant()


class ApiKeyRow(SQLModel, table=True):
    """A principal's secret, kept as a SHA-256 of 160 random bits; `territory` is where its holder sits."""

    __tablename__ = "api_key"
    id: str = Field(primary_key=True)
    secret_hash: str = Field(unique=True)
    organisation_id: str = Field(foreign_key="organisation.id", index=True)
    project_id: str | None = Field(default=None, foreign_key="project.id")
    role: str
    territory: str | None = None
    made_by: str | None = Field(default=None, foreign_key="api_key.id")
    """The key that made it; None for a first key."""
    same_as: str | None = Field(default=None, foreign_key="api_key.id")
    """A key of the same person, where an administrator has said so."""
    created_at: datetime = instant()
    expires_at: datetime | None = optional_instant()
    revoked_at: datetime | None = optional_instant()


class IdempotencyRow(SQLModel, table=True):
    """An answer already given; inserted in the effect's own transaction."""

    __tablename__ = "idempotency"
    scope: str = Field(primary_key=True)
    """SHA-256 over organisation, principal, route and key."""
    request_digest: str
    status: int
    body: Document = document(dict)
    location: str | None = None
    created_at: datetime = instant(index=True)
