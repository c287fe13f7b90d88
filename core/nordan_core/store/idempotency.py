"""Answers already given, by idempotency key. The row is part of the effect's transaction: both happen or neither."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col

from nordan_core.domain.errors import Conflict
from nordan_core.store.tables.tenants import IdempotencyRow

_WAIT_MS = 5000


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What the first request with this key was answered."""

    status: int
    body: dict[str, Any]  # Any: JSON
    location: str | None


class Idempotency:
    """Claims keys and keeps answers."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def answer(self, scope: str, request_digest: str) -> StoredAnswer | None:
        """Return the answer that a key already has, without waiting for one that is at work.

        Raises:
            Conflict: `idempotency_key_reused` when the key came with another request.
        """
        row = self._session.get(IdempotencyRow, scope)
        return _stored(row, request_digest) if row is not None else None

    def claim(self, scope: str, request_digest: str, now: datetime) -> StoredAnswer | None:
        """Take a key for this transaction, or return the answer that it already has.

        A concurrent twin waits for the first transaction, at most 5 s.

        Raises:
            Conflict: `idempotency_key_reused` when the key came with another request, `in_progress` when the twin
                is still at work.
        """
        self._session.execute(text(f"set local lock_timeout = {_WAIT_MS}"))
        statement = (
            insert(IdempotencyRow)
            .values(scope=scope, request_digest=request_digest, status=0, body={}, created_at=now)
            .on_conflict_do_nothing()
            .returning(col(IdempotencyRow.scope))
        )
        try:
            is_first = self._session.execute(statement).first() is not None
        except OperationalError as error:
            raise Conflict("in_progress", "a request with this Idempotency-Key is still at work; ask again") from error
        if is_first:
            self._session.execute(text("set local lock_timeout = 0"))
            return None
        row = self._session.scalars(select(IdempotencyRow).where(col(IdempotencyRow.scope) == scope)).one()
        return _stored(row, request_digest)

    def keep(self, scope: str, answer: StoredAnswer) -> None:
        """Store the answer beside the effect."""
        statement = update(IdempotencyRow).where(col(IdempotencyRow.scope) == scope)
        self._session.execute(statement.values(status=answer.status, body=answer.body, location=answer.location))

    def forget_before(self, instant: datetime) -> int:
        """Delete answers older than an instant; returns how many."""
        statement = delete(IdempotencyRow).where(col(IdempotencyRow.created_at) < instant)
        return int(self._session.connection().execute(statement).rowcount)


def _stored(row: IdempotencyRow, request_digest: str) -> StoredAnswer:
    if row.request_digest != request_digest:
        raise Conflict("idempotency_key_reused", "this Idempotency-Key was used for another request; take a new one")
    return StoredAnswer(row.status, row.body, row.location)
