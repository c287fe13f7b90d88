"""Entities, regions, pools and nodes: the facts that placement and law are judged by."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, PrimaryKeyConstraint
from sqlmodel import Field, SQLModel

from nordan_core.store.tables.columns import Document, document, instant, optional_document, optional_instant


class EntityRow(SQLModel, table=True):
    """A legal person as its World document states it."""

    __tablename__ = "entity"
    name: str = Field(primary_key=True)
    document: Document = document()
    version: int = 1
    updated_at: datetime = instant()


class RegionRow(SQLModel, table=True):
    """A data centre under one operator. Its credential is kept as a hash, its broker's URL sealed."""

    __tablename__ = "region"
    code: str = Field(primary_key=True)
    document: Document = document()
    version: int = 1
    updated_at: datetime = instant()
    credential_hash: str | None = Field(default=None, unique=True)
    gateway_url: str = ""
    broker_sealed: bytes | None = None
    offers_tenancy: Document | None = optional_document()
    seen_at: datetime | None = optional_instant()
    supervisor_id: str | None = None
    nodes_seen_at: datetime | None = optional_instant()
    """When its cluster's nodes were last reported; absent for a region of another executor."""


class PoolRow(SQLModel, table=True):
    """Homogeneous nodes. `facts_version` rises with every change of what is judged."""

    __tablename__ = "pool"
    name: str = Field(primary_key=True)
    region: str = Field(foreign_key="region.code", index=True)
    document: Document = document()
    accelerator: str
    gpus_per_node: int
    price_micro_eur_per_gpu_s: int
    """The document's price, rounded, for the version before this one; a contract step drops it."""
    facts_version: int = 1
    facts_valid_until: datetime | None = optional_instant()
    single_tenant: str | None = None
    """Who has the pool to itself: while a job of theirs runs, or for good where tenants cannot be kept apart."""
    updated_at: datetime = instant()
    hold: str = ""
    """What an operator said about all its nodes: cordoned, draining or nothing."""
    hold_reason: str = ""


class NodeRow(SQLModel, table=True):
    """One machine. The masks and counters are what apply takes from and the end of an attempt gives back to.

    They are as wide as the pool's document says, whatever the machine offers: a node that shrinks, or that foreign pods
    use, is shut in part and never less than empty.
    """

    __tablename__ = "node"
    __table_args__ = (
        CheckConstraint("free_cpus >= 0 and free_memory_mib >= 0", name="node_free_not_negative"),
        CheckConstraint("free_mask >= 0 and free_mask < (1::bigint << gpus)", name="node_mask_in_range"),
        CheckConstraint("shut_gpus >= 0 and shut_cpus >= 0 and shut_memory_mib >= 0", name="node_shut_not_negative"),
        PrimaryKeyConstraint("pool", "name"),
    )
    pool: str = Field(primary_key=True, foreign_key="pool.name")
    name: str = Field(primary_key=True)
    """Unique in its pool; two clusters may use one name."""
    state: str
    """What follows from the columns below and the pool's hold: `store.nodes` settles it."""
    gpus: int
    free_mask: int = Field(sa_type=BigInteger)
    cpus: int
    free_cpus: int
    memory_mib: int
    free_memory_mib: int
    version: int = 1
    shut_gpus: int = 0
    shut_cpus: int = 0
    shut_memory_mib: int = 0
    hold: str = ""
    hold_reason: str = ""
    report: Document | None = optional_document()
    """The last word of its cluster."""
    gone_at: datetime | None = optional_instant()
    """Since when it is not among the nodes of its pool."""


class CellRow(SQLModel, table=True):
    """The control plane itself, which is judged like a place: one row."""

    __tablename__ = "cell"
    id: int = Field(default=1, primary_key=True)
    document: Document = document()
    updated_at: datetime = instant()
