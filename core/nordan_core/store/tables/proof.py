"""Audit entries and the Merkle tree over them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Index, LargeBinary, text
from sqlmodel import Field, SQLModel

from nordan_core.store.tables.columns import Document, document, instant


class AuditEntryRow(SQLModel, table=True):
    """One act. Inserted unsequenced by its own transaction; the sealer gives it its place in the tree."""

    __tablename__ = "audit_entry"
    __table_args__ = (
        Index("audit_unsealed", "id", postgresql_where=text("leaf_index is null")),
        Index("audit_by_subject", "subject"),
        Index("audit_by_leaf", "leaf_index", unique=True),
        Index("audit_reads", "at", postgresql_where=text("act = 'read_allowed'")),
    )
    id: str = Field(primary_key=True)
    act: str
    subject: str
    """The id of the job, key, pool … that the act is about."""
    organisation_id: str | None = None
    actor: str
    at: datetime = instant()
    body: Document = document()
    salt: bytes = Field(sa_type=LargeBinary)
    leaf_index: int | None = Field(default=None, sa_type=BigInteger)


class MerkleNodeRow(SQLModel, table=True):
    """A complete node of the tree: level 0 holds leaf hashes."""

    __tablename__ = "merkle_node"
    level: int = Field(primary_key=True)
    index: int = Field(primary_key=True, sa_type=BigInteger)
    hash: bytes = Field(sa_type=LargeBinary)


class CheckpointRow(SQLModel, table=True):
    """A signed statement of the tree's size and root."""

    __tablename__ = "audit_checkpoint"
    size: int = Field(primary_key=True, sa_type=BigInteger)
    root: bytes = Field(sa_type=LargeBinary)
    envelope: Document = document()
    at: datetime = instant()
