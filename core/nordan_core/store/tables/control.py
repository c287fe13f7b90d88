"""Single rows that keep the control plane's processes in step."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel

from nordan_core.store.tables.columns import instant


class ResidencyEpochRow(SQLModel, table=True):
    """Rises with every change of policy, lineage, entity, facts, certification or atlas: one row."""

    __tablename__ = "residency_epoch"
    id: int = Field(default=1, primary_key=True)
    epoch: int = Field(default=1, sa_type=BigInteger)


class LeaderRow(SQLModel, table=True):
    """Who leads, by the database's clock: one row per role."""

    __tablename__ = "leader"
    role: str = Field(primary_key=True)
    epoch: int = Field(default=0, sa_type=BigInteger)
    holder: str = ""
    until: datetime = instant()
