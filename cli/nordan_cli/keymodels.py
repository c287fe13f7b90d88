"""API keys as the server shows them: once with the secret, then without."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new API key; `key` is shown this once."""

    id: str
    key: str


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as it is listed, without its secret."""

    id: str
    role: str
    project: str | None = None
    territory: str | None = None
    made_by: str | None = None
    member: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
