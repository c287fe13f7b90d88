"""A manual clock that PostgreSQL follows: `clock_timestamp()` in the store's statements answers with the test's time.

The engine puts a schema with a function of that name before `pg_catalog`, so deadlines that the database decides (a
lease, a grant's end, a region that fell silent) pass when a test says so, and nothing sleeps.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Engine, create_engine, text

from nordan_core.clock import ManualClock

START = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
_INSTALL = """
create schema if not exists present;
create table if not exists present.instant (at timestamptz not null);
create or replace function present.clock_timestamp() returns timestamptz language sql volatile
    as 'select at from present.instant';
"""


def timed_engine(url: str, pool_size: int = 20) -> Engine:
    """Return an engine as a process has it, whose connections ask the test what time it is."""
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        connect_args={"options": "-csearch_path=present,pg_catalog,public", "prepare_threshold": 3},
    )
    with engine.begin() as connection:
        connection.exec_driver_sql(_INSTALL)
    return engine


class DatabaseClock(ManualClock):
    """Stands still until a test moves it, here and in the database."""

    def __init__(self, engine: Engine, start: datetime = START) -> None:
        super().__init__(start)
        self._engine = engine
        self._first = start
        self.tell()

    def advance(self, seconds: float) -> None:
        """Move both on."""
        super().advance(seconds)
        self.tell()

    def rewind(self) -> None:
        """Go back to the start, for the next test; the monotonic count goes on."""
        self._now = self._first
        self.tell()

    def tell(self) -> None:
        """Let the database know the present instant."""
        with self._engine.begin() as connection:
            connection.execute(text("delete from present.instant"))
            connection.execute(text("insert into present.instant values (:at)"), {"at": self.now()})
