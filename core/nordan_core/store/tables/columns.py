"""Column helpers that every table file uses."""

from __future__ import annotations

from typing import Any

from sqlalchemy import DateTime
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

#: A JSON document: written whole, read whole, queried by few.
Document = dict[str, Any]


def instant(*, nullable: bool = False, index: bool = False) -> Any:  # Any: SQLModel's Field returns what it describes
    """Return a field for an aware instant (timestamptz)."""
    return Field(sa_type=DateTime(timezone=True), nullable=nullable, index=index)


def optional_instant(*, index: bool = False) -> Any:  # Any: as above
    """Return a field for an instant that may be absent."""
    return Field(default=None, sa_type=DateTime(timezone=True), nullable=True, index=index)


def document(default: Any = None) -> Any:  # Any: as above
    """Return a field for a JSON document; without a default factory it must be given."""
    if default is None:
        return Field(sa_type=JSONB, nullable=False)
    return Field(default_factory=default, sa_type=JSONB, nullable=False)


def optional_document() -> Any:  # Any: as above
    """Return a field for a JSON document that may be absent."""
    return Field(default=None, sa_type=JSONB, nullable=True)
